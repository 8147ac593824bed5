"""Where and how a sweep is run, as the options of a command say."""

from __future__ import annotations

import argparse
from typing import Any


def place(options: argparse.Namespace) -> dict[str, Any]:
    """Where and how a sweep is run, as arguments of `api.run`."""
    names = ("tracking_uri", "address", "device", "rerun")
    return {name: getattr(options, name) for name in names} | {"progress": _progress(options.quiet)}


def _progress(quiet: bool) -> Any:
    from orchestrator.progress.live import progress_for

    return progress_for(quiet)
