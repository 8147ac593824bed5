"""Plans a trial: its options, the needs of the fused plan, the rule of `implementations.choice`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from orchestrator.workload import Config

from ..choice import FUSED_WIDTH, Facts
from ..choice import choose as chosen
from ..dilated_attention.pattern import Pattern
from ..dilated_attention.work import attention_flops
from .blocks import backward_blocks, forward_blocks
from .online import has_triton, interpreted
from .schedule import windows
from .sdpa import takes_cudnn
from .spec import Spec

PLANS = ("fused", "views")
BLOCKS = ("block_m", "block_n", "num_warps", "num_stages")


def planned(config: Config, name: str, block: int | None = None) -> Spec:
    """The problem and the plan for it, with the config's options applied.

    Args:
        config: the trial's.
        name: of the implementation, for messages.
        block: positions of a block of keys (`implementations.ring`); None: all, with no bound on
            memory.
    """
    options = _valid(config.options, name)
    plan = options.get("plan") or ("fused" if set(options) & set(BLOCKS) else choose(config, block))
    spec = Spec(
        Pattern.of(config),
        config.head_dim,
        config.causal,
        config.matmul_precision,
        plan,
        block=block,
    )
    if plan == "views":
        return spec
    if reason := why_not_fused(config, block):
        raise NotImplementedError(f"{name}'s plan fused {reason}")
    item = torch.empty(0, dtype=config.dtype).element_size()
    blocks = forward_blocks(
        spec.pattern,
        config.batch,
        config.head_dim,
        item,
        config.causal,
        config.matmul_precision,
        block,
    )
    blocks = replace(blocks, **{name: options[name] for name in BLOCKS if name in options})
    return replace(
        spec,
        forward=blocks,
        backward=backward_blocks(config.head_dim, item, config.matmul_precision),
    )


def choose(config: Config, block: int | None = None) -> str:
    """The name of the plan for this trial, by the rule of `implementations.choice`."""
    facts = Facts(
        cuda=config.device.type == "cuda",
        fusible=why_not_fused(config, block) is None,
        dtype=str(config.dtype).removeprefix("torch."),
        tf32=config.matmul_precision == "tf32",
        backward=config.direction == "forward_backward",
        head_dim=config.head_dim,
        cudnn=_cudnn_takes_all(config, block),
        flops=attention_flops(config),
        branches=len(config.segment_lengths),
        shares_heads=Pattern.of(config).shares_heads,
        in_blocks=block is not None and block < config.seq_len,
    )
    return chosen(facts)


def _cudnn_takes_all(config: Config, block: int | None) -> bool:
    """Whether every call goes to cuDNN."""
    if config.device.type != "cuda" or config.dtype == torch.float32:
        return False
    width = -(-config.head_dim // 8) * 8
    sizes = set()
    for window in windows(Pattern.of(config), block or config.seq_len, config.causal):
        for part in window.parts:
            sizes.add((part.rows[1] - part.rows[0], part.keys[1] - part.keys[0]))
    backward = config.direction == "forward_backward"
    for rows, keys in sizes:
        q, k = (1, 1, rows, width), (1, 1, keys, width)
        if not takes_cudnn(config.device, config.dtype, q, k, backward):
            return False
    return True


def why_not_fused(config: Config, block: int | None) -> str | None:
    """What keeps the fused plan from working here, or None."""
    if not has_triton():
        return "needs Triton, which is not installed"
    if config.device.type != "cuda" and not interpreted():
        return f"needs a CUDA device; the trial's is {config.device}"
    if config.mixing == "lse" and block is not None:
        return "takes keys in blocks under mixing head_groups only; the trial's is lse"
    if config.head_dim > FUSED_WIDTH:
        return f"takes a head_dim of at most {FUSED_WIDTH}; the trial's is {config.head_dim}"
    return None


def _valid(options: Any, owner: str) -> dict[str, Any]:
    """The options, each known and possible."""
    for name, value in options.items():
        if name not in ("plan", *BLOCKS):
            raise ValueError(f"{owner} has no option {name!r}; it has plan, {', '.join(BLOCKS)}")
        if name == "plan" and value not in PLANS:
            raise ValueError(f"{owner}'s option plan must be {' or '.join(PLANS)}, not {value!r}")
        if name != "plan" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(
                f"{owner}'s option {name} must be a whole number of at least 1, not {value!r}"
            )
    if options.get("plan") == "views" and (given := sorted(set(options) & set(BLOCKS))):
        raise ValueError(
            f"{owner}'s option {given[0]} belongs to the plan fused; the options ask for views"
        )
    return dict(options)
