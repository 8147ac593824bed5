"""What a comparison fails on besides a slow-down, and that no side is held against itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.compare.comparison import Comparison, Pair, Verdict
from orchestrator.compare.demands import Demands
from orchestrator.outcome import Outcome
from orchestrator.results.rows import Row
from orchestrator.trial import Trial
from tests.support.swept import Store, prepare

Cli = Callable[..., Any]
TRIAL = Trial.of(implementation="mine", use="mine", params={"n": 16}, options={})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty results folder, and what runs sweeps into it."""
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return Store(monkeypatch)


def compared(verdict: Verdict, **now: float) -> Comparison:
    """A row that took 100 MiB and erred by 1e-5, and is so now."""
    was = {"peak_memory_mib": 100.0, "relative_error": 1e-5}
    pair = Pair(
        Row(TRIAL, Outcome.OK, metrics=was), Row(TRIAL, Outcome.OK, metrics={**was, **now}), verdict
    )
    return Comparison("base", "candidate", (pair,), columns={"n": "N"})


@pytest.mark.parametrize(
    ("demands", "now", "said"),
    [
        (Demands(), {"peak_memory_mib": 900.0, "relative_error": 1.0}, None),
        (Demands(memory=0.1), {"peak_memory_mib": 109.0}, None),
        (Demands(memory=0.1), {"peak_memory_mib": 111.0}, "mine n=16: 100 MiB, now 111"),
        (Demands(memory=0.001), {"peak_memory_mib": 100.9}, None),
        (Demands(error=4.0), {"relative_error": 3.9e-5}, None),
        (Demands(error=4.0), {"relative_error": 4.1e-5}, "relative error 1.0e-05, now 4.1e-05"),
        (Demands(unclear=True), {}, "unclear"),
    ],
)
def test_it_fails_on_what_is_asked_for_and_nothing_else(
    demands: Demands, now: dict[str, float], said: str | None
) -> None:
    """Each with its row and both figures."""
    found = demands.held_against(compared(Verdict.UNCLEAR, **now))
    assert found.exit_code == int(said is not None)
    assert (said is None) == (found.failures == ())
    assert said is None or said in found.failures[0]


def test_a_row_without_a_figure_fails_on_none() -> None:
    """A row that is not ok is another verdict's."""
    pair = Pair(Row(TRIAL, Outcome.OOM), Row(TRIAL, Outcome.OOM), Verdict.SAME)
    found = Demands(memory=0.1, error=2.0).held_against(Comparison("a", "b", (pair,)))
    assert found.failures == ()


def test_the_same_code_is_refused_unless_it_is_asked_for(store: Store, cli: Cli) -> None:
    """By its sources and packages; another environment is another question."""
    store.sweep()
    store.sweep()
    said = cli("compare", "last~1", "last")
    assert said.code == 2
    assert "measured the same code" in said.err
    assert "--same-code" in said.err
    assert "itself" not in said.err
    assert "is compared with itself" in cli("compare", "last", "last").err
    assert cli("compare", "last~1", "last", "--same-code").code == 0
    store.sweep(device={"driver": "1"})
    assert cli("compare", "last~1", "last", "--force").code == 0


def test_two_checkouts_with_the_same_code_are_refused_before_they_are_measured(
    store: Store, cli: Cli
) -> None:
    """`--again` would take an hour first."""
    Path("other").mkdir()
    prepare(Path("other"))
    said = cli("compare", "toy.yaml", "other/toy.yaml", "--again")
    assert said.code == 2
    assert "have the same code" in said.err
    assert store.made == []


def test_the_base_is_the_newest_on_such_a_machine(store: Store, cli: Cli) -> None:
    """Not the newest: that one was measured on another model."""
    like, *_ = [store.sweep(), store.sweep(device={"model": "another"})]
    Path("matmul.py").write_text(Path("matmul.py").read_text() + "\n# changed\n")
    newest = store.sweep()
    found = json.loads(cli("compare", "last", "--same-machine", "--json").out)
    assert (found["base"], found["candidate"]) == (like.meta.sweep_id, newest.meta.sweep_id)


def test_without_such_a_machine_it_says_what_to_do(store: Store, cli: Cli) -> None:
    """What the nearest differs in, and how to measure the base here."""
    store.sweep(device={"model": "another"})
    store.sweep()
    said = cli("compare", "last", "--same-machine")
    assert said.code == 2
    assert "the nearest differs in model: another" in said.err
    assert "--again" in said.err


@pytest.mark.parametrize("typed", ["0.5", "1", "fast", "-4"])
def test_a_factor_is_more_than_one(cli: Cli, typed: str) -> None:
    """A typo is refused by name."""
    said = cli("compare", "last", f"--fail-error={typed}")
    assert said.code == 2
    assert "--fail-error" in said.err
