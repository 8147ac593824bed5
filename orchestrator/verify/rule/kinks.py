"""Gradients at a kink: where a function turns a corner any slope between those of its two sides is
right.

At 1 torch's hardtanh has the slope 0 and its clamp the slope 1; of the largest of equal values in a
window max_pool2d names the first, amax all of them in equal parts; a sum that is nearly 0 is above
0 in one way of rounding and below it in another, and with it a relu is open or shut. Draws in which
equal inputs err apart fall to all sides of a kink: what an element is in any of them, and all that
lies between, is no error. Elsewhere the draws are one cloud, and nothing is forgiven. The values of
a reference that rounds to whole numbers, or compares, jump alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from orchestrator.verify.rule.noise import ulp

# of the range of an element's draws: a wider gap between neighbours tells several sides apart. In
# a cloud of 32 a gap is as wide in one element of six, which are then forgiven what noise explains
GAP = 1 / 4
MOST_KEPT = 2**26  # float64 values of all draws of one output: 512 MiB
FEW_ELEMENTS = 1 / 8  # of an output: kinks are not everywhere


@dataclass(frozen=True)
class Kinks:
    """Where one gradient has kinks, and which slopes are right there.

    Attributes:
        at: (R, W) bool.
        low, high: (R, W) float64, the least and the largest slope.
    """

    at: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    def forgiven(self, found: torch.Tensor, right: torch.Tensor, part: slice) -> torch.Tensor:
        """What was found in some rows, with what lies between the slopes of a kink made right."""
        inside = torch.minimum(torch.maximum(found, self.low[part]), self.high[part])
        return torch.where(self.at[part], right + (found - inside), found)


def kinks_of(right: torch.Tensor, drawn: Sequence[torch.Tensor], dtype: torch.dtype) -> Kinks:
    """The kinks that draws of a gradient show.

    Args:
        right: (R, W) float64, the reference's values.
        drawn: those of each draw.
        dtype: of the output, to which both ends of a range are still rounded.
    """
    away = [(one - right).nan_to_num_(0.0, 0.0, 0.0) for one in drawn]
    ordered = torch.stack([torch.zeros_like(right), *away]).sort(0).values
    gaps = ordered.diff(dim=0).amax(0)
    low, high = right + ordered[0], right + ordered[-1]
    at = gaps > GAP * (ordered[-1] - ordered[0])
    return Kinks(at, low - ulp(low, dtype) / 2, high + ulp(high, dtype) / 2)
