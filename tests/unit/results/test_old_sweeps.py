"""Sweeps that were made at 2c7e0db are read, reported, compared and planned as they were then."""

import json
import shutil
from pathlib import Path

import pytest

from orchestrator import load
from orchestrator.compare import compare, duel
from orchestrator.plan.sweep import Sweep

OLD = Path(__file__).parents[2] / "golden" / "sweeps_2c7e0db"


@pytest.fixture(params=["sweep", "duel"])
def old(request, tmp_path):
    """A copy of such a sweep's directory."""
    return Path(shutil.copytree(OLD / request.param, tmp_path / request.param))


def grid(text):
    """Heading and rows of a table, without the footer, which says where things lie and what to run."""
    return [
        line for line in text.splitlines() if line.startswith(("|", "+", "Bench", "Device", "Segm"))
    ]


def test_the_table_is_what_it_was(old):
    """Every row, figure and status of summary.txt."""
    assert grid(load(old).table("txt")) == grid((old / "summary.txt").read_text())


def test_every_column_of_the_csv_is_still_there(old):
    """Later versions may add columns; a script that reads the old ones goes on working."""
    before = (old / "results.csv").read_text().splitlines()[0].split(",")
    now = load(old).table("csv").splitlines()[0].split(",")
    assert set(before) <= set(now)


def test_the_same_file_still_plans_the_same_trials(old):
    """Trial ids are what an older journal's rows are found by."""
    meta = load(old).meta
    again = Sweep.resolved(meta.spec, str(OLD), None, "sweep.resolved.json")
    labels = {entry.label for entry in meta.spec.implementations}
    planned = [trial.trial_id for trial in again.trials if trial.implementation in labels]
    assert sorted(planned) == sorted(trial.trial_id for trial in meta.planned)


def test_an_old_sweep_compares_with_itself(tmp_path):
    """Its environment matches its own, whatever facts were added since."""
    directory = Path(shutil.copytree(OLD / "sweep", tmp_path / "sweep"))
    found = compare(load(directory), load(directory))
    assert len(found.rows) == 6 + 2
    assert {pair.verdict.value for pair in found.rows if pair.ratio is not None} <= {
        "same",
        "unclear",
    }


def test_an_old_paired_comparison_has_its_ratios(tmp_path):
    """The medians of the old verdicts; intervals may have become better since."""
    directory = Path(shutil.copytree(OLD / "duel", tmp_path / "duel"))
    found = duel.judge(load(directory))
    before = json.loads((directory / "comparison.json").read_text())
    for pair, old_pair in zip(found.rows, before["rows"], strict=True):
        assert pair.ratio is not None
        assert pair.ratio.value == pytest.approx(old_pair["ratio"], rel=0.05)
