"""The adversarial suite: its table is whole, and its verdicts are what the worker says."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.cheats import suite, tricks
from orchestrator.cheats.suite import CAUGHT, HARMLESS, MISSED, REFUSED, RIGHT, Trick, Tried


def test_every_trick_has_a_build_function_and_every_function_is_a_trick() -> None:
    """None is listed that cannot be tried, and none is forgotten."""
    listed = {trick.name for trick in suite.TRICKS}
    public = {
        name
        for name, value in vars(tricks).items()
        if getattr(value, "__module__", "") == tricks.__name__
        and not name.startswith("_")
        and name != "Norm"
    }
    assert listed == public - {"honest", "by_hand"}


@pytest.mark.parametrize(
    ("outcome", "gains", "result"),
    [
        ("mismatch", True, CAUGHT),
        ("failed", True, CAUGHT),
        ("ok", True, MISSED),
        ("ok", False, HARMLESS),
    ],
)
def test_a_trick_is_caught_if_its_row_is_not_ok(outcome: str, gains: bool, result: str) -> None:
    """One that gains nothing does no harm by being ok."""
    found = suite._tried(ending_as(outcome), Trick("x", "y", gains=gains), "cpu", honest=False)
    assert found.result == result


def test_honest_code_must_be_right() -> None:
    """A harness that refuses everybody catches every cheat."""
    honest = Trick("honest", "honest code")
    for outcome, result in (("ok", RIGHT), ("mismatch", REFUSED)):
        assert suite._tried(ending_as(outcome), honest, "cpu", honest=True).result == result


def ending_as(outcome: str) -> Any:
    """An isolator whose attempts end so."""
    error = None if outcome == "ok" else SimpleNamespace(message="why\nand more")
    record = SimpleNamespace(outcome=outcome, error=error, flags=())
    return SimpleNamespace(run=lambda _attempt: SimpleNamespace(record=record))


def test_what_is_missed_is_the_exit_code() -> None:
    """And is named in the table and the JSON, beside what cannot be tried."""
    found = [Tried("a", "kind a", CAUGHT, "why"), Tried("b", "kind b", MISSED, "")]
    assert suite.exit_code(found) == 1
    assert suite.exit_code(found[:1]) == 0
    assert "1 of 2 as they should be" in suite.as_text(found)
    assert json.loads(suite.as_json(found))["tricks"][1]["result"] == MISSED
    assert "searched for in memory" in suite.as_text(found)


@pytest.mark.slow
def test_every_trick_is_caught_here() -> None:
    """Each in a process of its own, whose clock is not this one's; honest code is right."""
    found = {one.name: one for one in suite.run("cpu")}
    assert found["honest"].result == RIGHT
    assert found["draws_the_inputs_again"].result in (HARMLESS, CAUGHT)
    missed = {name for name, one in found.items() if one.result in (MISSED, REFUSED)}
    assert missed == set()
    assert "time.perf_counter" in found["stops_the_clock"].reason
    assert "wrote into the same pipe" in found["writes_its_own_result"].reason
