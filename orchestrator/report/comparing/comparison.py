"""Writes a comparison of two sweeps as a table: for a terminal, and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from orchestrator.compare.comparison import MACHINE_DIFFERED, Comparison, Pair
from orchestrator.formatting import (
    counted,
    fitted,
    interval,
    markdown,
    number,
    printable,
    shown,
    table_text,
)
from orchestrator.outcome import DISTURBED
from orchestrator.stats.ratio import Ratio

WIDEST = 10.0
WORTH_A_LINE = 0.05  # of a logarithm: controls of one machine differ by less
HEADERS = ("Base (ms)", "Candidate (ms)", "Ratio [95 % interval]", "Verdict", "Note")


def table(comparison: Comparison) -> str:
    """Title, table and footer; on a terminal no wider than that."""
    body = [_cells(pair, comparison.columns) for pair in comparison.rows]
    headers = ["Implementation", *comparison.columns.values(), *HEADERS]
    grid = table_text(headers, body, wrapped=(0, len(headers) - 1))
    below = [fitted(line) for line in footer(comparison)]
    return "\n".join([fitted(_title(comparison)), "", grid, "", *below])


def markdown_page(comparison: Comparison) -> str:
    """The same as Markdown."""
    headers = ["Implementation", *map(markdown, comparison.columns.values()), *HEADERS]
    lines = [f"## {markdown(_title(comparison))}", ""]
    lines.append(f"| {' | '.join(headers)} |")
    lines.append(f"| {' | '.join(['---'] * len(headers))} |")
    for pair in comparison.rows:
        cells = map(markdown, _cells(pair, comparison.columns))
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    lines += [f"- {markdown(line)}" for line in footer(comparison)]
    return "\n".join(lines) + "\n"


def footer(comparison: Comparison) -> list[str]:
    """The geometric mean, counts of verdicts, what the verdicts rest on, and what was left out."""
    lines = []
    if comparison.geometric_mean is not None:
        timed = counted(sum(pair.ratio is not None for pair in comparison.rows), "ratio")
        mean = comparison.geometric_mean
        lines.append(f"Geometric mean of {timed}: {mean:.3f} (above 1: slower)")
    counts = ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.items())
    lines.append(f"{counted(len(comparison.rows), 'row')}: {counts}")
    if comparison.duel is not None:
        lines.append(
            "Measured in turns, both in one process, in fresh processes each round "
            f"(sweep {comparison.duel})."
        )
    if comparison.same_code:
        lines.append(
            "Both sweeps measured the same code: a difference is the machine's, "
            "or there is none to find."
        )
    elif comparison.code_differences:
        lines.append(f"The code differs: {printable('; '.join(comparison.code_differences))}.")
    lines += _thresholds(comparison)
    lines += _machine(comparison)
    lines += _disturbed(comparison)
    lines += _nothing_found(comparison)
    lines += [f"Fails: {printable(failure)}" for failure in comparison.failures]
    if comparison.unmatched:
        unmatched = counted(len(comparison.unmatched), "row")
        lines.append(f"Not compared: {unmatched} found or run in one sweep only.")
    if comparison.environment_differences:
        facts = "; ".join(map(printable, comparison.environment_differences))
        lines.append(f"Forced: the environments differ, and so may the figures ({facts}).")
    return lines


def _thresholds(comparison: Comparison) -> list[str]:
    """From which change on a row has a verdict: where the spread was measured, and elsewhere."""
    measured, unmeasured = [], []
    for pair in comparison.rows:
        if pair.ratio is None:
            continue
        if pair.measured:
            measured.append(pair.threshold)
        else:
            unmeasured.append(pair.threshold)
    lines = []
    if measured:
        lines.append(
            f"A change counts from {_percent(measured)} on, by the spread between fresh processes."
        )
    if unmeasured:
        rows = counted(len(unmeasured), "row")
        where = "" if comparison.duel is not None else " in both sweeps"
        lines.append(
            f"{rows} without repeats: the spread between processes is unknown, "
            f"so less than {_percent(unmeasured)} is unclear; "
            f"set measure.repeats to 5{where} to see finer."
        )
    return lines


def _machine(comparison: Comparison) -> list[str]:
    """How fast the machine was in either sweep, where that is known or may be all there is."""
    if comparison.duel is not None or not any(pair.ratio for pair in comparison.rows):
        return []
    if comparison.again:
        return [
            "Both were measured for this comparison, round by round in turns; "
            "ratios are those within rounds."
        ]
    if comparison.machine is None:
        return [
            "How fast the machine was is not known: one of the sweeps has no controls "
            "(measure.sentinels was off), or has rows of sweeps that are not here."
        ]
    hidden = sum(MACHINE_DIFFERED in pair.note for pair in comparison.rows)
    ratios = comparison.machine.ratios.values()
    if not hidden and all(abs(math.log(ratio)) <= WORTH_A_LINE for ratio in ratios):
        return []
    lines = [f"The machine differed: in the candidate {comparison.machine}."]
    if hidden:
        lines.append(
            f"{counted(hidden, 'row')} changed by no more than that and no verdict: "
            "measure both now, in turns, with compare --again."
        )
    return lines


def _nothing_found(comparison: Comparison) -> list[str]:
    """That every row is unclear, and whether the machine was busy: no news is no good news."""
    rows = comparison.rows
    if not rows or any(pair.verdict.value != "unclear" for pair in rows):
        return []
    what = "The row is" if len(rows) == 1 else f"All {len(rows)} rows are"
    said = f"{what} unclear: this comparison found nothing"
    busy = sum(_is_disturbed(pair) for pair in rows)
    if busy:
        said += f"; the machine was busy ({busy} contended or throttled)"
    return [f"{said}. --fail-unclear makes that a failure."]


def _disturbed(comparison: Comparison) -> list[str]:
    """How many changes are between disturbed rows."""
    doubtful, changed = _doubtful(comparison)
    if not doubtful:
        return []
    rest = "rests" if doubtful == 1 else "rest"
    return [
        f"Doubtful: {counted(doubtful, 'change')} of {changed} {rest} on rows that were contended "
        "or throttled, which may be all there is to it: measure both again on a quieter machine."
    ]


def _doubtful(comparison: Comparison) -> tuple[int, int]:
    """How many changes are between disturbed rows, and how many there are; interleaved rows are
    disturbed alike.
    """
    changed = [pair for pair in comparison.rows if pair.verdict.value in ("faster", "slower")]
    if comparison.duel is not None or comparison.again:
        return 0, len(changed)
    return sum(_is_disturbed(pair) for pair in changed), len(changed)


def _is_disturbed(pair: Pair) -> bool:
    return bool(DISTURBED & {*pair.base.flags, *pair.candidate.flags})


def _percent(fractions: Sequence[float]) -> str:
    """`5 %`, or `1.2 to 5 %` of fractions that differ."""
    low, high = _rounded(100 * min(fractions)), _rounded(100 * max(fractions))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _rounded(percent: float) -> str:
    """Two digits, and never an exponent."""
    if percent < 99.5:  # .2g writes 99.5 as 1e+02
        return f"{percent:.2g}"
    return f"{percent:.0f}"


def _title(comparison: Comparison) -> str:
    """Which two, and the verdict; that it may be the machine's where most changes are."""
    sides = f"{printable(comparison.candidate)} compared with {printable(comparison.base)}"
    return f"{sides}: {doubted(comparison.verdict, is_doubtful(comparison))}"


def doubted(verdict: str, doubtful: bool) -> str:
    """The verdict, with the doubt where there is one."""
    if not doubtful:
        return verdict
    return f"{verdict}, doubtful: the machine was busy"


def is_doubtful(comparison: Comparison) -> bool:
    """Whether most changes rest on rows that something else slowed down."""
    doubtful, changed = _doubtful(comparison)
    return 2 * doubtful > changed


def ratio_text(ratio: Ratio) -> str:
    """`1.16 [1.15, 1.17]`; a bound a factor of ten away or more says nothing, and reads `?`."""
    low, high = ratio.ci_low, ratio.ci_high
    knows_low, knows_high = low > ratio.value / WIDEST, high < ratio.value * WIDEST
    if knows_low and knows_high:
        return interval(ratio.value, low, high)
    if not knows_low and not knows_high:
        return f"{ratio.value:.2g}, no interval"
    bounds = f"{low:.2g}, ?" if knows_low else f"?, {high:.2g}"
    return f"{ratio.value:.2g} [{bounds}]"


def _cells(pair: Pair, axes: Iterable[str]) -> list[str]:
    cells = [printable(pair.base.implementation)]
    cells += [shown(pair.base.value(name)) for name in axes]
    cells.append(number(pair.base.metrics.get("latency_ms")))
    cells.append(number(pair.candidate.metrics.get("latency_ms")))
    cells.append("" if pair.ratio is None else ratio_text(pair.ratio))
    cells.append(pair.verdict.value)
    cells.append(printable(pair.note))
    return cells
