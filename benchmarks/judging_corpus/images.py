"""Pictures, probabilities, split softmaxes: places that are rounded, values that stay in [0, 1]."""

from __future__ import annotations

import torch
from torch.nn import functional

from benchmarks.judging_corpus.case import Case, damaged, fill, fused, normals, uniforms


def resized(mode, size, aligned):
    """Pictures of another size."""
    return lambda x: functional.interpolate(x, (size, size), mode=mode, align_corners=aligned)


def by_matrix(size):
    """Bilinear, by middles, as two products."""

    def call(x):
        known = x.shape[-1]
        at = ((torch.arange(size, dtype=torch.float64) + 0.5) * known / size - 0.5).clamp(min=0)
        low = at.floor().clamp(max=known - 2)
        weights = torch.zeros(size, known, dtype=torch.float64)
        weights.scatter_(1, low.long()[:, None], (1 - at + low)[:, None])
        weights.scatter_(1, low.long()[:, None] + 1, (at - low)[:, None])
        weights = weights.clamp(0, 1).to(x.dtype)
        return weights @ x @ weights.mT

    return call


def at_places(aligned, padding="zeros"):
    """Values of a picture between its pixels."""
    return lambda x, places: functional.grid_sample(
        x, torch.tanh(places), padding_mode=padding, align_corners=aligned
    )


def merged(q, k, v, *, pieces=1, rescaled=True):
    """One query per head, its keys in pieces: outputs merged by their logsumexps."""
    outs, sums = [], []
    for keys, values in zip(k.chunk(pieces, 1), v.chunk(pieces, 1), strict=True):
        scores = torch.einsum("hd,hkd->hk", q, keys) * q.shape[-1] ** -0.5
        sums.append(scores.logsumexp(-1))
        outs.append(torch.einsum("hk,hkd->hd", scores.softmax(-1), values))
    total = torch.stack(sums)
    weights = total.softmax(0) if rescaled else torch.full_like(total, 1 / len(sums))
    return {
        "out": (weights[..., None] * torch.stack(outs)).sum(0),
        "logsumexp": total.logsumexp(0),
    }


def all_but_the_last_piece(q, k, v):
    return merged(q, k[:, :-13], v[:, :-13], pieces=8)


def accepted(draft, target, chance):
    """How many drafted tokens are kept, of each row."""
    return (chance < (target / draft).clamp(max=1)).long().cumprod(1).sum(1)


def accepted_one_by_one(draft, target, chance):
    counts = torch.zeros(len(draft), dtype=torch.int64)
    for row in range(len(draft)):
        for column in range(draft.shape[1]):
            if chance[row, column] * draft[row, column] >= target[row, column]:
                break
            counts[row] += 1
    return counts


def accepted_anywhere(draft, target, chance):
    return (chance < (target / draft).clamp(max=1)).sum(1)


def masked_mean(x, mask):
    return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def masked_mean_by_fill(x, mask):
    kept = mask != 0
    return x.masked_fill(~kept[..., None], 0).sum(1) / kept.sum(1, keepdim=True)


def masked_mean_of_all(x, mask):
    return (x * mask[..., None]).mean(1)


def with_mask(generator):
    (x,) = normals((6, 50, 24))(generator)
    mask = (torch.rand(6, 50, generator=generator) < 0.7).double()
    mask[:, 0] = 1
    return x, mask


PICTURES = normals((2, 3, 40, 40))
CASES = (
    Case(
        "bilinear, 40 to 130",
        PICTURES,
        resized("bilinear", 130, False),
        {"torch": resized("bilinear", 130, False), "products": fused(by_matrix(130))},
        {
            "by corners": fused(resized("bilinear", 130, True)),
            "nearest": lambda x: functional.interpolate(x, (130, 130)),
            "last row": damaged(resized("bilinear", 130, False), fill((..., -1, slice(None)))),
        },
    ),
    Case(
        "bicubic, 40 to 27",
        PICTURES,
        resized("bicubic", 27, False),
        {"torch": resized("bicubic", 27, False), "fused": fused(resized("bicubic", 27, False))},
        {
            "bilinear": fused(resized("bilinear", 27, False)),
            "clamped": fused(lambda x: resized("bicubic", 27, False)(x).clamp(-2, 2)),
        },
    ),
    Case(
        "grid sample, 60 x 60",
        normals((1, 3, 60, 60), (1, 30, 30, 2)),
        at_places(False),
        {"torch": at_places(False)},
        {"by corners": fused(at_places(True)), "border": fused(at_places(False, "border"))},
        ("float32",),
    ),
    Case(
        "split attention of one query",
        normals((4, 32), (4, 300, 32), (4, 300, 32)),
        merged,
        {
            "whole": fused(merged),
            "eight pieces": fused(lambda *given: merged(*given, pieces=8)),
        },
        {
            "not rescaled": fused(lambda *given: merged(*given, pieces=8, rescaled=False)),
            "last keys": fused(all_but_the_last_piece),
        },
    ),
    Case(
        "accepted drafts",
        uniforms((200, 6), (200, 6), (200, 6)),
        accepted,
        {"torch": accepted, "one by one": accepted_one_by_one},
        {"anywhere": accepted_anywhere},
        ("float32",),
    ),
    Case(
        "mean under a mask of numbers",
        with_mask,
        masked_mean,
        {"torch": fused(masked_mean), "by fill": fused(masked_mean_by_fill)},
        {
            "of all": fused(masked_mean_of_all),
            "last": fused(lambda x, mask: masked_mean(x[:, :-1], mask[:, :-1])),
        },
    ),
)
