"""The workflow in docs/examples/compare.yml, its commands run on a small repository."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "docs" / "examples" / "compare.yml"
RUN_S = 800
MEASURED = "Measure and compare"
SWEEP = """
name: kernels
workload: {toys}/matmul.py:WORKLOAD
implementations: [{{use: "./kernel.py:build", label: kernel}}]
axes: {{n: [16]}}
measure: {{max_time_s: 0.1, warmup_s: 0, remeasure: 0, sentinels: false, ceilings: false}}
resources: {{cpus: 1}}
"""
FAST = "def build(config):\n    return lambda a, b: a @ b\n"
SLOW = """
import time


def build(config):
    def product(a, b):
        time.sleep(0.005)
        return a @ b

    return product
"""


def job() -> dict[str, Any]:
    """The workflow's only job."""
    return dict(yaml.safe_load(WORKFLOW.read_text())["jobs"]["compare"])


def carry_out(
    name: str, workspace: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """One step, by its name, as a runner carries it out."""
    step = next(step for step in job()["steps"] if step.get("name") == name)
    line = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(
        line,
        cwd=workspace,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )


@pytest.fixture
def workspace(tmp_path: Path, give_store: Callable[[Path], None]) -> Path:
    """Two checkouts that differ in the file of an implementation alone; `.venv` stands for what
    `Set up` made.
    """
    toys = ROOT / "tests" / "integration" / "toys"
    for side in ("base", "candidate"):
        (tmp_path / side / "sweeps").mkdir(parents=True)
        (tmp_path / side / "sweeps" / "quick.yaml").write_text(SWEEP.format(toys=toys))
        (tmp_path / side / "sweeps" / "kernel.py").write_text(FAST)
        (tmp_path / side / ".git").mkdir()
    python = tmp_path / "base" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "candidate" / ".venv").symlink_to(tmp_path / "base" / ".venv")
    (tmp_path / "temp").mkdir()
    for folder in ("base", "candidate", "temp"):  # in which sweeps run
        give_store(tmp_path / folder)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kernel", "code", "said"), [(SLOW, 1, "slower"), (FAST, 0, "there is nothing to compare")]
)
def test_a_slower_file_is_found_and_a_side_is_never_held_against_itself(
    workspace: Path, kernel: str, code: int, said: str
) -> None:
    """Without a history both are measured in turns; each side runs the file of its own checkout.

    The slower one is so by five milliseconds in place of a few microseconds, whatever the machine
    does.
    """
    (workspace / "candidate" / "sweeps" / "kernel.py").write_text(kernel)
    environment = {
        **os.environ,
        **job()["env"],
        "OPTIONS": "-S measure.repeats=3",
        "PYTHONPATH": str(ROOT),
        "GITHUB_WORKSPACE": str(workspace),
        "RUNNER_TEMP": str(workspace / "temp"),
        "GITHUB_STEP_SUMMARY": str(workspace / "summary.md"),
    }
    done = carry_out(MEASURED, workspace, environment)
    assert done.returncode == code, done.stdout + done.stderr
    summary = (workspace / "summary.md").read_text()
    assert said in summary
    assert ("kernel.py changed" in summary) == (kernel == SLOW)


def test_no_side_is_given_the_other_sides_files() -> None:
    """The sweep file is named once, and looked for in either checkout."""
    assert not Path(job()["env"]["SWEEP"]).is_absolute()
    step = next(step for step in job()["steps"] if step.get("name") == MEASURED)
    both = '"$GITHUB_WORKSPACE/base/$SWEEP" "$GITHUB_WORKSPACE/candidate/$SWEEP"'
    assert f"compare {both} " in step["run"].replace("\\\n", "")
