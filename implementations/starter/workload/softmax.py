"""A workload of one's own: what is computed, on which inputs, and who computes it. Change it into
yours.

orchestrator softmax.yaml
"""

import torch


def inputs(rows: int, width: int = 1024, dtype: torch.dtype = torch.float32):
    """What an implementation is called with: a tensor, or a tuple of tensors, numbers, lists,
    dicts.

    The parameters are the params of a trial; random numbers are seeded, and tensors made on the
    trial's device.
    """
    return torch.randn(rows, width, dtype=dtype)


def reference(x):
    """The right answer, spelled out; it is called with the inputs in float64."""
    exponentials = torch.exp(x - x.max(dim=-1, keepdim=True).values)
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


def work(rows, width, dtype):
    """The useful work of one call. Without this function torch counts what it can."""
    return {"flops": 5 * rows * width, "bytes": 2 * rows * width * dtype.itemsize, "tokens": rows}


def two_passes(x):
    """Right: the maximum first, then everything in float32."""
    exponentials = torch.exp(x.float() - x.amax(dim=-1, keepdim=True))
    return (exponentials / exponentials.sum(dim=-1, keepdim=True)).to(x.dtype)


def half_sums(x):
    """Wrong: the sums are kept in half precision."""
    exponentials = torch.exp(x - x.amax(dim=-1, keepdim=True))
    return exponentials / exponentials.half().sum(dim=-1, keepdim=True).to(x.dtype)
