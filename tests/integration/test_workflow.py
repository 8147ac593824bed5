"""The workflow in docs/examples/compare.yml, its commands run on a small repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "docs" / "examples" / "compare.yml"
RUN_S = 400
MEASURED = ("Measure the base", "Measure the candidate", "Compare")
SWEEP = """
name: kernels
workload: {toys}/matmul.py:WORKLOAD
implementations: [{{use: "./kernel.py:build", label: kernel}}]
axes: {{n: [16]}}
measure: {{max_time_s: 0.1, warmup_s: 0, remeasure: 0}}
resources: {{cpus: 1}}
"""
FAST = "def build(config):\n    return lambda a, b: a @ b\n"
SLOW = """
import time


def build(config):
    def product(a, b):
        time.sleep(0.02)
        return a @ b

    return product
"""


def job() -> dict[str, Any]:
    """The workflow's only job."""
    return dict(yaml.safe_load(WORKFLOW.read_text())["jobs"]["compare"])


def carry_out(name: str, workspace: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """One step, by its name, as a runner carries it out."""
    step = next(step for step in job()["steps"] if step.get("name") == name)
    line = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    place = workspace / step["working-directory"]
    return subprocess.run(line, cwd=place, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Two checkouts that differ in the file of an implementation alone; `.venv` stands for what `Set up` made."""
    toys = ROOT / "tests" / "integration" / "toys"
    for side, kernel in (("base", FAST), ("candidate", SLOW)):
        (tmp_path / side / "sweeps").mkdir(parents=True)
        (tmp_path / side / "sweeps" / "quick.yaml").write_text(SWEEP.format(toys=toys))
        (tmp_path / side / "sweeps" / "kernel.py").write_text(kernel)
        (tmp_path / side / ".venv" / "bin").mkdir(parents=True)
        python = tmp_path / side / ".venv" / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
    (tmp_path / "temp").mkdir()
    return tmp_path


@pytest.mark.slow
def test_a_slower_file_is_found_and_a_side_beside_itself_is_called_the_same_code(workspace: Path) -> None:
    """Each side runs the file of its own checkout."""
    environment = {
        **os.environ,
        **job()["env"],
        "PYTHONPATH": str(ROOT),
        "RUNNER_TEMP": str(workspace / "temp"),
        "GITHUB_STEP_SUMMARY": str(workspace / "summary.md"),
    }
    base, candidate, compared = [carry_out(name, workspace, environment) for name in MEASURED]
    assert base.returncode == 0, base.stderr
    assert candidate.returncode == 0, candidate.stderr
    assert compared.returncode == 1, compared.stdout + compared.stderr
    summary = (workspace / "summary.md").read_text()
    assert "slower" in summary
    assert "kernel.py changed" in summary
    (workspace / "temp" / "candidate").rename(workspace / "temp" / "measured")
    (workspace / "temp" / "candidate").symlink_to(workspace / "temp" / "base")
    itself = carry_out("Compare", workspace, environment)
    assert itself.returncode == 0
    assert "measured the same code" in itself.stdout


def test_no_side_is_given_the_other_sides_files() -> None:
    """The sweep file is named from the checkout that the step works in."""
    assert not Path(job()["env"]["SWEEP"]).is_absolute()
    assert "github.workspace" not in WORKFLOW.read_text()
    steps = {step.get("name"): step for step in job()["steps"]}
    for side in ("base", "candidate"):
        assert steps[f"Measure the {side}"]["working-directory"] == side
