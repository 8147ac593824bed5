"""Reports: the table, CSV, Markdown, LaTeX, the page and its plots; computed from records alone."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.errors import RequestError
from orchestrator.report.csv_table import csv_text
from orchestrator.report.latex import tabular
from orchestrator.report.layout import Layout
from orchestrator.report.markdown import summary
from orchestrator.report.page.sweep_page import html_page
from orchestrator.report.table import text_table
from orchestrator.results.results import Results
from orchestrator.util.files import write_atomically

FORMATS: dict[str, Callable[[Layout], str]] = {
    "txt": text_table,
    "md": summary,
    "csv": csv_text,
    "latex": tabular,
    "html": html_page,
}
FILES = {"summary.txt": "txt", "summary.md": "md", "results.csv": "csv", "report.html": "html"}


def render(results: Results, form: str = "txt") -> str:
    """A sweep's results as text in one of FORMATS: txt, md, csv, latex, html.

    Raises:
        RequestError: no such format.
    """
    if form not in FORMATS:
        raise RequestError(f"there is no report format {form!r}: use one of {', '.join(FORMATS)}")
    return FORMATS[form](Layout.of(results))


def write_reports(results: Results) -> None:
    """Write summary.txt, summary.md, results.csv and report.html into the sweep's directory.

    Raises:
        ValueError: the results have no directory.
        OSError: a file cannot be written; those written before it stand.
    """
    if results.directory is None:
        raise ValueError("these results have no directory to write reports into")
    layout = Layout.of(results)
    for name, form in FILES.items():
        write_atomically(results.directory / name, FORMATS[form](layout))
