"""Checks a workload before its first trial, in another process, while the executor starts."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestrator import usercode
from orchestrator.errors import RequestError
from orchestrator.machine import nvml
from orchestrator.plan.sweep import Sweep
from orchestrator.trial import Trial
from orchestrator.usercode import registry, workloads
from orchestrator.usercode.source import source_hash
from orchestrator.usercode.text.file_facts import cache_folder
from orchestrator.usercode.workload_file import FileWorkload
from orchestrator.util import subprocesses

PROBLEM = "problem"  # the param of a workload that is a folder of several
LIMIT_S = 120.0  # a reference that takes longer at the first trial's params is not waited for


@dataclass
class WorkloadCheck:
    """A check under way, or the mark that it found nothing wrong with the same code and params.

    Attributes:
        name: of the workload, and where in the sweep it is asked: other points may be right.
        kept: the mark.
        process: that checks; None: nothing was wrong before.
        asked: what it is given.
    """

    name: str
    kept: Path
    process: subprocess.Popen[str] | None
    asked: str

    def refuse(self) -> None:
        """Wait for the answer, and refuse the sweep where something is wrong.

        Raises:
            RequestError: naming it.
        """
        found = self._found()
        if found:
            raise RequestError("\n".join(f"workload {self.name}: {text}" for text in found))

    def stop(self) -> None:
        """End the check if it is still under way."""
        if self.process is not None and self.process.poll() is None:
            subprocesses.end(self.process)

    def _found(self) -> list[str]:
        if self.process is None:
            return []
        try:
            done = subprocesses.finish(self.process, self.asked, LIMIT_S)
            # It was killed, for lack of memory perhaps: the trials will tell.
            if done.returncode < 0:
                return []
            found = subprocesses.last_json_line(done)
        except subprocess.TimeoutExpired:
            return []
        except ValueError as error:
            return [f"cannot be imported: {error}"]
        # Only success is kept: what is wrong may be mended outside of the code (another torch).
        if not found:
            with suppress(OSError):
                self.kept.parent.mkdir(parents=True, exist_ok=True)
                self.kept.touch()
        return [str(text) for text in found]


def refuse_any(sweep: Sweep, device: str) -> None:
    """Check the workload, a registered one too, at the first trial of each of its problems.

    Raises:
        RequestError: naming all that is wrong.
    """
    of_each: dict[Any, Trial] = {}
    for trial in sweep.trials:
        of_each.setdefault(trial.params.get(PROBLEM), trial)
    wrong = []
    for trial in of_each.values():
        checked = begin(sweep, device, always=True, trial=trial)
        try:
            if checked is not None:
                checked.refuse()
        except RequestError as error:
            wrong.append(str(error))
    if wrong:
        raise RequestError("\n".join(wrong))


def begin(
    sweep: Sweep, device: str, *, always: bool = False, trial: Trial | None = None
) -> WorkloadCheck | None:
    """Begin to check the sweep's workload at the params of a trial.

    Args:
        sweep: whose workload.
        device: "cpu", "cuda" or "auto".
        always: whether to check registered workloads, too.
        trial: which; None: the first.

    Returns:
        The check; None where the workload is one made by hand and registered, which its own author
        checks.
    """
    registered = sweep.spec.workload in registry.workloads()
    if not always and registered and not isinstance(sweep.workload, FileWorkload):
        return None
    kind = device
    if device == "auto":
        kind = "cuda" if nvml.count() else "cpu"
    trial = trial or sweep.trials[0]
    params = trial.params_of(sweep.workload.params)
    code = source_hash(*workloads.targets(sweep.spec.workload, sweep.base_dir))
    key = hashlib.sha256(json.dumps([code, params, kind, _checker()]).encode()).hexdigest()[:24]
    kept = cache_folder() / "workloads-checked" / key
    process = None
    if not kept.is_file():
        line = [sys.executable, "-m", "orchestrator.usercode.workload_check"]
        process = subprocesses.start(line)
    asked = {
        "workload": sweep.spec.workload,
        "base_dir": sweep.base_dir,
        "params": json.loads(params),
        "device": kind,
    }
    name = " at ".join(filter(None, (sweep.workload.name, _point(sweep, trial))))
    return WorkloadCheck(name, kept, process, json.dumps(asked))


@lru_cache
def _checker() -> str:
    """A hash of the code that checks: what found nothing wrong may find it when it is newer."""
    found = hashlib.sha256()
    for file in sorted(Path(usercode.__file__).parent.rglob("*.py")):
        found.update(file.read_bytes())
    return found.hexdigest()


def _point(sweep: Sweep, trial: Trial) -> str:
    """What tells a trial's point from others of the sweep: `problem=1_Linear`; empty: nothing."""
    parts = []
    for name, value in trial.params.items():
        if any(other.params.get(name) != value for other in sweep.trials):
            parts.append(f"{name}={value}")
    return " ".join(parts)
