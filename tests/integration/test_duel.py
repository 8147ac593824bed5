"""A duel through Ray, real processes, a real journal and a real MLflow store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.isolation.isolator import Isolator
from orchestrator.outcome import Outcome
from orchestrator.spec.models import MeasureSpec, VerifySpec
from orchestrator.trial import Attempt, Resources, Trial

ROOT = Path(__file__).parents[2]
TOYS = Path(__file__).parent / "toys"
FAST = "{min_time_s: 0.01, max_time_s: 0.1, warmup_s: 0.0, min_repetitions: 4, target_ci: 0.5, repeats: 2, remeasure: 0}"


def orchestrator(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, give_store: Callable[[Path], None]) -> Path:
    """A folder with a sweep file of three implementations at two points."""
    folder = tmp_path_factory.mktemp("duel")
    give_store(folder)
    entries = ", ".join(
        f"{{use: '{TOYS}/matmul.py:{name}', label: {label}}}"
        for name, label in [("right", "a"), ("right", "b"), ("forgets_a_transpose", "wrong")]
    )
    (folder / "sweep.yaml").write_text(
        f"name: duel\nworkload: {TOYS}/matmul.py:WORKLOAD\nimplementations: [{entries}]\n"
        f"axes: {{n: [16, 32]}}\nmeasure: {FAST}\n"
    )
    return folder


def test_two_of_one_kind_are_compared_and_kept(folder: Path) -> None:
    """One JSON object; the directory of a sweep, with the verdicts beside it; resume shows them and
    runs nothing.
    """
    done = orchestrator(
        folder, "compare", "--duel", "a", "b", "sweep.yaml", "--output", "out", "--json"
    )
    # a busy machine may well be slower in one of two processes
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    assert (found["base"], found["candidate"]) == ("a", "b")
    assert [row["params"]["n"] for row in found["rows"]] == [16, 32]
    assert all(row["ratio_ci_low"] <= row["ratio"] <= row["ratio_ci_high"] for row in found["rows"])
    lines = (folder / "out" / "results.jsonl").read_text().splitlines()
    assert len(lines) == 2 * 2 * 2
    assert json.loads((folder / "out" / "comparison.json").read_text()) == found
    again = orchestrator(folder, "resume", "out")
    assert again.stdout.startswith(f"b compared with a: {found['verdict']}")
    assert (folder / "out" / "results.jsonl").read_text().splitlines() == lines


def test_a_side_that_is_wrong_has_no_ratio(folder: Path) -> None:
    """It is said which, and the exit code is 1."""
    wrong = orchestrator(
        folder, "compare", "--duel", "a", "wrong", "sweep.yaml", "--only", "n == 16"
    )
    assert wrong.returncode == 1
    assert "newly_failing" in wrong.stdout
    assert "wrong: mismatch" in wrong.stdout


def test_the_death_of_the_process_is_the_end_of_both() -> None:
    """Nobody is left to say whose fault it was; the rows say so alike, each naming its own log."""
    trials = {
        name: Trial.of(
            implementation=name, use=f"{TOYS}/matmul.py:{name}", params={"n": 16}, options={}
        )
        for name in ("right", "dies")
    }
    attempt = Attempt(
        sweep_id="sweep",
        trial=trials["right"],
        rival=trials["dies"],
        workload=f"{TOYS}/matmul.py:WORKLOAD",
        base_dir=str(TOYS),
        device="cpu",
        seed=0,
        protocol=MeasureSpec().for_device("cpu"),
        verify=VerifySpec(),
        resources=Resources(cpus=1, timeout_s=60.0),
    )
    with Isolator() as isolator:
        records = isolator.run(attempt).result.records
    for record, trial in zip(records, trials.values(), strict=True):
        assert (record.trial_id, record.outcome) == (trial.trial_id, Outcome.CRASHED)
        assert record.error is not None
        assert record.error.kind == "SIGSEGV"
        assert record.error.log == f"logs/{trial.trial_id}.log"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--duel", "a", "b"), "with --duel the sweep file with both labels as third"),
        (("a", "b", "sweep.yaml"), "with --duel the sweep file with both labels as third"),
        (("--duel", "a", "bb", "sweep.yaml"), "no implementation labelled 'bb'"),
        (("a", "b", "--output", "there"), "--output is an option of run"),
        (("--duel", "a", "b", "sweep.yaml", "--force"), "--force does nothing with --duel"),
        (("a", "b", "--fail-slower", "5"), "give 5%, or 0.05 for 5%"),
        (("a", "b", "--fail-slower", "1000%"), "give more than 0% and less than 1000%"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    """Exit 2, before anything runs."""
    done = orchestrator(folder, "compare", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
