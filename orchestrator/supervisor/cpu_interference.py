"""Detects CPU contention and throttling while a trial is timed, by the kernel's counters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.machine.cgroup import throttled_s
from orchestrator.outcome import Flag
from orchestrator.supervisor.interference import SHORTEST_S, Findings

MOST_WAITED = 0.05  # share of the time that the trial's threads together waited for a core
MOST_OTHERS = 0.05  # share of the cores that other processes took
MOST_STOLEN = 0.05  # share of the cores that the hypervisor gave to others
MOST_HELD_BACK = 0.02  # share of the time for which a quota stopped it
QUOTA_EVERY = 3  # samples: reading the quota takes longer than the rest of a sample
FEWEST_CLOCKS = 3  # the first sample meets cores that have just become busy
LEAST_CLOCK = 0.8  # share of the highest clock seen; a core that is busy keeps near it
_PROC = Path("/proc")
_CLOCKS = Path("/sys/devices/system/cpu")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    """The kernel's counters at one moment, in seconds since their start.

    Attributes:
        waited_s: per thread of the trial: time in which it could run and had no core.
        own_s: CPU time of each of the trial's processes.
        busy_s: CPU time that was used on the cores that the trial may use, by anyone.
        stolen_s: time that a hypervisor took from those cores.
        held_back_s: time for which the control group's quota stopped it; None: not read.
        clock_hz: of the fastest of those cores now; None: not known.
    """

    at_s: float
    waited_s: dict[int, float]
    own_s: dict[int, float]
    busy_s: float
    stolen_s: float
    held_back_s: float | None = None
    clock_hz: float | None = None


def judge(samples: Sequence[Sample], cores: int) -> Findings:
    """`contended`, if others kept the trial from its cores; `throttled`, if the clock fell.

    Contended: the hypervisor took cores, a quota stopped the trial, or it waited for a core while
    others ran. Waiting alone does not count, because a trial with more threads than cores waits for
    itself; nor do other processes alone, because they may use cores that the trial leaves idle.
    """
    if not samples or (seconds := samples[-1].at_s - samples[0].at_s) < SHORTEST_S:
        return Findings()
    first, last = samples[0], samples[-1]
    found: list[tuple[Flag, str]] = []
    stolen = (last.stolen_s - first.stolen_s) / (seconds * cores)
    if stolen > MOST_STOLEN:
        found.append((Flag.CONTENDED, f"the hypervisor took {stolen:.0%} of the cores"))
    quotas = [(one.at_s, one.held_back_s) for one in samples if one.held_back_s is not None]
    if len(quotas) > 1:
        held_back = (quotas[-1][1] - quotas[0][1]) / (quotas[-1][0] - quotas[0][0])
        if held_back > MOST_HELD_BACK:
            found.append(
                (Flag.CONTENDED, f"a quota of CPU time stopped it {held_back:.0%} of the time")
            )
    waited = _grown(first.waited_s, last.waited_s) / seconds
    own = _grown(first.own_s, last.own_s)
    others = max(0.0, last.busy_s - first.busy_s - own) / (seconds * cores)
    if not found and waited > MOST_WAITED and others > MOST_OTHERS:
        text = (
            f"other processes took {others:.0%} of the cores; it stood in line {waited:.0%} of the "
            "time"
        )
        found.append((Flag.CONTENDED, text))
    clocks = [sample.clock_hz for sample in samples if sample.clock_hz]
    if len(clocks) >= FEWEST_CLOCKS and (slowest := min(clocks[1:])) < LEAST_CLOCK * max(clocks):
        text = f"the clock fell from {max(clocks) / 1e9:.2g} to {slowest / 1e9:.2g} GHz"
        found.append((Flag.THROTTLED, text))
    return Findings(
        tuple(dict.fromkeys(flag.value for flag, _ in found)),
        tuple(f"{flag.value}: {text}" for flag, text in found),
    )


def _grown(before: dict[int, float], after: dict[int, float]) -> float:
    """The growth of the counters in `after`; a new one started from 0."""
    return sum(value - before.get(name, 0.0) for name, value in after.items())


@dataclass
class CpuSampler:
    """Reads /proc.

    Args:
        family: the trial's processes.
        cores: numbers of the cores that it may use.
    """

    family: Callable[[], Iterable[int]]
    cores: frozenset[int] = field(default_factory=lambda: frozenset(os.sched_getaffinity(0)))
    samples: list[Sample] = field(default_factory=list)

    def sample(self, at_s: float) -> None:
        """Take one sample; none if the kernel lacks these counters, or the trial has ended."""
        try:
            pids = list(self.family())
            waited: dict[int, float] = {}
            for pid in pids:
                waited |= _waited_s(pid)
            own = {pid: _own_s(pid) for pid in pids}
            busy, stolen = _cores_s((_PROC / "stat").read_text(), self.cores)
        except (OSError, ValueError, IndexError):
            return
        if waited:
            held_back = throttled_s() if len(self.samples) % QUOTA_EVERY == 0 else None
            clock = _clock_hz(self.cores)
            self.samples.append(Sample(at_s, waited, own, busy, stolen, held_back, clock))

    def sample_energy(self) -> None:
        """Does nothing: a CPU's energy counter needs root."""

    def findings(self) -> Findings:
        """Flags and notes of all samples."""
        return judge(self.samples, len(self.cores))

    def joules(self, start_s: float, end_s: float) -> float | None:  # noqa: ARG002
        """None: a CPU's energy counter needs root."""
        return None


def _waited_s(pid: int) -> dict[int, float]:
    """Thread -> seconds in the run queue (proc(5), schedstat: the second number)."""
    waited = {}
    for task in (_PROC / str(pid) / "task").iterdir():
        nanoseconds = (task / "schedstat").read_text().split()[1]
        waited[int(task.name)] = int(nanoseconds) / 1e9
    return waited


def _own_s(pid: int) -> float:
    """CPU seconds of a process, user and system (proc(5), stat: fields 14 and 15)."""
    fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _clock_hz(cores: Iterable[int]) -> float | None:
    """Clock of the fastest of these cores; None if unknown (most virtual machines)."""
    found = []
    for core in cores:
        with suppress(OSError, ValueError):
            found.append(
                1000 * float((_CLOCKS / f"cpu{core}" / "cpufreq/scaling_cur_freq").read_text())
            )
    return max(found, default=None)


def _cores_s(text: str, cores: Iterable[int]) -> tuple[float, float]:
    """(busy, stolen) seconds of these cores, from /proc/stat."""
    wanted = {f"cpu{core}" for core in cores}
    busy = stolen = 0
    for line in text.splitlines():
        name, *fields = line.split()
        if name in wanted:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            busy += user + nice + system + irq + softirq
            stolen += steal
    return busy / _TICKS_PER_S, stolen / _TICKS_PER_S
