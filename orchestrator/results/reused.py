"""Tells where rows come from that the sweep did not measure itself."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from orchestrator.formatting import counted, printable
from orchestrator.results.results import Results
from orchestrator.results.rows import Row


def origin(sweep_id: str, measured_at: str, model: str, card: str) -> str:
    """`20261122_093000_ab12 (2026-11-22, NVIDIA H100 80GB HBM3, GPU-5d...)`."""
    text = datetime.fromisoformat(measured_at).strftime("%Y-%m-%d")
    for part in (model, card):
        if part:
            text += f", {printable(part)}"
    return f"{printable(sweep_id)} ({text})"


def lines(results: Results) -> list[str]:
    """`Reused: 80 of 90 rows were measured by ...`: a line for each sweep they come from."""
    counts: dict[str, int] = {}
    for row in results.rows:
        if row.reused_from:
            first = row.records[0]
            match = results.environments.get(first.fingerprint.environment, {})
            model = str(match.get("match", {}).get("model") or "")
            place = origin(row.reused_from, first.finished_at, model, first.card or "")
            counts[place] = counts.get(place, 0) + 1
    total = counted(len(results.rows), "row")
    return [f"Reused: {count} of {total}, measured by {place}" for place, count in counts.items()]


def columns(rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """trial_id -> reused_from, reused_at, reused_card of each row; empty if none is reused."""
    cells = {}
    any_is_reused = False
    for row in rows:
        of_row: dict[str, Any] = {"reused_from": None, "reused_at": None, "reused_card": None}
        if row.reused_from:
            any_is_reused = True
            first = row.records[0]
            of_row["reused_from"] = row.reused_from
            of_row["reused_at"] = first.finished_at
            of_row["reused_card"] = first.card
        cells[row.trial_id] = of_row
    if not any_is_reused:
        return {}
    return cells
