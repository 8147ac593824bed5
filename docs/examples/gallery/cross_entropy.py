"""Cross entropy with integer targets, some of them ignored: the loss and the gradient of the
logits.
"""

import torch

IGNORED = -100

backward = True
columns = {"rows": "Rows", "classes": "Classes"}


def inputs(rows: int, classes: int = 1000, dtype: torch.dtype = torch.float32):
    logits = torch.randn(rows, classes, dtype=dtype)
    targets = torch.randint(classes, (rows,))
    targets[::7] = IGNORED
    return logits, targets


def reference(logits, targets):
    counted = targets != IGNORED
    rows = torch.arange(len(targets), device=targets.device)[counted]
    largest = logits.max(dim=-1, keepdim=True).values
    total = torch.exp(logits - largest).sum(dim=-1).log() + largest[:, 0]
    return (total[rows] - logits[rows, targets[rows]]).mean()


def library(logits, targets):
    return torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED)


def by_hand(logits, targets):
    counted = targets != IGNORED
    chosen = torch.log_softmax(logits, dim=-1).gather(1, targets.clamp(min=0)[:, None])[:, 0]
    return -(chosen * counted).sum() / counted.sum()


def over_all_rows(logits, targets):
    """Wrong: the mean is over all rows, the ignored ones too."""
    return torch.nn.functional.cross_entropy(
        logits, targets, ignore_index=IGNORED, reduction="sum"
    ) / len(targets)
