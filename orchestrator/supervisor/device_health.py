"""Checks after a failed attempt that the slot's GPUs are clean.

Memory must be back, and a probe must compute correctly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from orchestrator.isolation.isolator import Completed
from orchestrator.isolation.process_end import Cause
from orchestrator.isolation.request import Call
from orchestrator.machine import nvml
from orchestrator.outcome import Outcome
from orchestrator.supervisor.device_probe import ProbeRequest, ProbeResult
from orchestrator.trial import Attempt, Resources
from orchestrator.util.quantities import MIB

PROBE = "orchestrator.supervisor.device_probe:probe"
WELL = frozenset({Outcome.OK, Outcome.UNSUPPORTED})
SLACK_BYTES = 64 * MIB
BACK_WITHIN_S = 10.0
PROBE_TIMEOUT_S = 120.0
_EVERY_S = 0.1

CallProbe = Callable[[Call[ProbeResult]], ProbeResult | Cause]
Used = Callable[[int], int | None]
Processes = Callable[[int], frozenset[int]]


class DeviceHealth:
    """Checks a device around each attempt: call `before`, then `fault_after`.

    Args:
        call: calls the probe in a process of its own.
        used: ordinal -> bytes in use on that GPU; None: not known.
        processes: ordinal -> the processes that compute on it, by the driver's numbers.
        back_within_s: how long the driver may take to release memory.
    """

    def __init__(
        self,
        call: CallProbe,
        used: Used = nvml.memory_used_bytes,
        processes: Processes = nvml.compute_pids,
        back_within_s: float = BACK_WITHIN_S,
    ) -> None:
        self._call = call
        self._used = used
        self._processes = processes
        self._back_within_s = back_within_s
        self._before: Mapping[int, tuple[int | None, frozenset[int]]] = {}

    def before(self, attempt: Attempt) -> None:
        """Record what the attempt's GPUs hold; does nothing on a CPU."""
        self._before = {gpu: (self._used(gpu), self._processes(gpu)) for gpu in _gpus(attempt)}

    def fault_after(self, attempt: Attempt, done: Completed) -> str:
        """Why no other trial may run on this device; "": it is clean, or the attempt ended well."""
        if done.left_alive:
            return (
                f"process {', '.join(map(str, done.left_alive))} of {_name(attempt)} cannot be "
                "killed"
            )
        well = all(record.outcome in WELL for record in done.result.records)
        if well or not attempt.device.startswith("cuda"):
            return ""
        return self._memory_held(attempt) or self._probe_failure(attempt)

    def _memory_held(self, attempt: Attempt) -> str:
        """Which GPU still holds memory of the attempt after `back_within_s`; "": none."""
        deadline = time.monotonic() + self._back_within_s
        for gpu in self._before:
            while (grown := self._growth(gpu)) > SLACK_BYTES:
                if time.monotonic() > deadline:
                    return (
                        f"cuda:{gpu} holds {grown / MIB:.0f} MiB more than before "
                        f"{_name(attempt)}, which is gone"
                    )
                time.sleep(_EVERY_S)
        return ""

    def _growth(self, gpu: int) -> int:
        """Growth of bytes in use; 0 if a new process has come, whose bytes they may be."""
        before, processes = self._before[gpu]
        now = self._used(gpu)
        if before is None or now is None or self._processes(gpu) - processes:
            return 0
        return now - before

    def _probe_failure(self, attempt: Attempt) -> str:
        """How a probe of the device failed; "": it did not."""
        found = self._call(_probe_of(attempt))
        where = f"a probe of the device after {_name(attempt)}"
        if isinstance(found, Cause):
            return f"{where} ended as {found.outcome}: {found.kind}: {found.message}"
        return f"{where} found {'; '.join(found.faults)}" if found.faults else ""


def _probe_of(attempt: Attempt) -> Call[ProbeResult]:
    resources = attempt.resources
    return Call(
        PROBE,
        ProbeRequest(device=attempt.device, gpus=resources.gpus),
        ProbeResult,
        attempt.device,
        Resources(gpus=resources.gpus, cpus=resources.cpus, timeout_s=PROBE_TIMEOUT_S),
    )


def _gpus(attempt: Attempt) -> range:
    if not attempt.device.startswith("cuda"):
        return range(0)
    first = nvml.ordinal_of(attempt.device)
    return range(first, first + max(1, attempt.resources.gpus))


def _name(attempt: Attempt) -> str:
    return f"{attempt.trial.implementation} ({attempt.trial.trial_id})"
