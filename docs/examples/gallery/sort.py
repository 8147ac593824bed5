"""Sorted values: by torch, by merging sorted runs, and runs that nobody merged."""

import torch

RUN = 1024

columns = {"size": "Size"}
metrics = {"keys_per_s": "size / seconds"}


def inputs(size: int):
    return torch.randn(size)


def reference(x):
    return torch.sort(x).values


def library(x):
    return torch.sort(x).values


def largest_first(x):
    return torch.topk(x, len(x)).values.flip(0)


def unmerged(x):
    """Wrong: each run is sorted, the whole is not."""
    return torch.cat([torch.sort(run).values for run in x.split(RUN)])
