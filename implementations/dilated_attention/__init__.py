"""The workload `dilated_attention`: params, inputs, float64 reference and work. Importing it
imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.workload import Config, Problem, Workload

from .params import DilatedAttentionParams
from .work import work

if TYPE_CHECKING:
    import torch

__all__ = ["WORKLOAD", "DilatedAttentionParams"]


def _inputs(config: Config, form: str, seed: int) -> tuple[torch.Tensor, ...]:
    from .inputs import inputs

    return inputs(config, form, seed)


def _state(config: Config, form: str, seed: int) -> Mapping[str, torch.Tensor]:
    from .inputs import state

    return state(config, form, seed)


def _reference(problem: Problem) -> Any:
    from .reference import reference

    return reference(problem)


def _upstream(problem: Problem, shape: tuple[int, ...]) -> torch.Tensor:
    from .reference import upstream

    return upstream(problem, shape)


def _backward(params: DilatedAttentionParams) -> bool:
    return params.direction == "forward_backward"


def _precision(params: DilatedAttentionParams) -> str:
    return (
        "tf32" if params.dtype == "float32" and params.matmul_precision == "tf32" else params.dtype
    )


def _gpus(params: DilatedAttentionParams) -> int:
    return params.world_size


def _shard(
    inputs: tuple[torch.Tensor, ...], rank: int, world_size: int
) -> tuple[torch.Tensor, ...]:
    """Positions [rank n / w, (rank + 1) n / w) of every input."""
    return tuple(t.chunk(world_size, dim=1)[rank] for t in inputs)


def _gather(outputs: Sequence[torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.cat(list(outputs), dim=1)


def _header(constants: Mapping[str, Any]) -> Sequence[str]:
    """The pattern in force, where the sweep file states it once for all rows."""
    lengths, rates = constants.get("segment_lengths"), constants.get("dilation_rates")
    if not isinstance(lengths, Sequence) or not isinstance(rates, Sequence):
        return ()
    return (f"Segments: {', '.join(map(str, lengths))}; rates {', '.join(map(str, rates))}",)


WORKLOAD = Workload(
    name="dilated_attention",
    params=DilatedAttentionParams,
    inputs=_inputs,
    reference=_reference,
    work=work,
    forms=("qkv", "multihead"),
    input_names={"qkv": ("q", "k", "v"), "multihead": ("x",)},
    state=_state,
    upstream=_upstream,
    backward=_backward,
    precision=_precision,
    gpus=_gpus,
    shard=_shard,
    gather=_gather,
    columns={"batch": "Batch", "seq_len": "Seq Len", "heads": "Heads"},
    header=_header,
)
