"""The adversarial suite: its table is whole, and its verdicts are what the worker says."""

from __future__ import annotations

import json

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
def test_a_trick_is_caught_if_its_row_is_not_ok(
    outcome: str, gains: bool, result: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that gains nothing does no harm by being ok."""
    monkeypatch.setattr(suite, "_outcome", lambda name, device: (outcome, "why"))
    assert suite._tried(Trick("x", "y", gains=gains), "cpu", honest=False).result == result


def test_honest_code_must_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """A harness that refuses everybody catches every cheat."""
    for outcome, result in (("ok", RIGHT), ("mismatch", REFUSED)):
        monkeypatch.setattr(suite, "_outcome", lambda name, device, outcome=outcome: (outcome, ""))
        assert suite._tried(Trick("honest", "honest code"), "cpu", honest=True).result == result


def test_what_is_missed_is_the_exit_code() -> None:
    """And is named in the table and the JSON, beside what cannot be tried."""
    found = [Tried("a", "kind a", CAUGHT, "why"), Tried("b", "kind b", MISSED, "")]
    assert suite.exit_code(found) == 1
    assert suite.exit_code(found[:1]) == 0
    assert "1 of 2 as they should be" in suite.as_text(found)
    assert json.loads(suite.as_json(found))["tricks"][1]["result"] == MISSED
    assert "reporting channel" in suite.as_text(found)


@pytest.mark.slow
def test_a_clock_that_is_replaced_is_caught_in_a_process_of_its_own() -> None:
    """Whose clock is not this one's."""
    found = suite._tried(Trick("stops_the_clock", "the clock replaced"), "cpu", honest=False)
    assert found.result == CAUGHT
    assert "time.perf_counter" in found.reason
