"""A workload for the reports' tests: three params and nothing to compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from orchestrator.workload import Work, Workload


class Params(BaseModel):
    """Three axes and a constant."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    batch: int
    seq_len: int
    heads: int
    head_dim: int = 64
    dtype: str = "float32"


def header(constants: Mapping[str, Any]) -> Sequence[str]:
    """One line, from the constants as written."""
    return [f"Segments: {', '.join(constants.get('segment_lengths', ()))}"]


toy = Workload(
    name="toy",
    params=Params,
    inputs=lambda *_: (),
    reference=lambda _: None,
    work=lambda *_: Work(flops=1.0, bytes=1.0),
    columns={"batch": "Batch", "seq_len": "Seq Len", "heads": "Heads"},
    header=header,
)
