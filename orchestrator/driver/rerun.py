"""`--rerun`: which finished attempts a sweep that goes on is to make again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import RequestError, nearest
from orchestrator.outcome import Outcome
from orchestrator.spec.expression import check, condition, strange_values

FAILED, STALE, ALL = "failed", "stale", "all"
WORDS = (FAILED, STALE, ALL)
OUTCOMES = tuple(str(outcome) for outcome in Outcome)


@dataclass(frozen=True)
class RerunRule:
    """A rule that was checked.

    Attributes:
        text: as it was given.
        outcomes: the attempts that ended so; empty: an expression, or one of WORDS, says which.
    """

    text: str
    outcomes: frozenset[str] = frozenset()

    @classmethod
    def of(cls, text: str, names: Collection[str], labels: Collection[str]) -> RerunRule:
        """The rule: `failed`, `stale`, `all`, outcomes between commas, or an expression.

        Args:
            text: the rule.
            names: what an expression may read of a trial; it may read `outcome` as well.
            labels: of the implementations.

        Raises:
            RequestError: it is neither; names the nearest word, or how the expression is meant to
                be written.
        """
        if text in WORDS:
            return cls(text)
        words = [word.strip() for word in text.split(",")]
        if set(words) <= set(OUTCOMES):
            return cls(text, frozenset(words))
        if text.isidentifier() and text not in names:
            if text in labels:
                raise RequestError(
                    f"--rerun {text}: that is an implementation: write "
                    f"\"implementation == '{text}'\""
                )
            hint = f"use {', '.join(WORDS)}, an outcome, or an expression"
            near = nearest(text, [*WORDS, *OUTCOMES])
            if near:
                hint = f"did you mean {near!r}?"
            raise RequestError(f"--rerun {text}: no such rule ({hint})")
        values = {"implementation": labels, "outcome": OUTCOMES}
        check(text, {*names, "outcome"}, values)
        strange = strange_values(text, values)
        if strange:
            raise RequestError(f"--rerun {text!r}: {strange}")
        return cls(text)

    @property
    def repeats_failures(self) -> bool:
        """Whether it chooses by how an attempt ended: `failed`, or outcomes by name."""
        return self.text == FAILED or bool(self.outcomes)

    def chooses(self, outcome: Outcome, values: Mapping[str, Any]) -> bool:
        """Whether an attempt that ended so is to be made again.

        Args:
            outcome: of the attempt.
            values: what an expression reads of its trial.
        """
        if self.text == ALL:
            return True
        if self.text == FAILED:
            return outcome is not Outcome.OK
        if self.outcomes:
            return str(outcome) in self.outcomes
        if self.text == STALE:  # the queue knows what is stale
            return False
        return condition(self.text, {**values, "outcome": str(outcome)})
