"""The table for a paper: booktabs, intervals beside medians, every label escaped."""

from __future__ import annotations

from orchestrator.report.layout import Layout, status
from orchestrator.report.text import interval, latex, number, shown

MARKS = {"✓": r"$\checkmark$", "✗": r"$\times$"}


def tabular(layout: Layout) -> str:
    r"""A `table` environment that needs \usepackage{booktabs,amssymb}; the caption is the heading of the sweep."""
    columns = list(layout.columns.values())
    headings = ["Implementation", *columns, "Time (ms) [95 % interval]", "Memory (MiB)", "Throughput (tok/s)", "Status"]
    lines = [
        r"% needs \usepackage{booktabs,amssymb}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex('. '.join([layout.title, *layout.lines]))}}}",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}rrrl}}",
        r"\toprule",
        " & ".join(map(latex, headings)) + r" \\",
        r"\midrule",
        *_body(layout),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _body(layout: Layout) -> list[str]:
    lines, before = [], None
    for row in layout.rows:
        if before not in (None, row.implementation):
            lines.append(r"\addlinespace")
        before = row.implementation
        metrics = row.metrics
        median = (metrics.get(f"latency{end}_ms") for end in ("", "_ci_low", "_ci_high"))
        cells = [
            latex(row.implementation),
            *(latex(shown(row.value(name))) for name in layout.columns),
            interval(*median),
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
