"""report.html: one self-contained file."""

from __future__ import annotations

from html import escape

from orchestrator.report.layout import Layout, cells, status
from orchestrator.report.text import interval, number, printable
from orchestrator.report.verdict import Verdict

POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html_page(layout: Layout) -> str:
    """The page as HTML: verdict, then every row; needs nothing from anywhere."""
    sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in Verdict.of(layout).sentences())
    headings = ["Implementation", *layout.columns.values(), "Time (ms)", "Memory (MiB)", "Throughput (tok/s)", "Status"]
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in _lines(layout))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(layout.title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><meta name="viewport" '
        f'content="width=device-width">'
        f"<h1>{escape(layout.title)}</h1><p>{'<br>'.join(map(escape, layout.lines))}</p><ul>{sentences}</ul>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></html>\n"
    )


def _lines(layout: Layout) -> list[list[str]]:
    return [
        [
            printable(row.implementation),
            *map(str, cells(layout, row)),
            interval(*(row.metrics.get(f"latency{end}_ms") for end in ("", "_ci_low", "_ci_high"))),
            number(row.metrics.get("peak_memory_mib")),
            number(row.metrics.get("throughput_tokens_per_s"), decimals=0),
            status(row),
        ]
        for row in layout.rows
    ]
