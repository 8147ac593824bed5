"""Whether a GPU slowed itself down or was used by others while a trial ran, and what energy it took: by NVML.

Reads only, from the supervisor. In a container NVML names processes by the host's numbers, so that a trial does not
look like itself there: see `strangers`.
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

POWER_CAPPED = "power_capped"  # a note, no doubt: half the cells of a sweep of a healthy card have it
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
        throttled_s, capped_s: time so far for which heat, or the power limit, lowered its clocks; None: not counted.
        pids: compute processes, by whatever numbers NVML knows them; None: not told.
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


def judge(samples: Sequence[Sample], before: frozenset[int]) -> Findings:
    """Flags and notes of one GPU; `before` are its compute processes from before the trial began."""
    if not samples or samples[-1].at_s - samples[0].at_s < SHORTEST_S:
        return Findings()
    flags, notes = [], []
    if reasons := _slowdowns(samples):
        flags.append(Flag.THROTTLED.value)
        notes.append(f"throttled: {', '.join(reasons)}")
    if (others := max(strangers(sample, before) for sample in samples)) > 0:
        flags.append(Flag.CONTENDED.value)
        notes.append(f"contended: {others} other process{'es' if others > 1 else ''} on the GPU")
    if any(sample.reasons & _SW_POWER_CAP for sample in samples) or _moved(samples, "capped_s"):
        notes.append(POWER_CAPPED)
    return Findings(tuple(flags), tuple(notes))


def strangers(sample: Sample, before: frozenset[int]) -> int:
    """How many processes on the GPU are not the trial's.

    Those from before it began are strangers. Of those that came since, all but the trial's own are, where NVML knows
    these by our numbers. Where it does not, the trial's may be any: then only as many as are more than it has.
    """
    if sample.pids is None:
        return 0
    old, new = sample.pids & before, sample.pids - before
    if new & sample.family:
        return len(old) + len(new - sample.family)
    return len(old) + max(0, len(new) - len(sample.family))


def _slowdowns(samples: Sequence[Sample]) -> list[str]:
    seen = 0
    for sample in samples:
        seen |= sample.reasons
    named = [name for bit, name in _SLOWDOWNS.items() if seen & bit]
    return named or (["thermal violations"] if _moved(samples, "throttled_s") else [])


def _moved(samples: Sequence[Sample], counter: str) -> bool:
    known = [(sample.at_s, value) for sample in samples if (value := getattr(sample, counter)) is not None]
    return len(known) > 1 and known[-1][1] - known[0][1] > LEAST_THROTTLED * (known[-1][0] - known[0][0])


def energy_between(readings: Sequence[Reading], start_s: float, end_s: float) -> float | None:
    """Joules from one moment to another, by the mean power between renewals of the counter.

    A counter is renewed only every so often, and says what was taken up to that moment. Between
    two renewals energy and time are known together; between any two readings they are not.

    Returns:
        None where fewer than two renewals fell between the moments.
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
    """

    api: ModuleType
    gpus: Sequence[Any]
    family: Callable[[], Iterable[int]]
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
        """One look at each GPU."""
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
        """Read each counter; a reading takes some milliseconds, and is of the middle of them."""
        for gpu, series in zip(self.gpus, self.readings, strict=True):
            began_s = time.monotonic()
            energy_j = self._energy_j(gpu)
            if energy_j is not None:
                series.append(Reading((began_s + time.monotonic()) / 2, energy_j))

    def findings(self) -> Findings:
        """Of all GPUs together."""
        found = [judge(series, before) for series, before in zip(self.samples, self.before, strict=True)]
        return Findings(
            tuple(dict.fromkeys(flag for one in found for flag in one.flags)),
            tuple(dict.fromkeys(note for one in found for note in one.notes)),
        )

    def joules(self, start_s: float, end_s: float) -> float | None:
        """Of all GPUs together."""
        found = [energy_between(series, start_s, end_s) for series in self.readings]
        known = [energy for energy in found if energy is not None]
        return sum(known) if known and len(known) == len(found) else None

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
