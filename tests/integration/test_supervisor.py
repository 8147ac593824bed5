"""A supervisor as on a cluster's node, in the folder that Ray put the sweep's files into."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from orchestrator.attempt_result import AttemptResult
from orchestrator.outcome import Outcome
from orchestrator.supervisor.supervisor import STAGED_FILES, Supervisor
from tests.support.attempts import BRIEF, HERE, attempt


def stage(folder: Path) -> None:
    """Put the tiny workload's file where a node has the sweep's files."""
    (folder / STAGED_FILES).mkdir(parents=True)
    shutil.copy(HERE / "matmul.py", folder / STAGED_FILES)


def test_its_folder_may_be_replaced_by_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ray does where another node on the machine joins: the process then is in a folder that is
    no more, and what it needs lies at the same path.
    """
    folder = tmp_path / "sent"
    stage(folder)
    monkeypatch.chdir(folder)
    supervisor = Supervisor("cpu", 1, "", (), staged=True)
    try:
        shutil.rmtree(folder)
        stage(folder)
        with pytest.raises(FileNotFoundError):
            os.getcwd()
        asked = attempt("honest", protocol=BRIEF, base_dir=Path("nowhere"))
        report = supervisor.run(asked.model_dump_json())
    finally:
        supervisor.close()
        monkeypatch.undo()
    record = AttemptResult.model_validate_json(report.result).record
    assert record.outcome is Outcome.OK, record.error
