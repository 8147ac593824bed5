"""Which change of a row's time counts, by what is known of the machine's noise. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.outcome import DISTURBED, Flag
from orchestrator.results.rows import Row
from orchestrator.stats.summary import round_spread, summarize

LEAST_EFFECT = 0.01
# where one process a row leaves the A/A floor unknown
LEAST_EFFECT_UNMEASURED = {"cuda": 0.03, "cpu": 0.15}
IN_DOUBT = DISTURBED | {Flag.NOISY.value}
IQR_OF_SIGMA = 1.349  # the interquartile range of a normal distribution


@dataclass(frozen=True)
class Threshold:
    """Both as a fraction.

    Attributes:
        counts: the least change that counts.
        alike: the change that is none: `counts`, but not where noise alone has driven that up.
    """

    counts: float
    alike: float

    @classmethod
    def of(
        cls, base: Row, candidate: Row, floor: float | None, device: str, asked: float | None
    ) -> Threshold:
        """That of two rows.

        Args:
            base: the row before.
            candidate: the row now.
            floor: the A/A noise floor; None: not known.
            device: "cpu" or "cuda".
            asked: the least change that is to count; None: 1 %.
        """
        least = LEAST_EFFECT if asked is None else asked
        unmeasured = LEAST_EFFECT_UNMEASURED[device]
        if floor is None:
            noise = max(unmeasured, _within(base, candidate))
        else:
            noise = 2 * floor
        counts = max(least, noise)
        alike = min(counts, max(least, unmeasured))
        return cls(counts, alike)

    @classmethod
    def in_turns(cls, spread: float, rounds: int, device: str, asked: float | None) -> Threshold:
        """That of two rows whose ratio was taken within each of `rounds` rounds.

        Whatever both met in a round cancels, so more rounds show smaller changes: what counts is
        twice the ratio's standard error.

        Args:
            spread: of the ratio between rounds, as a standard deviation of its logarithm.
            rounds: how many there are.
            device: "cpu" or "cuda".
            asked: the least change that is to count; None: 1 %.
        """
        least = LEAST_EFFECT if asked is None else asked
        alike = min(2 * spread, LEAST_EFFECT_UNMEASURED[device])
        return cls(max(least, 2 * spread / math.sqrt(rounds)), max(least, alike))


def floor_of(base: Row, candidate: Row) -> float | None:
    """The A/A noise floor: the spread between fresh processes of one row.

    None if either row has only one process.
    """
    was, now = round_spread(base.rounds), round_spread(candidate.rounds)
    if was is None or now is None:
        return None
    return math.sqrt((was**2 + now**2) / 2)


def _within(base: Row, candidate: Row) -> float:
    """Twice the standard deviation of the repetitions of disturbed or noisy rows, else 0.

    What disturbs a row within its process may disturb it as much between two.
    """
    variance = 0.0
    for row in (base, candidate):
        if not IN_DOUBT.isdisjoint(row.flags):
            noise_pct = max(summarize(values).noise_pct for values in row.rounds)
            sigma = noise_pct / 100 / IQR_OF_SIGMA
            variance += sigma**2
    return 2 * math.sqrt(variance)
