"""Prints a sweep's answer: a table as wide as the terminal, findings, next steps."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.text import Text

from orchestrator.formatting import NONE, axis_text, grouped, number, printable, shown
from orchestrator.outcome import Flag
from orchestrator.report import reasons
from orchestrator.report.answer_table import AnswerTable
from orchestrator.report.figures import DEFAULT, Figure, chosen, figures, ordered
from orchestrator.report.layout import Layout, status
from orchestrator.report.ranking import Ranking, Standing, ratio, speed_heading, spread
from orchestrator.report.table import MAX_REASONS, counts, drift_lines, next_lines, places
from orchestrator.results import lookup, reused
from orchestrator.results.results import Results
from orchestrator.results.rows import Row
from orchestrator.results.sweep_directory import found_by

WIDTH = 100
MAX_ROWS = 200
GAP = 2
NARROWEST_LABEL = 10
BELOW = 24  # lines below the table, about: the verdict, the footer, the prompt
LETTERS: dict[str, str] = {
    Flag.NOISY: "N",
    Flag.CONTENDED: "C",
    Flag.THROTTLED: "T",
    Flag.ALLOCATION_RETRIES: "A",
    Flag.CUT: "X",
    Flag.PREDICTED: "P",
    Flag.SCREENED: "S",
}
MARK = "*"

TOPIC_STYLES = {  # of the verdict's sentences, by what they begin with
    "No ranking": "bold red",
    "Wrong": "bold red",
    "Doubtful": "yellow",
    "Fastest": "bold green",
}


@dataclass(frozen=True)
class Form:
    """How detailed a line is: columns of figures, intervals as a half-width, flags as letters."""

    figures: tuple[Figure, ...]
    brief_interval: bool = False
    letters: bool = False


def show(
    results: Results, console: Console, columns: str | None = None, sort: str | None = None
) -> None:
    """Print a sweep's answer.

    Args:
        results: of the sweep.
        console: where to; its width is kept to, its colours are used.
        columns: the columns of figures by name, separated by commas; None: what fits of DEFAULT.
        sort: a column's name, `shape` or `table`; None: `table`, and no rows where there are more
            than MAX_ROWS.

    Raises:
        RequestError: there is no such column or order.
    """
    layout = Layout.of(results)
    ranking = Ranking.of(layout)
    known = figures(layout, ranking)
    figures_shown = chosen(DEFAULT if columns is None else columns, known)
    rows = ordered(layout, sort or "table", known)
    asked = columns is not None or sort is not None

    head = [layout.title, *layout.lines]
    same = []
    for name, heading in layout.columns.items():
        if _is_constant(layout, name):
            same.append(f"{heading} {shown(layout.rows[0].value(name))}")
    if same:  # said once, and in no column of the table
        head.append(f"In every row: {', '.join(same)}")
    for line in head:
        console.print(Text(line, "bold" if line == layout.title else ""), soft_wrap=True)
    console.print()
    if len(rows) > MAX_ROWS and not asked:
        _print_where_the_rows_are(layout, console)
    else:
        if columns is None and len(ranking.standings) < 2:  # nothing to be faster than
            figures_shown = [figure for figure in figures_shown if figure.name != "speedup"]
        forms = list(_forms(figures_shown, fixed=columns is not None))
        _print_rows(layout, ranking, rows[:MAX_ROWS], forms, console, sort or "table")
        if len(rows) > MAX_ROWS:
            console.print(f"the first {MAX_ROWS} of {len(rows)} rows", style="dim")
            _print_where_the_rows_are(layout, console)
    about = len(head) + len(rows) + 2 * len(ranking.standings) + BELOW
    if console.is_terminal and about > console.height:  # the heading has scrolled away
        title = layout.title.removeprefix("Benchmark Results - ")
        console.print(Text(f"{title}: {layout.lines[0]}\n", "bold"))

    _print_answers(layout, console)
    for sentence in ranking.sentences():
        topic, colon, rest = sentence.partition(":")
        style = TOPIC_STYLES.get(topic, "bold")
        _print_wrapped(console, Text.assemble((topic + colon, style), rest))
    console.print()
    if len(ranking.standings) > 1:
        _print_standings(ranking, console)
        console.print()
    _print_footer(layout, console)


def _is_constant(layout: Layout, name: str) -> bool:
    return bool(layout.rows) and len({shown(row.value(name)) for row in layout.rows}) == 1


def _forms(full: Sequence[Figure], fixed: bool) -> Iterator[Form]:
    """The whole table, then ever narrower ones; `fixed`: every column was asked for and stays."""
    yield Form(tuple(full))
    yield Form(tuple(full), letters=True)
    yield Form(tuple(full), letters=True, brief_interval=True)
    if fixed:
        return
    no_interval = [figure for figure in full if figure.name != "ci"]
    yield Form(tuple(no_interval), letters=True)
    least = [figure for figure in full if figure.name in ("time", "speedup")]
    yield Form(tuple(least), letters=True)


def _print_rows(
    layout: Layout,
    ranking: Ranking,
    rows: Sequence[Row],
    forms: Sequence[Form],
    console: Console,
    order: str,
) -> None:
    """The table in the first form that fits, with rules between implementations or shapes."""
    if not rows:
        return
    winners = {winner.row.trial_id for winner in ranking.winners if winner.clear}
    axes = [name for name in layout.columns if not _is_constant(layout, name)]
    for form in forms:
        headings = _headings(axes, layout, form)
        body = [_cells(row, axes, form, winners) for row in rows]
        widths = _widths(headings, body)
        over = sum(widths) + GAP * (len(widths) - 1) - min(WIDTH, console.width)
        if over <= 0:
            break
    if "memory" not in {figure.name for figure in form.figures}:  # no column can be dropped
        widths[0] = max(min(widths[0], NARROWEST_LABEL), widths[0] - max(over, 0))
    rule = Text("─" * (sum(widths) + GAP * (len(widths) - 1)), "dim")
    section = _section_of(layout, order, len(axes) > 0)
    _print_line(console, headings, widths, ["bold"] * len(headings))
    console.print(rule, soft_wrap=True)
    before = section(rows[0])
    has_winners = False
    for row, cells in zip(rows, body, strict=True):
        if section(row) != before:
            console.print(rule, soft_wrap=True)
            before = section(row)
        wins = row.trial_id in winners
        has_winners |= wins
        _print_line(console, cells, widths, _styles(row, cells, wins))
    for legend in _legend(rows, form, has_winners):
        console.print(Text(legend, "dim"), soft_wrap=True)
    console.print()


def _headings(axes: Sequence[str], layout: Layout, form: Form) -> list[str]:
    found = ["Implementation"]
    found += [layout.columns[name] for name in axes]
    found.append("")
    for figure in form.figures:
        is_brief = figure.name == "ci" and form.brief_interval
        found.append("±%" if is_brief else figure.heading)
    return [*found, "Status"]


def _cells(row: Row, axes: Sequence[str], form: Form, winners: Container[str]) -> list[str]:
    cells = [printable(row.implementation)]
    cells += [axis_text(name, row.value(name)) for name in axes]
    cells.append(MARK if row.trial_id in winners else "")
    for figure in form.figures:
        text = figure.text(row)
        if figure.name == "ci" and form.brief_interval:
            share = figure.value(row)
            # half of the interval in percent; nothing where it reaches 0
            text = NONE
            if share is not None and share < 1:
                text = number(100 * share, 1)
        cells.append("" if text == NONE else text)
    if row.ok and form.letters:
        cells.append(f"✓ {''.join(map(_letter, row.flags))}".rstrip())
    else:
        cells.append(status(row))
    return cells


def _letter(flag: str) -> str:
    return LETTERS.get(flag, printable(flag)[:1].upper())


def _legend(rows: Sequence[Row], form: Form, has_winners: bool) -> Iterator[str]:
    if has_winners:
        yield f"{MARK} fastest of its shape, beyond both 95 % intervals"
    if any(row.is_disturbed for row in rows):
        yield "~ slowed down by something else: not ranked"
    flags: dict[str, None] = {}  # a set that keeps the order
    for row in rows:
        if row.ok:
            flags |= dict.fromkeys(row.flags)
    if flags and form.letters:
        yield ", ".join(f"{_letter(flag)} {printable(flag)}" for flag in flags)


def _section_of(layout: Layout, order: str, has_axes: bool) -> Callable[[Row], object]:
    """What changes from row to row where a rule is drawn."""
    if order == "shape":
        return layout.point
    if order == "table" and has_axes:
        return lambda row: row.implementation
    return lambda _: None  # nowhere


def _widths(headings: Sequence[str], body: Sequence[Sequence[str]]) -> list[int]:
    """Of each column: its longest cell, in places of a terminal."""
    columns = zip(headings, *body, strict=True)
    return [max(map(cell_len, column)) for column in columns]


def _print_line(
    console: Console,
    cells: Sequence[str],
    widths: Sequence[int],
    styles: Sequence[str],
    at_left: Container[int] | None = None,
) -> None:
    """One line of a table: cells to the right, `at_left` (else first and last) to the left."""
    if at_left is None:
        at_left = (0, len(cells) - 1)
    line = Text()
    for place, (cell, width, style) in enumerate(zip(cells, widths, styles, strict=True)):
        if cell_len(cell) > width:
            cell = set_cell_size(cell, width - 1) + "…"
        padding = " " * (width - cell_len(cell))
        line.append(cell + padding if place in at_left else padding + cell, style)
        line.append(" " * GAP)
    line.rstrip()
    console.print(line, soft_wrap=True)


def _styles(row: Row, cells: Sequence[str], wins: bool) -> list[str]:
    plain, name, tone = "", "", "green"
    if row.outcome is None:
        plain = name = tone = "dim"
    elif not row.ok:
        tone = "red"
    elif row.flags:
        tone = "yellow"
    if wins:
        plain, name = "bold green", "bold"
    return [name, *([plain] * (len(cells) - 2)), tone]


def _print_where_the_rows_are(layout: Layout, console: Console) -> None:
    directory = layout.results.directory
    files = ""
    if directory is not None:
        files = f" in {reasons.shown_path(directory / 'results.csv')} and report.html;"
    name = reasons.name_of(layout)
    console.print(
        Text(
            f"All {len(layout.rows):,} rows are{files} `orchestrator report {name} --full-grid` "
            f"prints them, `--sort time` the first {MAX_ROWS}."
        ),
        soft_wrap=True,
    )
    console.print()


def _print_answers(layout: Layout, console: Console) -> None:
    """What a search or a frontier found."""
    table = AnswerTable.of(layout)
    if table is None:
        return
    console.print(Text(table.title, "bold"))
    widths = _widths(table.headings, table.lines)
    _print_line(console, table.headings, widths, ["bold"] * len(widths))
    for cells in table.lines:
        _print_line(console, cells, widths, [""] * len(widths))
    console.print()


def _print_standings(ranking: Ranking, console: Console) -> None:
    """One line an implementation; the last columns are left out where the terminal is narrow."""
    several = len({standing.baseline for standing in ranking.standings}) > 1
    headings = ["Implementation", "Ok", "Fastest in", speed_heading(ranking), "Flagged"]
    headings += ["Peak (MiB)", "Largest error"]
    room = min(WIDTH, console.width)
    for brief in (False, True):  # the range of the speed-ups goes before the columns do
        body = [_standing(standing, several, brief) for standing in ranking.standings]
        widths = _widths(headings, body)
        if sum(widths[:4]) + GAP * 3 <= room:
            break
    while sum(widths) + GAP * (len(widths) - 1) > room and len(widths) > 4:
        widths.pop()
    at_left = (0,)
    _print_line(console, headings[: len(widths)], widths, ["bold"] * len(widths), at_left)
    for cells in body:
        _print_line(console, cells[: len(widths)], widths, [""] * len(widths), at_left)


def _standing(standing: Standing, several: bool, brief: bool) -> list[str]:
    wins = str(standing.wins)
    if standing.shared:
        wins += f" (+{standing.shared} close)"
    return [
        printable(standing.implementation),
        f"{standing.ok} of {standing.total}",
        wins,
        _speed(standing, several, brief),
        str(standing.flagged or ""),
        "" if standing.peak_memory_mib is None else grouped(standing.peak_memory_mib),
        "" if standing.relative_error is None else f"{standing.relative_error:.1e}",
    ]


def _speed(standing: Standing, several: bool, brief: bool) -> str:
    if standing.baseline == standing.implementation:
        return "baseline"
    if standing.speedup is None:
        return ""
    mean, least, most = standing.speedup
    text = ratio(mean)
    if not brief:
        text += f" ({spread(least, most)})"
    if several:
        text += f" over {printable(standing.baseline)}"
    return text


def _print_footer(layout: Layout, console: Console) -> None:
    """Counts, reasons, drift, files and next steps; paths and commands stay whole for pasting."""
    _print_wrapped(console, Text(counts(layout), "bold"))
    for line in reused.lines(layout.results):
        _print_wrapped(console, Text(line))
    for line in reasons.lines(layout, MAX_REASONS):
        if line.lstrip().startswith("✗"):
            _print_wrapped(console, Text(line, "red"), indent=4)
            continue
        indent = line[: len(line) - len(line.lstrip())]
        parts = [line]
        if cell_len(line) > console.width:
            parts = line.split(" · ")  # a log and a command, each whole
        for part in parts:
            console.print(Text(indent + part.lstrip(), "dim"), soft_wrap=True)
    for line in drift_lines(layout):
        _print_wrapped(console, Text(line, "yellow"), indent=4)
    for line in places(layout):
        console.print(_linked(line, layout), soft_wrap=True)
    for line in next_lines(layout, _follows(layout)):
        command, mark, purpose = line.partition("  # ")
        if cell_len(line) > console.width:
            # the command alone, so that it stays whole for pasting
            command, mark, purpose = command.rstrip(), "", ""
        console.print(Text.assemble((command, "cyan"), (mark + purpose, "dim")), soft_wrap=True)


def _follows(layout: Layout) -> bool:
    """Whether the sweep has one of its name before it, where sweeps are looked for."""
    directory, meta = layout.results.directory, layout.results.meta
    if directory is None or found_by(meta.name, directory) != meta.sweep_id:
        return False
    return any(path.name < meta.sweep_id for path in lookup.directories(meta.name))


def _linked(line: str, layout: Layout) -> Text:
    """The page's path as a link, where the terminal has links."""
    directory = layout.results.directory
    topic, _, path = line.partition(": ")
    if topic != "Page" or directory is None:
        return Text(line)
    target = (directory / "report.html").absolute().as_uri()
    return Text.assemble(f"{topic}: ", (path, Style(link=target)))


def _print_wrapped(console: Console, text: Text, indent: int = GAP) -> None:
    """Broken between words, further lines indented."""
    for number_of_line, line in enumerate(text.wrap(console, min(WIDTH, console.width) - indent)):
        line.rstrip()
        if number_of_line > 0:
            line = Text(" " * indent).append_text(line)
        console.print(line, soft_wrap=True)
