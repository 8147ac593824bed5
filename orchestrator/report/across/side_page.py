"""Several sweeps side by side as a page."""

from __future__ import annotations

from orchestrator.compare.side_by_side import SideBySide
from orchestrator.report.across import side_text
from orchestrator.report.page.template import rendered


def side_page(found: SideBySide) -> str:
    """The page as HTML; it needs no script."""
    return rendered(
        "side_by_side.html.j2",
        (),
        title=side_text.title(found),
        by=found.by,
        headings=side_text.headings(found),
        texts=1 + len(found.axes),
        rows=side_text.rows(found),
        mean_headings=side_text.mean_headings(found),
        means=side_text.means(found),
        notes=side_text.notes(found),
    )
