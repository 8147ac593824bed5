"""Detects GPU throttling and contention while a trial is timed, and reads its energy, by NVML.

It runs in the supervisor and only reads. In a container NVML lists processes by the host's pids, so
that a trial's own processes are not recognised: see `other_processes`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import ModuleType
from typing import Any, NamedTuple

from orchestrator.machine import nvml
from orchestrator.outcome import Flag
from orchestrator.supervisor.interference import SHORTEST_S, Findings

POWER_CAPPED = "power_capped"  # a note, not a flag: half the trials on a healthy card have it
_POWER, _THERMAL = 0, 1  # nvmlPerfPolicyType_t
_SW_POWER_CAP = 0x4  # nvmlClocksEventReasons
_SLOWDOWNS = {
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
LEAST_THROTTLED = 0.001  # share of the time by which a violation counter must have moved


@dataclass(frozen=True)
class Sample:
    """One GPU at one moment.

    Attributes:
        reasons: bits of what lowers its clocks now.
        throttled_s, capped_s: time so far for which heat, or the power limit, lowered its clocks;
            None: not counted.
        pids: compute processes, by NVML's numbers; None: not known.
        family: processes of the trial, by our numbers.
    """

    at_s: float
    reasons: int = 0
    throttled_s: float | None = None
    capped_s: float | None = None
    pids: frozenset[int] | None = None
    family: frozenset[int] = frozenset()


class Reading(NamedTuple):
    """The energy counter of one GPU at one moment of time.monotonic(), in joules."""

    at_s: float
    energy_j: float


def judge(
    samples: Sequence[Sample], before: frozenset[int], standing: frozenset[int] = frozenset()
) -> Findings:
    """Flags and notes of one GPU; `before`: its compute processes before the trial began, of which
    `standing` are ours.
    """
    if not samples or samples[-1].at_s - samples[0].at_s < SHORTEST_S:
        return Findings()
    flags, notes = [], []
    if reasons := _slowdowns(samples):
        flags.append(Flag.THROTTLED.value)
        notes.append(f"throttled: {', '.join(reasons)}")
    others = max(other_processes(sample, before, standing) for sample in samples)
    if others > 0:
        flags.append(Flag.CONTENDED.value)
        notes.append(f"contended: {others} other process{'es' if others > 1 else ''} on the GPU")
    if any(sample.reasons & _SW_POWER_CAP for sample in samples) or _moved(samples, "capped_s"):
        notes.append(POWER_CAPPED)
    return Findings(tuple(flags), tuple(notes))


def other_processes(
    sample: Sample, before: frozenset[int], standing: frozenset[int] = frozenset()
) -> int:
    """How many processes on the GPU are neither the trial's nor `standing`, ours from before it.

    If NVML uses our pids, they are known. If it does not, any of those from before the trial may be
    one that stands by, and any of the new ones the trial's: then only as many count as exceed the
    number of ours.
    """
    if sample.pids is None:
        return 0
    ours = sample.family | standing
    if sample.pids & ours:
        return len(sample.pids - ours)
    old, new = sample.pids & before, sample.pids - before
    return max(0, len(old) - len(standing)) + max(0, len(new) - len(sample.family - standing))


def _slowdowns(samples: Sequence[Sample]) -> list[str]:
    """Why the hardware lowered its clocks, in words."""
    seen = 0
    for sample in samples:
        seen |= sample.reasons
    named = [name for bit, name in _SLOWDOWNS.items() if seen & bit]
    if not named and _moved(samples, "throttled_s"):
        return ["thermal violations"]
    return named


def _moved(samples: Sequence[Sample], counter: str) -> bool:
    """Whether a counter of seconds grew by more than LEAST_THROTTLED of the time."""
    known = [sample for sample in samples if getattr(sample, counter) is not None]
    if len(known) < 2:
        return False
    first, last = known[0], known[-1]
    grown = getattr(last, counter) - getattr(first, counter)
    return bool(grown > LEAST_THROTTLED * (last.at_s - first.at_s))


def energy_between(readings: Sequence[Reading], start_s: float, end_s: float) -> float | None:
    """Joules between two moments, by the mean power between updates of the counter.

    The driver updates the counter only every so often. Between two updates both energy and time are
    known; between any two readings they are not.

    Returns:
        None if the counter was updated fewer than two times between the moments.
    """
    within = [reading for reading in readings if start_s <= reading.at_s <= end_s]
    renewals = []
    for before, after in pairwise(within):
        if after.energy_j > before.energy_j:
            renewals.append(Reading((before.at_s + after.at_s) / 2, after.energy_j))
    if len(renewals) < 2:
        return None
    first, last = renewals[0], renewals[-1]
    return (last.energy_j - first.energy_j) / (last.at_s - first.at_s) * (end_s - start_s)


@dataclass
class GpuSampler:
    """Reads NVML for every GPU of a slot.

    Args:
        api: pynvml, initialised.
        gpus: handles.
        family: the trial's processes.
        standing: processes of ours that were made ready before the trial, its own among them.
    """

    api: ModuleType
    gpus: Sequence[Any]
    family: Callable[[], Iterable[int]]
    standing: frozenset[int] = frozenset()
    samples: list[list[Sample]] = field(default_factory=list)
    readings: list[list[Reading]] = field(default_factory=list)
    before: list[frozenset[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.readings = [[] for _ in self.gpus]
        self.samples = [[] for _ in self.gpus]
        self.before = [self._pids(gpu) or frozenset() for gpu in self.gpus]

    def counts_energy(self) -> bool:
        """Whether every GPU has an energy counter."""
        return bool(self.gpus) and all(self._energy_j(gpu) is not None for gpu in self.gpus)

    def sample(self, at_s: float) -> None:
        """Take one sample of each GPU."""
        family = frozenset(self.family())
        for gpu, series in zip(self.gpus, self.samples, strict=True):
            series.append(
                Sample(
                    at_s,
                    nvml.ask(self._reasons, gpu) or 0,
                    self._violation_s(gpu, _THERMAL),
                    self._violation_s(gpu, _POWER),
                    self._pids(gpu),
                    family,
                )
            )

    def sample_energy(self) -> None:
        """Read each counter. A reading takes some milliseconds; it is dated at their middle."""
        for gpu, series in zip(self.gpus, self.readings, strict=True):
            began_s = time.monotonic()
            energy_j = self._energy_j(gpu)
            if energy_j is not None:
                series.append(Reading((began_s + time.monotonic()) / 2, energy_j))

    def findings(self) -> Findings:
        """Flags and notes of all GPUs together, each once."""
        flags: dict[str, None] = {}  # sets that keep the order
        notes: dict[str, None] = {}
        for series, before in zip(self.samples, self.before, strict=True):
            found = judge(series, before, self.standing)
            flags |= dict.fromkeys(found.flags)
            notes |= dict.fromkeys(found.notes)
        return Findings(tuple(flags), tuple(notes))

    def joules(self, start_s: float, end_s: float) -> float | None:
        """Joules of all GPUs together; None if any is not known."""
        found = [energy_between(series, start_s, end_s) for series in self.readings]
        known = [energy for energy in found if energy is not None]
        if not known or len(known) < len(found):
            return None
        return sum(known)

    def _reasons(self, gpu: Any) -> int:
        return int(self.api.nvmlDeviceGetCurrentClocksEventReasons(gpu))

    def _violation_s(self, gpu: Any, policy: int) -> float | None:
        found = nvml.ask(self.api.nvmlDeviceGetViolationStatus, gpu, policy)
        return None if found is None else found.violationTime / 1e9

    def _energy_j(self, gpu: Any) -> float | None:
        found = nvml.ask(self.api.nvmlDeviceGetTotalEnergyConsumption, gpu)
        return None if found is None else found / 1000

    def _pids(self, gpu: Any) -> frozenset[int] | None:
        found = nvml.ask(self.api.nvmlDeviceGetComputeRunningProcesses, gpu)
        return None if found is None else frozenset(process.pid for process in found)
