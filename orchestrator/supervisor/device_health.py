"""Proof that a slot's GPUs are as they were, asked for after an attempt that did not end well."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from orchestrator.isolation.isolator import Completed
from orchestrator.machine import nvml
from orchestrator.outcome import Outcome
from orchestrator.trial import Attempt, Resources, Trial

PROBE = "orchestrator.supervisor.device_probe:run_attempt"
WELL = frozenset({Outcome.OK, Outcome.UNSUPPORTED})
SLACK_BYTES = 64 * 2**20
MIB = 2**20
BACK_WITHIN_S = 10.0
PROBE_TIMEOUT_S = 120.0
_EVERY_S = 0.1

RunProbe = Callable[[Attempt, str], Completed]
Used = Callable[[int], int | None]
Company = Callable[[int], frozenset[int]]


class DeviceHealth:
    """Looks at the device before each attempt and, where it ended badly, again: `before`, then `fault_after`.

    Args:
        run: runs an attempt by a target ("module:function") in a process of its own.
        used: ordinal -> bytes in use on that GPU, None where nobody knows.
        company: ordinal -> the processes that compute on it, as its driver names them.
        back_within_s: how long the driver may take to have memory back.
    """

    def __init__(
        self,
        run: RunProbe,
        used: Used = nvml.memory_used_bytes,
        company: Company = nvml.compute_pids,
        back_within_s: float = BACK_WITHIN_S,
    ) -> None:
        self._run = run
        self._used = used
        self._company = company
        self._back_within_s = back_within_s
        self._before: Mapping[int, tuple[int | None, frozenset[int]]] = {}

    def before(self, attempt: Attempt) -> None:
        """Note what the attempt's GPUs hold; costs nothing on a CPU."""
        self._before = {gpu: (self._used(gpu), self._company(gpu)) for gpu in _gpus(attempt)}

    def fault_after(self, attempt: Attempt, done: Completed) -> str:
        """Why no other trial may follow on this device; "": it is proven clean, or the attempt ended well."""
        if done.left_alive:
            return f"process {', '.join(map(str, done.left_alive))} of {_name(attempt)} cannot be killed"
        if done.record.outcome in WELL or not attempt.device.startswith("cuda"):
            return ""
        return self._held(attempt) or self._wrong(attempt)

    def _held(self, attempt: Attempt) -> str:
        deadline = time.monotonic() + self._back_within_s
        while held := [(gpu, grown) for gpu in self._before if (grown := self._growth(gpu)) > SLACK_BYTES]:
            if time.monotonic() > deadline:
                gpu, grown = held[0]
                return f"cuda:{gpu} holds {grown / MIB:.0f} MiB more than before {_name(attempt)}, which is gone"
            time.sleep(_EVERY_S)
        return ""

    def _growth(self, gpu: int) -> int:
        """Bytes that have come to be in use; 0 when a stranger has come, whose bytes they may be."""
        (before, company), now = self._before[gpu], self._used(gpu)
        if before is None or now is None or self._company(gpu) - company:
            return 0
        return now - before

    def _wrong(self, attempt: Attempt) -> str:
        record = self._run(_probe(attempt), PROBE).record
        if record.outcome is Outcome.OK:
            return ""
        error = f"{record.error.kind}: {record.error.message}" if record.error else "no reason given"
        return f"a probe of the device after {_name(attempt)} ended as {record.outcome}: {error}"


def _probe(attempt: Attempt) -> Attempt:
    resources = Resources(gpus=attempt.resources.gpus, cpus=attempt.resources.cpus, timeout_s=PROBE_TIMEOUT_S)
    trial = Trial.of(implementation="probe", use=PROBE, params={}, options={})
    return attempt.model_copy(update={"trial": trial, "resources": resources, "rival": None, "pause_s": 0.0})


def _gpus(attempt: Attempt) -> range:
    if not attempt.device.startswith("cuda"):
        return range(0)
    first = nvml.ordinal_of(attempt.device)
    return range(first, first + max(1, attempt.resources.gpus))


def _name(attempt: Attempt) -> str:
    return f"{attempt.trial.implementation} ({attempt.trial.trial_id})"
