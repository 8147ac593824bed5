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
        """The rule in words (`failed`, `stale`, `all`, an outcome, several by commas) or as an
        expression.

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
            near = nearest(text, [*WORDS, *OUTCOMES])
            if text in labels:
                raise RequestError(
                    f"--rerun {text}: that is an implementation: write "
                    f"\"implementation == '{text}'\""
                )
            hint = (
                f"did you mean {near!r}?"
                if near
                else f"use {', '.join(WORDS)}, an outcome, or an expression"
            )
            raise RequestError(f"--rerun {text}: no such rule ({hint})")
        values = {"implementation": labels, "outcome": OUTCOMES}
        check(text, {*names, "outcome"}, values)
        if strange := strange_values(text, values):
            raise RequestError(f"--rerun {text!r}: {strange}")
        return cls(text)

    @property
    def repeats_failures(self) -> bool:
        """Whether it chooses by how an attempt ended: `failed`, or outcomes by name."""
        return self.text == FAILED or bool(self.outcomes)

    def chooses(self, outcome: Outcome, values: Mapping[str, Any]) -> bool:
        """Whether an attempt that ended so is to be made again; `values` are what an expression
        reads of its trial.
        """
        if self.text == ALL:
            return True
        if self.text == FAILED:
            return outcome is not Outcome.OK
        if self.outcomes:
            return str(outcome) in self.outcomes
        return self.text != STALE and condition(self.text, {**values, "outcome": str(outcome)})
