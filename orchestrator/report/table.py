"""summary.txt: the seed's table, in its columns and order."""

from __future__ import annotations

from tabulate import tabulate

from orchestrator.formatting import counted, duration, number, one_line, printable
from orchestrator.machine.observation import drifts
from orchestrator.outcome import Outcome
from orchestrator.report.answer_table import AnswerTable
from orchestrator.report.layout import NOT_RUN, Layout, cells, status
from orchestrator.results.rows import Row
from orchestrator.results.sweep_directory import found_by

MAX_REASONS = 10


def text_table(layout: Layout) -> str:
    """Title, device, the workload's header, the grid, the answers if more was asked, the footer; ends in a newline."""
    parts = [layout.title, *layout.lines, "", grid(layout), "", *_answers(layout), *footer(layout)]
    return "\n".join(parts) + "\n"


def _answers(layout: Layout) -> list[str]:
    table = AnswerTable.of(layout)
    if table is None:
        return []
    return [table.title, str(tabulate(table.lines, table.headings, tablefmt="grid", disable_numparse=True)), ""]


def grid(layout: Layout) -> str:
    """The grid alone: one row per planned trial."""
    headers = ["Implementation", *layout.columns.values(), "Time (ms)", "Memory (MB)", "Throughput (tok/s)", "Status"]
    body = [[printable(row.implementation), *cells(layout, row), *_figures(row), status(row)] for row in layout.rows]
    texts = [index for index in range(len(headers)) if not 1 <= index <= len(layout.columns)]
    return str(tabulate(body, headers, tablefmt="grid", disable_numparse=texts if body else True))


def footer(layout: Layout) -> list[str]:
    """Counts of outcomes and flags, rows that are not ok and why, drift of the machine, where to look, what is next."""
    return [_counts(layout), *_reasons(layout), *_drifts(layout), *_places(layout), *_next(layout)]


def _figures(row: Row) -> list[str]:
    throughput = row.metrics.get("throughput_tokens_per_s")
    memory = row.metrics.get("peak_memory_mib")
    return [number(row.metrics.get("latency_ms")), number(memory), number(throughput, decimals=0)]


def _counts(layout: Layout) -> str:
    if not layout.rows:
        return "0 trials: no point that may be run was proposed; widen the ranges, or loosen exclude and --only"
    allowed = layout.results.meta.spec.allow_outcomes
    outcomes = [
        f"{count} {outcome}{' (allowed)' if outcome in allowed else ''}" for outcome, count in layout.outcomes.items()
    ]
    flags = [f"{count} {printable(flag)}" for flag, count in layout.flags.items()]
    elapsed = layout.busy_s()
    parts = [", ".join(outcomes), *([f"flagged: {', '.join(flags)}"] if flags else [])]
    time = "" if elapsed is None else f" in {duration(elapsed)}"
    return f"{counted(len(layout.rows), 'trial')}{time}: {'; '.join(parts)}"


def _reasons(layout: Layout) -> list[str]:
    bad = [row for row in layout.rows if row.outcome not in (None, Outcome.OK)]
    lines = [f"  ✗ {row.outcome}: {printable(row.implementation)} {layout.point_text(row)}: {_why(row)}" for row in bad]
    more = len(lines) - MAX_REASONS
    return lines[:MAX_REASONS] + ([f"  ... and {more} more"] if more > 0 else [])


def _why(row: Row) -> str:
    if row.error is None:
        return f"see {row.log}"
    return f"{one_line(row.error.message) or row.error.kind} ({row.log})"


def _drifts(layout: Layout) -> list[str]:
    results = layout.results
    return [f"  ! {printable(text)}" for text in drifts(results.observations, results.meta.device)]


def _places(layout: Layout) -> list[str]:
    directory = layout.results.directory
    if directory is None:
        return []
    tracked = layout.results.tracked
    runs = [] if tracked is None else [f"Runs: {tracked.address}"]
    return [f"Logs: {directory / 'logs'}", f"Page: {directory / 'report.html'}", *runs]


def _next(layout: Layout) -> list[str]:
    directory = layout.results.directory
    if directory is None:
        return []
    name = found_by(layout.results.meta.name, directory)
    tracked = layout.results.tracked
    serving = "make ui" if tracked is None else tracked.command
    commands = {} if serving is None else {serving: "open the runs in the MLflow UI"}
    if NOT_RUN in layout.outcomes:
        commands = {f"python -m orchestrator resume {name}": "go on where it stopped"} | commands
    elif layout.not_allowed:
        commands = {f"python -m orchestrator resume {name} --rerun failed": "run these again"} | commands
    else:
        commands |= {f"python -m orchestrator compare {name} last": "compare a later sweep with this one"}
    width = max(map(len, commands))
    return ["Next:", *(f"  {command:<{width}}  # {purpose}" for command, purpose in commands.items())]
