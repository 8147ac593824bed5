"""One more call under a profiler says which kernels ran, and is no part of what was timed."""

import torch

from orchestrator.outcome import Outcome
from orchestrator.worker.profile import in_words, profiled
from orchestrator.worker.run_attempt import run_attempt
from tests.support.attempts import attempt


def test_the_kernels_of_a_call_are_named_with_their_shares() -> None:
    """The product of large matrices takes more than a sum; shares come to 1."""
    a = torch.randn(300, 300)
    found = profiled(lambda: (a @ a).sum(), torch.device("cpu"))
    assert found[0].name in ("aten::mm", "aten::addmm")
    assert {one.name for one in found} >= {"aten::mm", "aten::sum"}
    assert abs(sum(one.share for one in found) - 1) < 1e-6
    assert in_words(found).startswith("kernels: aten::")


def test_a_call_that_runs_nothing_has_no_kernels() -> None:
    """And that is said."""
    assert in_words(profiled(lambda: None, torch.device("cpu"))) == "kernels: none"


def test_a_record_has_them_where_it_was_asked() -> None:
    """And the row a note."""
    record = run_attempt(attempt("honest", profile=True))
    assert record.outcome is Outcome.OK
    assert record.kernels
    assert any(note.startswith("kernels: ") for note in record.notes)
    assert run_attempt(attempt("honest")).kernels == ()
