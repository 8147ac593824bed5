"""Holds one slot of resources on one node: forks a fresh process per attempt and never touches the device itself.

An executor runs it where the slot is (Ray: as an actor). Everything that crosses its boundary is JSON or bytes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from orchestrator import environment
from orchestrator.isolate import Isolator
from orchestrator.record import Phase
from orchestrator.trial import Attempt

STAGED_FILES = "files"


class Supervisor:
    """One slot: `cpus` cores and the GPUs named in `visible_gpus` (a CUDA_VISIBLE_DEVICES value, "" for none).

    Args:
        device: "cpu" or "cuda", what attempts on this slot measure.
        preload: modules that the fork server imports once for all attempts.
        staged: whether the project and the user's files travelled here, into the current directory.
    """

    def __init__(self, device: str, cpus: int, visible_gpus: str, preload: tuple[str, ...], staged: bool) -> None:
        self.device = device
        self._cpus = cpus
        self._staged = staged
        self._phase = ""
        self._round = 1
        self._isolator = Isolator(
            preload=preload, env={"CUDA_VISIBLE_DEVICES": visible_gpus}, sys_path=[str(Path.cwd()), *sys.path]
        )

    def describe(self, gpu_memory_gib: float | None) -> dict[str, Any]:
        """What must match and what to know of this slot; see environment.describe."""
        return environment.describe(self.device, gpu_memory_gib, self._cpus)

    def run(self, attempt_json: str) -> tuple[str, bytes]:
        """Make one attempt: (the record as JSON, what it printed). A new round gets a new fork server."""
        attempt = self._here(Attempt.model_validate_json(attempt_json))
        if attempt.round != self._round:
            self._isolator.restart()
            self._round = attempt.round
        self._phase = str(Phase.BUILD)
        done = self._isolator.run(attempt, self._note)
        self._phase = ""
        return done.record.model_dump_json(), done.log

    def phase(self) -> str:
        """The phase of the attempt in flight; "" when there is none."""
        return self._phase

    def pid(self) -> int:
        """Of the process that holds the slot."""
        return os.getpid()

    def close(self) -> None:
        """End the attempt in flight and the fork server."""
        self._isolator.kill()
        self._isolator.close()

    def _note(self, phase: Phase) -> None:
        self._phase = str(phase)

    def _here(self, attempt: Attempt) -> Attempt:
        """The attempt with this slot's cores, and paths that hold on this node."""
        resources = attempt.resources
        if resources.cpus is None:
            resources = resources.model_copy(update={"cpus": self._cpus})
        base_dir = str(Path.cwd() / STAGED_FILES) if self._staged else attempt.base_dir
        return attempt.model_copy(update={"resources": resources, "base_dir": base_dir})
