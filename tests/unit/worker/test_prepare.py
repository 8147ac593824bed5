"""What an implementation prepares for the values of its inputs is a figure of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.outcome import Outcome
from tests.support.attempts import attempt, recorded

PLANNED = """
import torch
from tests.support.matmul import honest as plain


class Planned:
    def __init__(self, config):
        self.product = plain(config)
        self.prepared = 0

    def prepare(self, *inputs):
        self.prepared += 1

    def __call__(self, *inputs):
        assert self.prepared
        return self.product(*inputs)


build = Planned
"""

SEGMENTS = """
import torch

def inputs(segments: int, width: int):
    lengths = torch.randint(1, 9, (segments,))
    total = 8 * segments
    return torch.randn(total, width), lengths, torch.rand(segments)

def reference(x, lengths, weights):
    ends = torch.cumsum(lengths, 0)
    starts = ends - lengths
    sums = [x[a:b].sum(dim=0) for a, b in zip(starts.tolist(), ends.tolist())]
    return torch.stack(sums) * weights[:, None]


class Planned:
    # The plan follows from the lengths alone: fresh floating-point values leave it valid.
    def prepare(self, x, lengths, weights):
        ids = torch.arange(len(lengths)).repeat_interleave(lengths)
        self.plan = ids, int(lengths.sum())

    def __call__(self, x, lengths, weights):
        ids, total = self.plan
        out = torch.zeros(len(lengths), x.shape[1])
        return out.index_add_(0, ids, x[:total]) * weights[:, None]


def build(config):
    return Planned()
"""

# Shapes follow the seed: one plan fits one set of inputs alone.
RAGGED = SEGMENTS.replace("total = 8 * segments", "total = int(lengths.sum())")


@pytest.mark.slow
def test_the_time_of_prepare_is_a_figure(tmp_path: Path) -> None:
    """And an implementation without that method has none."""
    (tmp_path / "planned.py").write_text(PLANNED)
    record = recorded(attempt("planned", use=f"{tmp_path}/planned.py:build"))
    assert record.outcome is Outcome.OK, record.error
    assert record.metrics
    assert record.metrics["prepare_ms"] is not None
    plain = recorded(attempt("honest"))
    assert plain.metrics
    assert "prepare_ms" not in plain.metrics


@pytest.mark.slow
@pytest.mark.parametrize("segments", [40, 400])
@pytest.mark.parametrize("file", [SEGMENTS, RAGGED], ids=["of-one-shape", "ragged"])
def test_a_plan_kept_by_lengths_is_valid_for_fresh_values(
    tmp_path: Path, file: str, segments: int
) -> None:
    """An implementation may keep one plan: where values are drawn anew lengths stay."""
    (tmp_path / "segments.py").write_text(file)
    made = attempt(
        "planned", use="./segments.py:build", workload="./segments.py", base_dir=tmp_path
    )
    trial = made.trial.model_copy(update={"params": {"segments": segments, "width": 32}})
    record = recorded(made.model_copy(update={"trial": trial}))
    assert record.outcome is Outcome.OK, record.error
    assert not record.flags or "unproven" not in record.flags


CHEATING = (
    SEGMENTS
    + """

class Cheating(Planned):
    def prepare(self, x, lengths, weights):
        super().prepare(x, lengths, weights)
        self.kept = super().__call__(x, lengths, weights)

    def __call__(self, x, lengths, weights):
        return self.kept


def cheat(config):
    return Cheating()
"""
)


@pytest.mark.slow
def test_an_answer_that_prepare_keeps_is_a_mismatch(tmp_path: Path) -> None:
    """Floating-point values change without it."""
    (tmp_path / "segments.py").write_text(CHEATING)
    made = attempt("cheat", use="./segments.py:cheat", workload="./segments.py", base_dir=tmp_path)
    trial = made.trial.model_copy(update={"params": {"segments": 40, "width": 32}})
    record = recorded(made.model_copy(update={"trial": trial}))
    assert record.outcome is Outcome.MISMATCH
