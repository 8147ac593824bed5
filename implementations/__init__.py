"""The registry: which workloads and implementations have a name. Torch is imported when something
is built.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from orchestrator.workload import Config, Registered

from .choice import RING_RULES, RULES
from .dilated_attention.params import DilatedAttentionParams

__all__ = ["IMPLEMENTATIONS", "WORKLOADS", "DilatedAttentionParams", "Loaded", "load"]

WORKLOADS: dict[str, str] = {"dilated_attention": f"{__name__}.dilated_attention:WORKLOAD"}

IMPLEMENTATIONS: dict[str, Registered] = {
    "standard": Registered(
        target=f"{__name__}.standard:build",
        workload="dilated_attention",
        form="qkv",
        summary="one scaled_dot_product_attention per branch on strided views; the readable one",
    ),
    "improved": Registered(
        target=f"{__name__}.improved:build",
        workload="dilated_attention",
        form="qkv",
        summary="the same function by the fastest plan for each shape",
        explain=RULES,
    ),
    "multihead_standard": Registered(
        target=f"{__name__}.multihead:build_standard",
        workload="dilated_attention",
        form="multihead",
        summary="projections, standard, LayerNorm, output projection",
    ),
    "multihead_improved": Registered(
        target=f"{__name__}.multihead:build_improved",
        workload="dilated_attention",
        form="multihead",
        summary="projections only where a branch reads them, improved, LayerNorm, output projection",
    ),
    "ring_v2": Registered(
        target=f"{__name__}.ring:build",
        workload="dilated_attention",
        form="qkv",
        summary="keys in ring_size blocks with an online softmax; beside inputs and output little memory",
        explain=RING_RULES,
    ),
}


@dataclass(frozen=True)
class Loaded:
    """A registered implementation, ready to be built."""

    name: str
    registered: Registered

    def build(
        self, params: DilatedAttentionParams, options: Mapping[str, Any] | None = None
    ) -> Callable[..., Any]:
        """The implementation for these params, on params.device (None: CUDA where there is a GPU,
        else the CPU).

        Returns:
            A callable of q, k, v, (batch, seq_len, heads, head_dim) each; a multihead one is an
            nn.Module of x, (batch, seq_len, heads * head_dim). The output has the shape of the
            input.

        Raises:
            NotImplementedError: this implementation does not support these params.
        """
        import torch

        device = params.device or ("cuda" if torch.cuda.is_available() else "cpu")
        module, _, attribute = self.registered.target.partition(":")
        build: Callable[[Config], Callable[..., Any]] = getattr(import_module(module), attribute)
        return build(Config(params.model_dump(exclude={"device"}), device, options))


def load(name: str) -> Loaded:
    """The registered implementation of that name.

    Raises:
        KeyError: no implementation has this name; the message lists those that exist.
    """
    if name not in IMPLEMENTATIONS:
        near = difflib.get_close_matches(name, IMPLEMENTATIONS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise KeyError(
            f"no implementation is named {name!r}{hint} (registered: {', '.join(IMPLEMENTATIONS)})"
        )
    return Loaded(name, IMPLEMENTATIONS[name])
