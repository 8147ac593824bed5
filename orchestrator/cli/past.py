"""What was measured before: `history`, `import`, and `report` over several sweeps."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from orchestrator.cli.options import TABLE, refuse
from orchestrator.errors import RequestError

PAGE = "history.html"


def history(options: argparse.Namespace) -> int:
    """Print rows over time; with --page write them as a page, too."""
    from orchestrator.history.index import read_index
    from orchestrator.history.timeline import history as found_by
    from orchestrator.report.across import history_text
    from orchestrator.util.files import write_atomically

    asked = (options.metric, options.implementation, options.where)
    found = read_index(lambda index: found_by(index, *asked))
    if options.page is not None:
        from orchestrator.report.across.history_page import history_page

        try:
            write_atomically(Path(options.page), history_page(found))
        except OSError as error:
            raise RequestError(
                f"--page {options.page} cannot be written ({error.strerror}): name another file"
            ) from None
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
    failing = any(row.newly_failing for row in found.rows)
    if options.fail and (found.regressions or failing):
        return 1
    return 0


def import_(options: argparse.Namespace) -> int:
    """Take sweeps in that were run elsewhere; print which."""
    from orchestrator.history.importing import import_sweeps

    found = import_sweeps([Path(path) for path in options.paths])
    for line in found.lines():
        print(line)
    return 0


def side_by_side(options: argparse.Namespace) -> int:
    """Print several sweeps in one table.

    Raises:
        RequestError: an option that goes with one sweep alone is given.
    """
    from orchestrator.compare.side_by_side import side_by_side as held
    from orchestrator.report.across import side_text
    from orchestrator.results.sweep_directory import load

    refuse(options, ("errors", "plots", "export", *TABLE), "goes with one sweep")
    if options.format == "latex":
        raise RequestError("--format latex goes with one sweep: give md, csv, json or html")
    directories = _directories(options.names, every=options.by is not None)
    found = held([load(path) for path in directories], options.by or "sweep", options.against)
    if options.format == "html":
        from orchestrator.report.across.side_page import side_page

        print(side_page(found))
    elif options.format == "json":
        print(json.dumps(side_text.as_object(found), indent=1))
    elif options.format == "csv":
        print(side_text.csv_text(found), end="")
    elif options.format == "md":
        print(side_text.markdown_page(found))
    else:
        print(side_text.text(found))
    return 0


def _directories(names: list[str], *, every: bool) -> list[Path]:
    """The sweeps' directories, each once, in the order given.

    With `every`, a name that several sweeps have means all of them.
    """
    from orchestrator.results import lookup

    found: dict[Path, None] = {}
    for name in names:
        of_name = []
        if every and "/" not in name:
            of_name = lookup.directories(name)
        found |= dict.fromkeys(of_name or [lookup.find(name)])
    return list(found)
