"""What was measured before: the commands `history` and `import`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

PAGE = "history.html"


def history(options: argparse.Namespace) -> int:
    """Print rows over time; with --page write them as a page, too."""
    from orchestrator.files import write_atomically
    from orchestrator.history.index import Index
    from orchestrator.history.timeline import history as found_by
    from orchestrator.report.across import history_text

    with Index() as index:
        found = found_by(index, options.metric, options.implementation, options.where)
    if options.page is not None:
        from orchestrator.report.across.history_page import history_page

        write_atomically(Path(options.page), history_page(found))
    if options.format == "html":
        from orchestrator.report.across.history_page import history_page

        print(history_page(found))
    elif options.format == "json":
        print(json.dumps(history_text.as_object(found), indent=1))
    elif options.format == "csv":
        print(history_text.csv_text(found), end="")
    else:
        print(history_text.text(found))
        if options.page is not None:
            print(f"Page: {options.page}")
    return int(options.fail and bool(found.regressions or any(r.newly_failing for r in found.rows)))


def import_(options: argparse.Namespace) -> int:
    """Take sweeps in that were run elsewhere; print which."""
    from orchestrator.history.importing import import_sweeps

    found = import_sweeps([Path(path) for path in options.paths])
    for line in found.lines():
        print(line)
    return 0
