"""summary.txt: one line per row, in the columns and order of the script before this project."""

from __future__ import annotations

from tabulate import tabulate

from orchestrator.formatting import counted, duration, number, printable
from orchestrator.machine.observation import drift_sentences
from orchestrator.report import reasons
from orchestrator.report.answer_table import AnswerTable
from orchestrator.report.layout import NOT_RUN, Layout, cells, status
from orchestrator.report.page.phases import harness_line
from orchestrator.report.reasons import name_of, shown_path
from orchestrator.results import reused
from orchestrator.trackers.address import default_uri, ui_command

MAX_REASONS = 10


def text_table(layout: Layout) -> str:
    """Title, device, header, table, results of a search or frontier, footer; ends in a newline."""
    parts = [layout.title, *layout.lines, "", grid(layout), ""]
    table = AnswerTable.of(layout)
    if table is not None:
        answers = tabulate(table.lines, table.headings, tablefmt="grid", disable_numparse=True)
        parts += [table.title, str(answers), ""]
    return "\n".join([*parts, *footer(layout)]) + "\n"


def grid(layout: Layout) -> str:
    """The grid alone: one row per planned trial."""
    headers = ["Implementation", *layout.columns.values()]
    headers += ["Time (ms)", "Memory (MB)", "Throughput (tok/s)", "Status"]
    body = []
    for row in layout.rows:
        line = [printable(row.implementation), *cells(layout, row)]
        line.append(number(row.metrics.get("latency_ms")))
        line.append(number(row.metrics.get("peak_memory_mib")))
        line.append(number(row.metrics.get("throughput_tokens_per_s"), decimals=0))
        line.append(status(row))
        body.append(line)
    # tabulate may align the values of the axes as numbers, and must leave our digits as they are
    texts: list[int] | bool = [0, *range(1 + len(layout.columns), len(headers))]
    if not body:
        texts = True  # it refuses a list of columns that have no cells
    return str(tabulate(body, headers, tablefmt="grid", disable_numparse=texts))


def footer(layout: Layout) -> list[str]:
    """Counts of outcomes and flags, reasons, drift of the machine, files, next steps."""
    found = [counts(layout)]
    found += reused.lines(layout.results)
    found += reasons.lines(layout, MAX_REASONS)
    found += drift_lines(layout)
    found += places(layout)
    found += next_lines(layout)
    return found


def counts(layout: Layout) -> str:
    """`30 trials in 4 min 48 s: 28 ok, 2 failed; flagged: 3 noisy`."""
    if not layout.rows:
        return (
            "0 trials: no point that may be run was proposed; widen the ranges, "
            "or loosen exclude and --only"
        )
    allowed = layout.results.meta.spec.allow_outcomes
    outcomes = []
    for outcome, count in layout.outcomes.items():
        said = f"{count} {outcome}"
        outcomes.append(f"{said} (allowed)" if outcome in allowed else said)
    parts = [", ".join(outcomes)]
    flags = [f"{count} {printable(flag)}" for flag, count in layout.flags.items()]
    if flags:
        parts.append(f"flagged: {', '.join(flags)}")
    trials = counted(len(layout.rows), "trial")
    if layout.busy_s is not None:
        trials += f" in {duration(layout.busy_s)}"
    return f"{trials}: {'; '.join(parts)}"


def drift_lines(layout: Layout) -> list[str]:
    """How the machine itself changed meanwhile, and whether the harness took most of the time."""
    results = layout.results
    sentences = drift_sentences(results.observations, results.meta.device)
    lines = [f"  ! {printable(text)}" for text in sentences]
    slow = harness_line(results.made)
    if slow is not None:
        lines.append(f"  {slow}")
    return lines


def places(layout: Layout) -> list[str]:
    """Where the logs, the page and the runs are."""
    directory = layout.results.directory
    if directory is None:
        return []
    lines = [
        f"Logs: {shown_path(directory / 'logs')}",
        f"Page: {shown_path(directory / 'report.html')}",
    ]
    tracked = layout.results.tracked
    if tracked is not None:
        lines.append(f"Runs: {tracked.address}")
    return lines


def next_lines(layout: Layout, follows: bool = False) -> list[str]:
    """Commands to run next, with their purpose; `follows`: an earlier sweep has this name."""
    if layout.results.directory is None:
        return []
    name, tracked = name_of(layout), layout.results.tracked
    resume = f"orchestrator resume {name}"
    commands = {}
    if NOT_RUN in layout.outcomes:
        commands[resume] = "go on where it stopped"
    elif layout.not_allowed:
        commands[f"{resume} --rerun failed"] = "run these again, also after a repair"
    is_complete = not commands
    uri = layout.results.meta.spec.tracking.uri
    opens = ui_command(uri or default_uri()) if tracked is None else tracked.command
    if opens is not None:
        commands[opens] = "open the runs in the MLflow UI"
    if is_complete and follows:
        commands[f"orchestrator compare {name}"] = "compare with the one before"
    elif is_complete:
        commands[f"orchestrator compare {name} last"] = "compare a later sweep with this one"
    width = max(map(len, commands))
    lines = ["Next:"]
    for command, purpose in commands.items():
        lines.append(f"  {command:<{width}}  # {purpose}")
    return lines
