"""Dilated attention with keys in blocks, as a ring of devices holds them; on one device, block
after block.

The sequence is cut into ring_size blocks of ceil(seq_len / ring_size) positions, the last one
shorter. Rows meet one block of keys after another, and an online softmax in float32 merges what
they find. A segment within one block is done with it; rows of a segment that crosses blocks carry a
state: the result so far and its log-sum-exp.

Plans, chosen by the rule of `implementations.choice`:
    fused: one Triton launch for each block of keys, over all branches; the state goes from launch
        to launch, in the output itself where that is float32. The backward pass is that of
        `improved`, in two launches.
    views: attention calls on strided views, all rows of a branch against one block of each
        segment's keys: for segments n/4, n/2, n and four blocks 1 + 2 + 4 calls. The backward pass
        makes the same calls.

What is held beyond inputs and output, scores never among it, stays within 15 % of their size
(`kernels.bound`): where the state of all rows would be more, heads (views) or rows are taken in
several windows. This is of the forward pass; the backward pass holds gradients in float32 where
several calls add to them.

With world_size > 1 each rank holds seq_len / world_size positions, and
`implementations.kernels.ring_ranks` shares what crosses ranks; ring_size, which is about one
device, has no part in it.
"""

from __future__ import annotations

from functools import partial

from orchestrator.workload import Config

from .dilated_attention.pattern import Pattern
from .kernels.op import Attention, attention_of
from .kernels.planned import planned
from .kernels.precision import at_precision
from .kernels.spec import Spec


def build(config: Config) -> Attention:
    """Attention of q, k, v, (batch, seq_len, heads, head_dim) each, any strides; same shape and
    dtype out.

    Over ranks q, k and v are this rank's positions, and so is the output: (batch, seq_len /
    world_size, heads, head_dim), rank i holding the i-th share of the sequence. The process group
    must be there.

    Options (config.options): as of `improved`; none over ranks.

    Raises:
        NotImplementedError: an option asks for the fused plan where it does not work.
        ValueError: an unknown option, or one with an impossible value.
    """
    if config.world_size > 1:
        return _over_ranks(config)
    return attention_of(spec_of(config))


def _over_ranks(config: Config) -> Attention:
    from .kernels.ring_plan import RanksPlan
    from .kernels.ring_ranks import attention

    if config.options:
        raise ValueError(f"ring_v2 over ranks has no options, found {', '.join(config.options)}")
    plan = RanksPlan.of(
        Pattern.of(config),
        config.head_dim,
        config.causal,
        config.matmul_precision == "tf32",
        config.rank,
        config.world_size,
        config.device,
    )
    return at_precision(config, partial(attention, plan=plan))


def spec_of(config: Config) -> Spec:
    """The problem and the plan for it, with the config's options applied."""
    return planned(config, "ring_v2", -(-config.seq_len // config.ring_size))
