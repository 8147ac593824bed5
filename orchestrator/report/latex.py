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
    if len(layout.rows) > ONE_PAGE:
        lines = [
            r"% needs \usepackage{booktabs,amssymb,longtable}",
            rf"\begin{{longtable}}{set_as}",
            caption + r" \\",
        ]
        lines += [*head, r"\endfirsthead", *head, r"\endhead"]
        # longtable takes the foot of the last page before the rows
        lines += [r"\bottomrule", r"\endlastfoot", *_body(layout), r"\end{longtable}"]
    else:
        lines = [
            r"% needs \usepackage{booktabs,amssymb}",
            r"\begin{table}",
            r"\centering",
            caption,
            rf"\begin{{tabular}}{set_as}",
        ]
        lines += [*head, *_body(layout), r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _body(layout: Layout) -> list[str]:
    lines, before = [], None
    for row in layout.rows:
        if before not in (None, row.implementation):
            lines.append(r"\addlinespace")
        before = row.implementation
        metrics = row.metrics
        cells = [latex(row.implementation)]
        cells += [latex(axis_text(name, row.value(name))) for name in layout.columns]
        cells.append(interval(*latency(metrics)))
        cells.append(number(metrics.get("peak_memory_mib")))
        cells.append(number(metrics.get("throughput_tokens_per_s"), decimals=0))
        ended = latex(status(row))
        for mark, command in MARKS.items():
            ended = ended.replace(mark, command)
        cells.append(ended)
        lines.append(" & ".join(cells) + r" \\")
    return lines
