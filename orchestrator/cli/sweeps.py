"""Lists the sweeps that were run in this folder: the answer of `sweeps`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from orchestrator.errors import OrchestratorError, nearest
from orchestrator.formatting import printable, table_text
from orchestrator.machine.environment import commit_of
from orchestrator.report.layout import devices
from orchestrator.results.lookup import directories, run_here
from orchestrator.results.results import Results
from orchestrator.results.sweep_directory import SWEEPS, load

NEWEST = 20
SHOWN = 7  # digits of a commit


def as_objects(name: str | None = None, limit: int | None = NEWEST) -> list[dict[str, Any]]:
    """The newest sweeps, newest first; JSON values.

    Args:
        name: of the sweeps; None: of any name.
        limit: how many; None: all.

    Returns:
        sweep_id, name, created_at, ok, not_ok, not_run (rows), device, commit (of the user's code,
        or else of the harness), git_commit (of the harness) and directory of each; for one that
        cannot be read the id, the directory and `error`.
    """
    found = directories(name)[::-1]
    return [_described(path) for path in found[:limit]]


def as_text(name: str | None = None, limit: int | None = NEWEST) -> str:
    """The same as a table, the newest last, where the prompt is."""
    total = len(directories(name))
    if not total:
        named = f" named {name!r}" if name else ""
        near = nearest(name, {path.parent.name for path in directories()}) if name else None
        if near:
            return f"no sweeps{named} under ./{SWEEPS} (did you mean {near!r}?)"
        return f"no sweeps{named} under ./{SWEEPS}: results are kept where a sweep was started"
    body = []
    own = [path.name for path in run_here()[::-1]]
    for item in as_objects(name, limit):
        if "error" in item:
            body.append([item["sweep_id"], "", "", "", "", "", "", item["error"]])
            continue
        cells = [item["sweep_id"], printable(item["name"])]
        cells.append(datetime.fromisoformat(item["created_at"]).strftime("%m-%d %H:%M"))
        cells.append(f"✓ {item['ok']}")
        bad = f"✗ {item['not_ok']}" if item["not_ok"] else ""
        left = f"- {item['not_run']}" if item["not_run"] else ""
        cells.append(f"{bad} {left}".strip())
        cells += [printable(item["device"]), printable(item["commit"])]
        # `last` counts sweeps of every name
        cells.append(_called(item["sweep_id"], own) if name is None else "")
        body.append(cells)
    headings = ["Sweep", "Name", "When", "Ok", "Not ok", "Device", "Commit", ""]
    table = table_text(headings, body[::-1], wrapped=(1, 5, 7))
    more = total - len(body)
    if more > 0:
        return f"{table}\n({more} older: --all)"
    return table


def _called(sweep_id: str, own: list[str]) -> str:
    """`last`, `last~1`: what `lookup.find` takes besides the id; none for an imported sweep."""
    if sweep_id not in own:
        return "imported"
    place = own.index(sweep_id)
    return "last" if place == 0 else f"last~{place}"


def _described(path: Path) -> dict[str, Any]:
    try:
        results = load(path)
        rows = results.rows
    except OrchestratorError as error:
        return {"sweep_id": path.name, "directory": str(path), "error": str(error)}
    ok = sum(row.ok for row in rows)
    not_run = sum(row.outcome is None for row in rows)
    know = _known(results)
    return {
        "sweep_id": path.name,
        "name": results.meta.name,
        "created_at": results.meta.created_at,
        "ok": ok,
        "not_ok": len(rows) - ok - not_run,
        "not_run": not_run,
        "device": ", ".join(devices(results)) or results.meta.device,
        "commit": commit_of(know, SHOWN),
        "git_commit": know.get("git_commit"),
        "directory": str(path),
    }


def _known(results: Results) -> Mapping[str, Any]:
    """What the newest record's environment states beside what must match."""
    for record in reversed(results.records):
        know = results.environments.get(record.fingerprint.environment, {}).get("know", {})
        if know:
            return cast("Mapping[str, Any]", know)
    return {}
