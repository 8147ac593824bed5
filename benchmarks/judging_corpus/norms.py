"""Normalisations."""

from __future__ import annotations

import torch
from torch.nn import functional

from benchmarks.judging_corpus.case import ALL, Case, damaged, fill, fused, normals, times

EPS = 1e-5


def layer_norm(x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + EPS)


def bessel_norm(x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred * centred).sum(-1, keepdim=True) / (x.shape[-1] - 1) + EPS)


def no_eps_norm(x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True))


def uncentred_norm(x):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + EPS)


def one_pass_norm(x):
    mean = x.mean(-1, keepdim=True)
    return (x - mean) * torch.rsqrt((x * x).mean(-1, keepdim=True) - mean * mean + EPS)


def mean_without_last(x):
    mean = x[..., :-1].sum(-1, keepdim=True) / x.shape[-1]
    centred = x - mean
    return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + EPS)


def rms_norm(x, w):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + EPS) * w


def group_norm(x):
    grouped = x.reshape(x.shape[0], 4, -1)
    return layer_norm(grouped).reshape(x.shape)


def interleaved_group_norm(x):
    channels = torch.arange(x.shape[1]).reshape(-1, 4).T.reshape(-1)
    back = torch.empty_like(channels)
    back[channels] = torch.arange(x.shape[1])
    return group_norm(x[:, channels])[:, back]


CASES = (
    Case(
        "layer norm, 512 x 256",
        normals((512, 256)),
        layer_norm,
        {
            "library": lambda x: functional.layer_norm(x, x.shape[-1:]),
            "plain": layer_norm,
            "fused": fused(layer_norm),
            "one pass": fused(one_pass_norm),
        },
        {
            "Bessel": fused(bessel_norm),
            "last row times 0.82": damaged(layer_norm, times(-1, 0.82)),
            "last row times 0.6": damaged(layer_norm, times(-1, 0.6)),
            "an eighth of the last row 0": damaged(layer_norm, fill((-1, slice(-32, None)))),
            "mean not subtracted": fused(uncentred_norm),
            "eps forgotten": fused(no_eps_norm),
        },
        dtypes=("float64", *ALL),
    ),
    Case(
        "layer norm, 64 x 1024",
        normals((64, 1024)),
        layer_norm,
        {"library": lambda x: functional.layer_norm(x, x.shape[-1:]), "fused": fused(layer_norm)},
        {"Bessel": fused(bessel_norm), "mean without the last": fused(mean_without_last)},
    ),
    Case(
        "rms norm, 256 x 1024",
        normals((256, 1024), (1024,)),
        rms_norm,
        {"plain": rms_norm, "fused": fused(rms_norm)},
        {
            "weight of the next column": fused(lambda x, w: rms_norm(x, w.roll(1))),
            "last column's weight 1": fused(
                lambda x, w: rms_norm(x, torch.cat([w[:-1], w.new_ones(1)]))
            ),
        },
    ),
    Case(
        "group norm, 8 x 32 x 100",
        normals((8, 32, 100)),
        group_norm,
        {"library": lambda x: functional.group_norm(x, 4), "fused": fused(group_norm)},
        {
            "groups interleaved": fused(interleaved_group_norm),
            "one group missing": damaged(group_norm, fill((7, slice(24, 32)))),
        },
    ),
)
