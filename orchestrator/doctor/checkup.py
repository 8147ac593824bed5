"""Says whether this machine is fit to measure, and if not, why not."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

from orchestrator.doctor import gpu, host, services
from orchestrator.doctor.finding import Finding
from orchestrator.formatting import table_text
from orchestrator.machine import nvml
from orchestrator.util.files import MAX_RAY_FOLDER_BYTES

RESULTS_GIB = 0.25
SHARED_MEMORY_GIB = 0.1
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at, not written
MARKS = {"ok": "✓", "warn": "!", "bad": "✗"}
UNFIT = 3

Check = Callable[[], Finding | Iterable[Finding]]


def examine(uri: str | None = None, address: str | None = None) -> list[Finding]:
    """Everything that decides whether figures from this machine can be trusted, and whether a sweep
    can run on it.

    Takes at most about a minute and a half, a few seconds where all is well. Changes nothing;
    imports neither torch nor ray nor mlflow in this process.

    Args:
        uri: of the tracking server or store; None: sqlite under mlruns/.
        address: of a Ray cluster; None: RAY_ADDRESS, else a Ray of our own.
    """
    with nvml.session() as api, ThreadPoolExecutor(max_workers=4) as pool:
        checks: list[tuple[str, Check]] = [
            ("system", host.system),
            ("cpu", host.cpu),
            ("gpu", lambda: gpu.gpus(api)),
            ("memory", host.memory),
            ("disk", lambda: host.disk(Path("mlruns"), RESULTS_GIB)),
            (
                "temporary folder",
                lambda: host.temporary(Path(tempfile.gettempdir()), MAX_RAY_FOLDER_BYTES),
            ),
            ("shared memory", lambda: host.disk(SHARED_MEMORY, SHARED_MEMORY_GIB)),
            ("tracking", lambda: services.tracking(uri)),
            ("ray", lambda: services.ray(address)),
        ]
        found = list(chain.from_iterable(pool.map(_carried_out, checks)))
        # last: it keeps the GPU and a core busy
        found += _carried_out(("torch", lambda: gpu.torch_uses_gpu(api)))
        return found


def as_text(findings: Sequence[Finding]) -> str:
    """A table, and below it the verdict in one line."""
    body = []
    for one in findings:
        cells = [MARKS[one.state], one.check, one.message, one.advice]
        body.append(cells)
    table = table_text(["", "Check", "Found", "Advice"], body, wrapped=(2, 3))
    return f"{table}\n\n{_verdict(findings)}"


def as_object(findings: Sequence[Finding]) -> dict[str, Any]:
    """JSON: `fit`, `verdict` and `findings`, each with check, state, message and advice."""
    rows = []
    for one in findings:
        row = {"check": one.check, "state": one.state, "message": one.message, "advice": one.advice}
        rows.append(row)
    return {"fit": exit_code(findings) == 0, "verdict": _verdict(findings), "findings": rows}


def exit_code(findings: Sequence[Finding]) -> int:
    """3 (no fit machine) if anything is bad, else 0."""
    if any(finding.state == "bad" for finding in findings):
        return UNFIT
    return 0


def _verdict(findings: Sequence[Finding]) -> str:
    bad = [finding.check for finding in findings if finding.state == "bad"]
    doubtful = [finding.check for finding in findings if finding.state == "warn"]
    if bad:
        return f"Not fit to measure: {', '.join(bad)}"
    if doubtful:
        return f"Fit to measure, with doubts: {', '.join(doubtful)}"
    return "Fit to measure"


def _carried_out(check: tuple[str, Check]) -> list[Finding]:
    name, look = check
    try:
        found = look()
        return [found] if isinstance(found, Finding) else list(found)
    except Exception as error:  # noqa: BLE001 - a check that fails is a finding too
        return [Finding(name, "warn", f"could not be looked at: {type(error).__name__}: {error}")]
