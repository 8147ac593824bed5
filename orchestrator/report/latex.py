"""Writes the table for a paper: booktabs, medians with intervals, every label escaped."""

from __future__ import annotations

from orchestrator.formatting import axis_text, interval, latex, number
from orchestrator.report.layout import Layout, status
from orchestrator.results.rows import latency

ONE_PAGE = 40
MARKS = {"✓": r"$\checkmark$", "✗": r"$\times$"}


def tabular(layout: Layout) -> str:
    r"""The table, captioned by the heading of the sweep; beyond ONE_PAGE rows one that breaks over
    pages.

    It needs \usepackage{booktabs,amssymb}, the long one longtable, too; its first line says so.
    """
    columns = list(layout.columns.values())
    headings = [
        "Implementation",
        *columns,
        "Time (ms) [95 % interval]",
        "Memory (MiB)",
        "Throughput (tok/s)",
        "Status",
    ]
    head = [r"\toprule", " & ".join(map(latex, headings)) + r" \\", r"\midrule"]
    caption = rf"\caption{{{latex('. '.join([layout.title, *layout.lines]))}}}"
    set_as = f"{{l{'r' * len(columns)}rrrl}}"
    lines = _short(caption, set_as, head, _body(layout))
    if len(layout.rows) > ONE_PAGE:
        lines = _long(caption, set_as, head, _body(layout))
    return "\n".join(lines) + "\n"


def _short(caption: str, set_as: str, head: list[str], body: list[str]) -> list[str]:
    opening = [r"% needs \usepackage{booktabs,amssymb}", r"\begin{table}", r"\centering", caption]
    closing = [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return [*opening, rf"\begin{{tabular}}{set_as}", *head, *body, *closing]


def _long(caption: str, set_as: str, head: list[str], body: list[str]) -> list[str]:
    opening = [
        r"% needs \usepackage{booktabs,amssymb,longtable}",
        rf"\begin{{longtable}}{set_as}",
        caption + r" \\",
    ]
    heads = [*head, r"\endfirsthead", *head, r"\endhead", r"\bottomrule", r"\endlastfoot"]
    return [*opening, *heads, *body, r"\end{longtable}"]


def _body(layout: Layout) -> list[str]:
    lines, before = [], None
    for row in layout.rows:
        if before not in (None, row.implementation):
            lines.append(r"\addlinespace")
        before = row.implementation
        metrics = row.metrics
        cells = [
            latex(row.implementation),
            *(latex(axis_text(name, row.value(name))) for name in layout.columns),
            interval(*latency(metrics)),
            number(metrics.get("peak_memory_mib")),
            number(metrics.get("throughput_tokens_per_s"), decimals=0),
            _status(latex(status(row))),
        ]
        lines.append(" & ".join(cells) + r" \\")
    return lines


def _status(text: str) -> str:
    for mark, command in MARKS.items():
        text = text.replace(mark, command)
    return text
