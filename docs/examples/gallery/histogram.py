"""How often each byte occurs: integers in, integers out, and equality is asked for."""

import torch

columns = {"size": "Size"}


def inputs(size: int):
    return torch.randint(256, (size,), dtype=torch.uint8)


def reference(data):
    return torch.stack([(data == value).sum() for value in range(256)])


def bincount(data):
    return torch.bincount(data.int(), minlength=256)


def scatter_add(data):
    counts = torch.zeros(256, dtype=torch.int64, device=data.device)
    return counts.scatter_add_(0, data.long(), torch.ones_like(data, dtype=torch.int64))


def lost_updates(data):
    """Wrong: of equal bytes in one half only one is counted, as by threads that add without an
    atomic.
    """
    counts = torch.zeros(256, dtype=torch.int64, device=data.device)
    for half in data.long().chunk(2):
        counts[half] += 1
    return counts
