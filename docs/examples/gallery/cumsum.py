"""Cumulative sum along rows: by torch, by blocks, and exclusive where inclusive is asked for."""

import torch

BLOCK = 128

columns = {"rows": "Rows", "width": "Width"}


def inputs(rows: int, width: int = 4096, dtype: torch.dtype = torch.float32):
    return torch.randn(rows, width, dtype=dtype)


def reference(x):
    return torch.cumsum(x, dim=-1)


def by_blocks(x):
    """Scans within blocks, then adds the sums of the blocks before."""
    blocks = x.unflatten(-1, (-1, BLOCK)).cumsum(dim=-1)
    before = blocks[..., -1].cumsum(dim=-1) - blocks[..., -1]
    return (blocks + before[..., None]).flatten(-2)


def exclusive(x):
    """Wrong: each value lacks its own term."""
    return torch.cumsum(x, dim=-1) - x
