"""Writes summary.md: the verdict and the table, to be pasted into an issue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.formatting import axis_text, interval, markdown, number
from orchestrator.report.answer_table import AnswerTable
from orchestrator.report.layout import Layout, status
from orchestrator.report.ranking import Ranking, Standing, ratio, speed_heading
from orchestrator.report.table import footer
from orchestrator.results.rows import latency

OPEN_ROWS = 40
MAX_ROWS = 400


def summary(layout: Layout) -> str:
    """Title, verdict, one line per implementation, then every row, medians with intervals.

    Beyond OPEN_ROWS rows the table is folded. Beyond MAX_ROWS it is cut, and says so, to stay
    within the length of an issue.
    """
    verdict = Ranking.of(layout)
    below = "\n".join(footer(layout)).replace("```", "'''")  # which would end the block
    parts = [
        f"## {markdown(layout.title)}",
        "  \n".join(markdown(line) for line in layout.lines),
        "\n".join(f"- {markdown(sentence)}" for sentence in verdict.sentences()),
        "\n".join(_standings(verdict)),
        "\n".join(_answers(layout)),
        "\n".join(_all_rows(layout)),
        f"```text\n{below}\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _answers(layout: Layout) -> Iterator[str]:
    table = AnswerTable.of(layout)
    if table is None:
        return
    yield f"**{markdown(table.title)}**"
    yield ""
    titles = [markdown(heading) for heading in table.headings]
    yield from _head(titles, numbers=len(titles) - 2, last_text=True)
    for line in table.lines:
        yield _line([markdown(cell) for cell in line])


def _standings(verdict: Ranking) -> Iterator[str]:
    speed = speed_heading(verdict, markdown)
    titles = ["Implementation", "Ok", "Flagged", "Fastest in", speed]
    titles += ["Peak (MiB)", "Largest error"]
    yield from _head(titles, numbers=len(titles) - 1)
    several_kinds = len(set(verdict.kinds.values())) > 1
    for standing in verdict.standings:
        yield _line(_standing(standing, named=several_kinds))


def _standing(standing: Standing, named: bool) -> list[str]:
    speed = "N/A"
    if standing.baseline == standing.implementation:
        speed = "baseline"
    elif standing.speedup is not None:
        mean, least, most = map(ratio, standing.speedup)
        speed = f"{mean} ({least} to {most})"
        if named:
            speed += f" over {markdown(standing.baseline)}"
    error = "N/A" if standing.relative_error is None else f"{standing.relative_error:.1e}"
    wins = str(standing.wins)
    if standing.shared:
        wins += f" (+{standing.shared} close)"
    return [
        markdown(standing.implementation),
        f"{standing.ok} of {standing.total}",
        str(standing.flagged),
        wins,
        speed,
        number(standing.peak_memory_mib),
        error,
    ]


def _all_rows(layout: Layout) -> Iterator[str]:
    folded = len(layout.rows) > OPEN_ROWS
    if folded:
        yield f"<details><summary>All {len(layout.rows)} rows</summary>"
        yield ""  # without it what follows would not be read as Markdown
    yield from rows_table(layout, MAX_ROWS)
    if len(layout.rows) > MAX_ROWS:
        yield ""
        yield f"The first {MAX_ROWS} of {len(layout.rows)} rows; results.csv has them all."
    if folded:
        yield ""
        yield "</details>"


def rows_table(layout: Layout, limit: int | None = None) -> Iterator[str]:
    """The lines of a Markdown table of the rows, medians as `median [low, high]`."""
    columns = [markdown(heading) for heading in layout.columns.values()]
    figures = ["Time (ms) [95 % interval]", "Memory (MiB)", "Throughput (tok/s)", "TFLOP/s"]
    yield from _head(
        ["Implementation", *columns, *figures, "Status"],
        numbers=len(columns) + len(figures),
        last_text=True,
    )
    for row in layout.rows[:limit]:
        metrics = row.metrics
        cells = [markdown(row.implementation)]
        cells += [markdown(axis_text(name, row.value(name))) for name in layout.columns]
        cells.append(interval(*latency(metrics)))
        cells.append(number(metrics.get("peak_memory_mib")))
        cells.append(number(metrics.get("throughput_tokens_per_s"), decimals=0))
        cells.append(number(metrics.get("tflops_per_s"), decimals=3))
        cells.append(markdown(status(row)))
        yield _line(cells)


def _head(titles: Sequence[str], numbers: int, last_text: bool = False) -> Iterator[str]:
    yield _line(titles)
    sides = [":--", *["--:"] * numbers]
    if last_text:
        sides.append(":--")
    yield _line(sides)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
