"""One more call under a profiler says which kernels ran, and is no part of what was timed."""

from pathlib import Path

import pytest
import torch

from orchestrator.outcome import Outcome
from orchestrator.worker.profile import kernels_in_words, profiled
from tests.support.attempts import attempt, recorded


def test_the_kernels_of_a_call_are_named_with_their_shares() -> None:
    """The largest share comes first; shares come to 1."""
    a = torch.randn(300, 300)
    found = profiled(lambda: (a @ a).sum(), torch.device("cpu"))
    shares = [one.share for one in found]
    assert shares == sorted(shares, reverse=True)
    assert {one.name for one in found} >= {"aten::mm", "aten::sum"}
    assert abs(sum(one.share for one in found) - 1) < 1e-6
    assert kernels_in_words(found).startswith("kernels: aten::")


def test_a_call_that_runs_nothing_has_no_kernels() -> None:
    """And that is said."""
    assert kernels_in_words(profiled(lambda: None, torch.device("cpu"))) == "kernels: none"


@pytest.mark.slow
def test_a_record_has_them_where_it_was_asked() -> None:
    """And the row a note."""
    record = recorded(attempt("honest", profile=True))
    assert record.outcome is Outcome.OK
    assert record.kernels
    assert any(note.startswith("kernels: ") for note in record.notes)
    assert recorded(attempt("honest")).kernels == ()


@pytest.mark.slow
def test_a_trace_is_kept_where_there_is_room_for_it(tmp_path: Path) -> None:
    """On a node that has no such folder there is none, and the kernels are known nevertheless."""
    here = recorded(attempt("honest", profile=True, trace=str(tmp_path / "trace.json.gz")))
    away = recorded(attempt("honest", profile=True, trace=str(tmp_path / "no" / "t.json.gz")))
    assert (tmp_path / "trace.json.gz").stat().st_size
    assert here.kernels
    assert away.outcome is Outcome.OK
    assert away.kernels
