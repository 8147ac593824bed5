"""What compiling costs is measured with caches of the attempt's own, empty and then warm."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from orchestrator.outcome import Outcome
from orchestrator.worker.compiling import times
from orchestrator.worker.compiling.times import CACHES, PREFIX, empty_caches, in_words, stage_times
from tests.support.attempts import attempt, recorded


def test_caches_are_empty_and_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a process that is no more are removed, those of a living one and the user's stay."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TRITON_CACHE_DIR", "mine")
    abandoned, living = tmp_path / f"{PREFIX}999999999-x", tmp_path / f"{PREFIX}{os.getpid()}-x"
    abandoned.mkdir()
    living.mkdir()
    with empty_caches():
        folders = [Path(os.environ[name]) for name in CACHES]
        assert all(folder.is_dir() and not list(folder.iterdir()) for folder in folders)
    assert os.environ["TRITON_CACHE_DIR"] == "mine"
    assert not any(folder.exists() for folder in folders)
    assert not abandoned.exists()
    assert living.exists()


def test_stages_are_said_without_those_inside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inner stages are counted by torch into the outer ones."""
    import torch._dynamo.utils as utils

    spent = {"entire_frame_compile": 1.0, "backend_compile": 0.7, "inductor_compile": 0.5}
    monkeypatch.setattr(utils, "calculate_time_spent", lambda: spent)
    found = stage_times()
    assert found == pytest.approx(
        {"tracing": 300, "autograd and graph passes": 200, "lowering": 500}
    )
    assert in_words("cold", found) == (
        "torch.compile, cold: tracing 300 ms, autograd and graph passes 200 ms, lowering 500 ms",
    )
    assert in_words("cold", {}) == ()


@pytest.mark.slow
def test_a_row_has_both_figures_where_that_is_asked() -> None:
    """The second in a process of its own."""
    record = recorded(attempt("honest", compile_times=True))
    assert record.outcome is Outcome.OK, record.error
    assert record.metrics
    assert record.metrics["cold_first_call_ms"]
    assert record.metrics["warm_first_call_ms"], record.notes
    assert "cold_first_call_ms" not in (recorded(attempt("honest")).metrics or {})


def test_memory_that_a_compiler_took_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU the row's memory is what the process grew by: a hundred times the eager one's."""
    monkeypatch.setattr(times, "stage_times", dict)
    assert times.memory_note() == ()
    monkeypatch.setattr(times, "stage_times", lambda: {"lowering": 12.0})
    assert "torch.compile" in times.memory_note()[0]
