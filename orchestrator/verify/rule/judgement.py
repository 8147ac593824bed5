"""The judgement on the outputs of a call: how far off they are, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.verify.rule.exact import Fault


@dataclass(frozen=True)
class Judgement:
    """Whether outputs agree with their reference.

    Attributes:
        error: relative error of the worst block; decides nothing.
        explained: the relative error of the whole that rounding explains.
        share: largest share of a limit that any output takes; 0 where half an ulp explains
            everything.
        place: group and place of that share.
        complaints: what is wrong.
        notes: what is worth knowing of how it was found.
        unproven: whether the comparison says little, as the notes tell.
    """

    error: float
    explained: float
    share: float
    place: str
    complaints: tuple[str, ...]
    notes: tuple[str, ...] = ()
    unproven: bool = False

    @property
    def ok(self) -> bool:
        """No output has anything wrong with it."""
        return not self.complaints

    def __str__(self) -> str:
        return (
            "; ".join(self.complaints)
            or f"{self.share:.2g} of what rounding explains ({self.place or 'half an ulp'})"
        )


@dataclass(frozen=True)
class Verdict:
    """On one output: its relative error, what rounding explains of it, and its worst group."""

    error: float
    explained: float
    worst: Fault


def joined(verdicts: Sequence[Verdict], notes: tuple[str, ...] = ()) -> Judgement:
    """The judgement that the verdicts on all outputs of a call come to."""
    worst = max(
        (one.worst for one in verdicts), key=lambda fault: fault.share, default=Fault(0.0, "")
    )
    return Judgement(
        error=max((one.error for one in verdicts), default=0.0),
        explained=max((one.explained for one in verdicts), default=0.0),
        share=worst.share,
        place=worst.text,
        complaints=tuple(one.worst.text for one in verdicts if one.worst.share > 1),
        notes=notes,
    )
