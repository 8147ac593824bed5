"""Dilated attention with keys in blocks, as a ring of devices holds them; on one device, block after block.

The sequence is cut into ring_size blocks of ceil(seq_len / ring_size) positions, the last one shorter. Rows meet one
block of keys after another, and an online softmax in float32 merges what they find. A segment within one block is done
with it; rows of a segment that crosses blocks carry a state: the result so far and its log-sum-exp.

Plans, chosen by the rule of `implementations.choice`:
    fused: one Triton launch for each block of keys, over all branches; the state goes from launch to launch, in the
        output itself where that is float32. The backward pass is that of `improved`, in two launches.
    views: attention calls on strided views, all rows of a branch against one block of each segment's keys: for segments
        n/4, n/2, n and four blocks 1 + 2 + 4 calls. The backward pass makes the same calls.

What is held beyond inputs and output, scores never among it, stays within 15 % of their size (`kernels.bound`): where
the state of all rows would be more, heads (views) or rows are taken in several windows. This is of the forward pass;
the backward pass holds gradients in float32 where several calls add to them.
"""

from __future__ import annotations

from implementations.kernels.op import Attention, attention_of
from implementations.kernels.planned import planned
from implementations.kernels.spec import Spec
from orchestrator.workload import Config


def build(config: Config) -> Attention:
    """Attention of q, k, v, (batch, seq_len, heads, head_dim) each, any strides; same shape and dtype out.

    Options (config.options): as of `improved`.

    Raises:
        NotImplementedError: world_size > 1, or an option asks for the fused plan where it does not work.
        ValueError: an unknown option, or one with an impossible value.
    """
    if config.world_size > 1:
        raise NotImplementedError(f"ring_v2 works on one device so far; world_size is {config.world_size}")
    return attention_of(spec_of(config))


def spec_of(config: Config) -> Spec:
    """The problem and the plan for it, with the config's options applied."""
    return planned(config, "ring_v2", -(-config.seq_len // config.ring_size))
