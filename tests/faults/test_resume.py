"""Who may go on with a sweep, and what a change of its file or its sources means for what is
finished.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import api
from orchestrator.errors import RequestError, SweepBusyError
from orchestrator.isolation.isolator import Isolator
from orchestrator.outcome import Outcome
from orchestrator.plan.sweep import Sweep
from orchestrator.results import sweep_directory
from orchestrator.results.journal import Journal
from orchestrator.results.results import Results
from orchestrator.trackers.in_memory import MemoryTracker
from tests.faults.executed import TOYS, Executed

MINE = """
def build(config):
    return lambda *inputs: 1.0
def fails(config):
    return lambda *inputs: 1 / 0
"""

Run = Callable[..., Results]


@pytest.fixture
def run(tmp_path: Path, isolator: Isolator) -> Run:
    """Runs a sweep over `n`, or goes on with it, in one directory; trackers are kept in
    `run.trackers`.
    """
    (tmp_path / "mine.py").write_text(MINE)

    def run(n: list[int], build: str = "build", **options: object) -> Results:
        text = (
            f"name: toy\nworkload: {TOYS}/matmul.py:WORKLOAD\naxes: {{n: {n}}}\n"
            f"implementations: [{{use: '{tmp_path}/mine.py:{build}', label: mine}}]\nretries: {{failed: 1}}\n"
        )
        run.trackers.append(MemoryTracker())
        return api.run(
            Sweep.parse(text), output=tmp_path / "out", tracker=lambda: run.trackers[-1],
            executor=lambda _sweep: Executed(isolator), **options,
        )  # fmt: skip

    run.trackers = []
    return run


@pytest.fixture
def finished(run: Run, tmp_path: Path) -> Path:
    """The directory of a sweep that is finished: n = 16 and 17."""
    assert run([16, 17]).all_ok
    return tmp_path / "out"


def everything(directory: Path) -> dict[str, bytes]:
    """The files of a sweep, but the name of who last locked it."""
    return {
        path.name: path.read_bytes()
        for path in directory.iterdir()
        if path.is_file() and path.name != ".lock"
    }


def test_a_second_driver_says_so_and_leaves(run: Run, finished: Path) -> None:
    """Before it has started or changed anything."""
    before = everything(finished)
    with (
        Journal(finished),
        pytest.raises(SweepBusyError, match=rf"another driver \(pid {os.getpid()}\)"),
    ):
        run([17, 18], resume=True)
    assert everything(finished) == before
    assert run.trackers[-1].calls == []


def test_a_changed_file_goes_on_with_what_still_exists(run: Run, finished: Path) -> None:
    """What is new is made, what is finished is not made again, what no longer exists is kept in the
    journal.
    """
    results = run([17, 18], resume=True)
    assert [record.params["n"] for record in results.records] == [16, 17, 18]
    assert [row.params["n"] for row in sweep_directory.load(finished).rows] == [17, 18]
    assert "[17, 18]" in (finished / "sweep.yaml").read_text()


def test_rows_of_changed_sources_are_refused_and_nothing_is_touched(
    run: Run, finished: Path, tmp_path: Path
) -> None:
    """They are named; no file and no run changes until someone says what to do with them."""
    before = everything(finished)
    (tmp_path / "mine.py").write_text(MINE.replace("1.0", "2.0"))
    with pytest.raises(
        RequestError, match=r"2 finished rows no longer hold:\n.*source changed[\s\S]*--rerun stale"
    ):
        run([16, 17, 18], resume=True)
    assert everything(finished) == before
    assert run.trackers[-1].calls == []


def test_stale_rows_are_made_again_when_asked(run: Run, finished: Path, tmp_path: Path) -> None:
    """And the table is one of a kind again."""
    (tmp_path / "mine.py").write_text(MINE.replace("1.0", "2.0"))
    results = run([16, 17], rerun="stale")
    assert [(record.params["n"], record.attempt) for record in results.records] == [
        (16, 1),
        (17, 1),
        (16, 2),
        (17, 2),
    ]
    assert {row.records[-1].fingerprint.source for row in results.rows} == {
        results.records[-1].fingerprint.source
    }


def test_every_attempt_is_in_the_journal_and_the_row_says_how_many(run: Run) -> None:
    """Retried once, as `retries` says; the row shows the last."""
    (row,) = run([16], build="fails").rows
    assert (row.outcome, row.attempts, row.records[-1].attempt) == (Outcome.FAILED, 2, 2)
    assert [record.attempt for record in run([16], build="fails", rerun="n == 16").records] == [
        1,
        2,
        3,
        4,
    ]
