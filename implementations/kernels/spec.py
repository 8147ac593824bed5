"""A problem and its plan, as a value and as text, which a torch operator can carry. No torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from ..dilated_attention.pattern import Pattern
from .blocks import Blocks


@dataclass(frozen=True)
class Spec:
    """What to compute and how.

    Attributes:
        pattern: who attends to whom.
        precision: of products of float32: ieee or tf32.
        plan: fused or views.
        forward: blocks of the fused forward kernel; None where the plan has none.
        backward: blocks of the fused backward kernel.
        block: positions of a block of keys, and a bound on memory; None: neither.
    """

    pattern: Pattern
    head_dim: int
    causal: bool
    precision: str
    plan: str
    forward: Blocks | None = None
    backward: Blocks | None = None
    block: int | None = None

    def text(self) -> str:
        """As JSON; `Spec.parse` reads it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def parse(cls, text: str) -> Spec:
        """From `text`."""
        found: dict[str, Any] = json.loads(text)
        pattern: dict[str, Any] = found["pattern"]
        for key, value in pattern.items():
            # JSON has no tuples, and a pattern must be hashable
            if isinstance(value, list):
                pattern[key] = tuple(value)
        found["pattern"] = Pattern(**pattern)
        for kernel in ("forward", "backward"):
            if found[kernel] is not None:
                found[kernel] = Blocks(**found[kernel])
        return cls(**found)
