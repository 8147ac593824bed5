"""Quantisation by rows to int8 or float8, with the scales as a second output."""

from typing import Literal

import torch

columns = {"rows": "Rows", "width": "Width", "to": "To"}


def inputs(rows: int, width: int = 512, to: Literal["int8", "float8_e4m3fn"] = "int8"):
    return torch.randn(rows, width), to


def reference(x, to):
    largest = 127 if to == "int8" else 448
    scale = x.abs().amax(dim=1, keepdim=True) / largest
    scaled = x / scale
    return {
        "values": (scaled.round() if to == "int8" else scaled).to(getattr(torch, to)),
        "scale": scale,
    }


def work(rows, width):
    return {"flops": 2 * rows * width, "bytes": rows * width * 5 + 4 * rows}


def divided(x, to):
    return reference(x, to)


def by_amax(x, to):
    """The largest of each row by two reductions, as a kernel without abs would find it."""
    largest = 127 if to == "int8" else 448
    scale = torch.maximum(x.amax(dim=1, keepdim=True), -x.amin(dim=1, keepdim=True)) / largest
    scaled = x / scale
    return {
        "values": (scaled.round() if to == "int8" else scaled).to(getattr(torch, to)),
        "scale": scale,
    }


def one_scale(x, to):
    """Wrong: one scale for the whole tensor, in every row's place."""
    largest = 127 if to == "int8" else 448
    scale = (x.abs().amax() / largest).expand(len(x), 1).contiguous()
    scaled = x / scale
    return {
        "values": (scaled.round() if to == "int8" else scaled).to(getattr(torch, to)),
        "scale": scale,
    }
