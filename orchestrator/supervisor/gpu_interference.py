"""Whether a GPU slowed itself down or was used by others while a trial ran, and what energy it took: by NVML.

Reads only, from the supervisor. In a container NVML names processes by the host's numbers, so that a trial does not
look like itself there: see `strangers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import linear_regression
from types import ModuleType
from typing import Any

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
FEWEST_FOR_POWER = 5
LEAST_THROTTLED = 0.001  # share of the time by which a violation counter must have moved


@dataclass(frozen=True)
class Sample:
    """One GPU at one moment.

    Attributes:
        reasons: bits of what lowers its clocks now.
        throttled_s, capped_s: time so far for which heat, or the power limit, lowered its clocks; None: not counted.
        energy_j: taken so far; None: not counted.
        pids: compute processes, by whatever numbers NVML knows them; None: not told.
        family: processes of the trial, by our numbers.
    """

    at_s: float
    reasons: int = 0
    throttled_s: float | None = None
    capped_s: float | None = None
    energy_j: float | None = None
    pids: frozenset[int] | None = None
    family: frozenset[int] = frozenset()


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


def energy_between(samples: Sequence[Sample], start_s: float, end_s: float) -> float | None:
    """Joules from one moment to another, by the mean power of the samples in between; None where these are too few.

    The slope of all samples, not their ends: the counter is renewed only every so often.
    """
    known = [(sample.at_s, one) for sample in samples if start_s <= sample.at_s <= end_s and (one := sample.energy_j)]
    if len(known) < FEWEST_FOR_POWER:
        return None
    watts = linear_regression([at for at, _ in known], [energy for _, energy in known]).slope
    return watts * (end_s - start_s) if watts > 0 else None


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
    before: list[frozenset[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
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
                    self._energy_j(gpu),
                    self._pids(gpu),
                    family,
                )
            )

    def findings(self) -> Findings:
        """Of all GPUs together."""
        found = [judge(series, before) for series, before in zip(self.samples, self.before, strict=True)]
        return Findings(
            tuple(dict.fromkeys(flag for one in found for flag in one.flags)),
            tuple(dict.fromkeys(note for one in found for note in one.notes)),
        )

    def joules(self, start_s: float, end_s: float) -> float | None:
        """Of all GPUs together."""
        found = [energy_between(series, start_s, end_s) for series in self.samples]
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
