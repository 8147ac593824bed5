"""The sweeps that were run in this folder: the answer of `sweeps`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from tabulate import tabulate

from orchestrator.errors import OrchestratorError
from orchestrator.formatting import printable
from orchestrator.report.layout import devices
from orchestrator.results.lookup import directories, run_here
from orchestrator.results.results import Results
from orchestrator.results.sweep_directory import SWEEPS, load

NEWEST = 20


def as_objects(name: str | None = None, limit: int | None = NEWEST) -> list[dict[str, Any]]:
    """The newest sweeps, newest first; JSON values.

    Args:
        name: of the sweeps; None: of any name.
        limit: how many; None: all.

    Returns:
        sweep_id, name, created_at, ok, not_ok, not_run (rows), device, git_commit and directory of
        each; for one that cannot be read the id, the directory and `error`.
    """
    found = directories(name)[::-1]
    return [_described(path) for path in found[:limit]]


def as_text(name: str | None = None, limit: int | None = NEWEST) -> str:
    """The same as a table, the newest last, where the prompt is."""
    total = len(directories(name))
    if not total:
        named = f" named {name!r}" if name else ""
        return f"no sweeps{named} under ./{SWEEPS}: results are kept where a sweep was started"
    body = []
    own = [path.name for path in run_here()[::-1]]
    for item in as_objects(name, limit):
        if "error" in item:
            body.append([item["sweep_id"], "", "", "", "", "", "", item["error"]])
            continue
        when = datetime.fromisoformat(item["created_at"]).strftime("%Y-%m-%d %H:%M")
        bad = f"✗ {item['not_ok']}" if item["not_ok"] else ""
        left = f"- {item['not_run']}" if item["not_run"] else ""
        commit = (item["git_commit"] or "")[:7]
        called = _called(item["sweep_id"], own) if name is None else ""
        body.append(
            [item["sweep_id"], printable(item["name"]), when, f"✓ {item['ok']}", f"{bad} {left}".strip(),
             printable(item["device"]), commit, called]
        )  # fmt: skip
    headings = ["Sweep", "Name", "When", "Ok", "Not ok", "Device", "Commit", ""]
    table = str(tabulate(body[::-1], headings, tablefmt="simple", disable_numparse=True))
    more = total - len(body)
    return f"{table}\n({more} older: --all)" if more > 0 else table


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
    return {
        "sweep_id": path.name,
        "name": results.meta.name,
        "created_at": results.meta.created_at,
        "ok": sum(row.ok for row in rows),
        "not_ok": sum(row.outcome is not None and not row.ok for row in rows),
        "not_run": sum(row.outcome is None for row in rows),
        "device": ", ".join(devices(results)) or results.meta.device,
        "git_commit": _commit(results),
        "directory": str(path),
    }


def _commit(results: Results) -> str | None:
    """The commit of the newest record's environment."""
    for record in reversed(results.records):
        know = results.environments.get(record.fingerprint.environment, {}).get("know", {})
        if know.get("git_commit"):
            return str(know["git_commit"])
    return None
