"""The k largest of each row, with many ties: any index of a tie is right, as a judge of its own
says.
"""

import torch

columns = {"rows": "Rows", "width": "Width", "k": "K"}


def inputs(rows: int, width: int = 1000, k: int = 8):
    return torch.randn(rows, width).mul(4).round().div(4), k


def reference(x, k):
    return torch.topk(x, k)


def judge(inputs, outputs, expected):
    """Each pair is (error, allowed): the values in order, bit by bit; x at each index is its value;
    none twice.
    """
    x, _ = inputs
    values, indices = outputs["values"], outputs["indices"]
    outside = ((indices < 0) | (indices >= x.shape[1])).sum()
    found = x.gather(1, indices.clamp(0, x.shape[1] - 1))
    twice = (indices.sort(dim=1).values.diff(dim=1) == 0).sum()
    return {
        "values": ((values != expected["values"]).sum(), 0),
        "indices": ((found != values).sum() + outside, 0),
        "indices twice": (twice, 0),
    }


def library(x, k):
    return torch.topk(x, k)


def by_sort(x, k):
    """Stable, so that ties come in order of their index: another right answer."""
    values, indices = torch.sort(x, dim=1, descending=True, stable=True)
    return values[:, :k].contiguous(), indices[:, :k].contiguous()


def first_of_tie(x, k):
    """Wrong: of values that are equal it names the first one each time."""
    values = torch.topk(x, k).values
    return values, (x[:, None] == values[:, :, None]).float().argmax(dim=2)
