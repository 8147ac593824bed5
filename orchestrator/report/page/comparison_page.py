"""A comparison of two sweeps as a page: the verdict, its grounds, each row with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from orchestrator.compare.comparison import Comparison, Pair, Verdict
from orchestrator.formatting import number, printable, shown
from orchestrator.report.comparing.comparison import doubted, footer, is_doubtful, ratio_text
from orchestrator.report.page.template import rendered

TONES = {
    Verdict.FASTER: "good",
    Verdict.NEWLY_OK: "good",
    Verdict.SAME: "quiet",
    Verdict.UNCLEAR: "warn",
    Verdict.SLOWER: "bad",
    Verdict.NEWLY_FAILING: "bad",
}
LEAST_SPAN = 1.1  # ratios within this are drawn on a scale of this: 0.1 % is no cliff
BEYOND = 1.5  # how far beyond the outermost ratio an interval is drawn: it must not flatten others


def comparison_page(comparison: Comparison) -> str:
    """The page as HTML; it needs no script."""
    scale = _Scale.of(comparison.rows)
    axes = list(comparison.columns)
    doubtful = is_doubtful(comparison)
    tiles = []
    for verdict, count in comparison.counts.items():
        tiles.append((count, _words(verdict), TONES[verdict]))
    return rendered(
        "comparison.html.j2",
        (),
        base=printable(comparison.base),
        candidate=printable(comparison.candidate),
        verdict=doubted(_words(comparison.verdict), doubtful),
        tone="warn" if doubtful else TONES[comparison.verdict],
        tiles=tiles,
        sentences=footer(comparison),
        columns=list(comparison.columns.values()),
        rows=[_row(pair, axes, scale) for pair in comparison.rows],
        scale=scale,
    )


class _Scale:
    """From a ratio to a place between 0 and 100, logarithmic, with 1 in it."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> _Scale:
        """The scale that holds every ratio."""
        low, high = 1 / LEAST_SPAN, LEAST_SPAN
        ends: list[float] = []
        for pair in pairs:
            if pair.ratio is None:
                continue
            ends += [pair.ratio.ci_low, pair.ratio.ci_high]
            if pair.ratio.value > 0:
                low, high = min(low, pair.ratio.value), max(high, pair.ratio.value)
        # ends further out than that are drawn at the edge, by `place`
        least = min([end for end in ends if end > low / BEYOND], default=low)
        most = max([end for end in ends if end < high * BEYOND], default=high)
        return cls(min(low, least) / 1.02, max(high, most) * 1.02)

    def place(self, ratio: float) -> float:
        """Where it is drawn; beyond the ends at the ends."""
        held = min(self.high, max(self.low, ratio))
        return round(100 * math.log(held / self.low) / math.log(self.high / self.low), 2)


def _row(pair: Pair, axes: Sequence[str], scale: _Scale) -> dict[str, Any]:
    found = pair.ratio
    drawn = None
    if found is not None:
        drawn = {
            "low": scale.place(found.ci_low),
            "high": scale.place(found.ci_high),
            "at": scale.place(found.value),
        }
    return {
        "implementation": printable(pair.base.implementation),
        "values": [shown(pair.base.value(name)) for name in axes],
        "base": number(pair.base.metrics.get("latency_ms")),
        "candidate": number(pair.candidate.metrics.get("latency_ms")),
        "ratio": "" if found is None else ratio_text(found),
        "drawn": drawn,
        "verdict": _words(pair.verdict),
        "tone": TONES[pair.verdict],
        "note": printable(pair.note),
    }


def _words(verdict: Verdict) -> str:
    return verdict.value.replace("_", " ")
