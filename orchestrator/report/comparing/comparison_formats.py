"""A comparison in the format asked for, and as the files that a paired comparison leaves."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.compare.comparison import Comparison
from orchestrator.report.comparing.comparison import markdown_page, table
from orchestrator.report.page.comparison_page import comparison_page
from orchestrator.util.files import write_atomically

JSON_FILE, MARKDOWN_FILE, PAGE_FILE = "comparison.json", "comparison.md", "comparison.html"


def render(comparison: Comparison, form: str) -> str:
    """As "table" (for a terminal), "md" (to be pasted into an issue), "html" (a page) or "json"."""
    if form == "json":
        return json.dumps(comparison.to_json(), indent=1)
    if form == "html":
        return comparison_page(comparison)
    if form == "table":
        return table(comparison)
    return markdown_page(comparison)


def write(comparison: Comparison, directory: Path) -> None:
    """Write comparison.json, comparison.md and comparison.html into `directory`, each whole."""
    write_atomically(directory / JSON_FILE, json.dumps(comparison.to_json(), indent=1) + "\n")
    write_atomically(directory / MARKDOWN_FILE, markdown_page(comparison))
    write_atomically(directory / PAGE_FILE, render(comparison, "html"))
