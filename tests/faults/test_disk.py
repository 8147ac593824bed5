"""A disk that fills up: what was finished stays, the sweep says what to do, and goes on once there
is room.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator import api
from orchestrator.errors import AbortedError
from orchestrator.isolation.isolator import Isolator
from orchestrator.outcome import Outcome
from orchestrator.plan.sweep import Sweep
from orchestrator.results import journal
from orchestrator.results.results import Results
from orchestrator.trackers.base import Tracker
from orchestrator.trackers.in_memory import MemoryTracker
from tests.faults.executed import TOYS, Executed

TRIALS = list(range(1, 17))
SIZE_MIB = 300  # above what a sweep asks for before it starts
FILLS = """
import os
def build(config):
    def call(*inputs):
        print(config.options["prints"], end="")
        if config.n == 3 and not os.path.exists(config.options["filler"] + ".done"):
            with open(config.options["filler"], "wb", buffering=0) as filler:
                try:
                    while True:
                        filler.write(bytes(1 << 16))
                except OSError:
                    pass
        return 1.0
    return call
"""

Run = Callable[..., Results]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(line, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a tmpfs (root)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def run(disk: Path, tmp_path: Path, isolator: Isolator) -> Run:
    """Runs a sweep, the third trial of which fills the disk, or goes on with it; each trial prints
    what is given.
    """
    (tmp_path / "fills.py").write_text(FILLS)

    def run(
        output: Path, tracker: Callable[[], Tracker], resume: bool = False, prints: str = ""
    ) -> Results:
        text = (
            f"name: doomed\nworkload: {TOYS}/matmul.py:WORKLOAD\naxes: {{n: {TRIALS}}}\n"
            f"implementations: [{{use: '{tmp_path}/fills.py:build', label: mine, "
            f"options: {{filler: '{disk}/filler', prints: '{prints}'}}}}]\n"
        )
        return api.run(
            Sweep.parse(text), output=output, resume=resume, tracker=tracker,
            executor=lambda _sweep: Executed(isolator),
        )  # fmt: skip

    return run


def make_room(disk: Path) -> None:
    (disk / "filler").unlink()
    (disk / "filler.done").touch()


@pytest.mark.parametrize("prints", ["", "something"], ids=["the journal", "a log"])
def test_a_disk_that_fills_up_costs_the_trial_in_flight(prints: str, disk: Path, run: Run) -> None:
    """Whichever write fails: aborted with the way on; the journal is whole, going on makes what is
    missing, once.
    """
    with pytest.raises(AbortedError, match=r"No space left on device.*make room.*resume") as caught:
        run(disk / "out", MemoryTracker, prints=prints)
    assert caught.value.exit_code == 3
    kept = (disk / "out" / "results.jsonl").read_bytes()
    assert kept.endswith(b"\n")
    assert 2 <= len(list(journal.read(disk / "out"))) < len(TRIALS)
    make_room(disk)

    results = run(disk / "out", MemoryTracker, resume=True, prints=prints)

    assert (disk / "out" / "results.jsonl").read_bytes().startswith(kept)
    assert [(record.params["n"], record.attempt) for record in results.records] == [
        (n, 1) for n in TRIALS
    ]
    assert all(record.outcome is Outcome.OK for record in results.records)


def test_a_tracking_store_on_a_full_disk_stops_nothing(
    disk: Path, run: Run, tmp_path: Path
) -> None:
    """The table is whole; `sync` brings the runs once there is room, and a second one changes
    nothing.
    """
    from orchestrator.trackers.mlflow import MlflowTracker
    from orchestrator.trackers.sync import SyncReport, sync

    uri = f"sqlite:///{disk}/mlflow.db"
    results = run(tmp_path / "out", lambda: MlflowTracker(uri))
    assert results.all_ok
    make_room(disk)
    first = sync(results, uri)
    assert first.created > 0
    # of the sweep, of its implementation and of each trial
    assert sync(results, uri) == SyncReport(unchanged=2 + len(TRIALS))
