"""What befell the machine meanwhile: flags that are right, and none where nothing is known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.attempt_result import AttemptResult
from orchestrator.measure.energy import EnergyWindow
from orchestrator.outcome import Flag, Outcome, Phase
from orchestrator.record import TrialRecord
from orchestrator.supervisor import cpu_interference, gpu_interference, interference
from orchestrator.supervisor.gpu_interference import POWER_CAPPED, energy_between, other_processes
from orchestrator.supervisor.interference import InterferenceMonitor
from tests.support import made

TRIAL = made.trials(["standard"], {"batch": [1], "seq_len": [64], "heads": [8]})[0]
NOTHING = interference.Findings()
NOBODY: frozenset[int] = frozenset()


class Told:
    """A source that says what it was told to, and counts its samples."""

    def __init__(
        self, findings: interference.Findings = NOTHING, joules: float | None = None
    ) -> None:
        self.at: list[float] = []
        self.readings = 0
        self._testimony = findings
        self._joules = joules

    def sample(self, at_s: float) -> None:
        self.at.append(at_s)

    def sample_energy(self) -> None:
        self.readings += 1

    def findings(self) -> interference.Findings:
        return self._testimony

    def joules(self, start_s: float, end_s: float) -> float | None:
        return self._joules


def ok_record() -> TrialRecord:
    return made.ok(TRIAL, flags=("noisy",))


def test_it_samples_only_while_the_attempt_is_measured() -> None:
    """Compilation and verification may be disturbed: they are not timed."""
    source, clock = Told(), iter([1.0, 2.0, 3.0])
    looking = InterferenceMonitor(source, now=lambda: next(clock))
    for phase in (Phase.BUILD, Phase.MEASURE, Phase.MEMORY):
        looking.look(phase)
    assert source.at == [2.0]
    assert looking.next_look == pytest.approx(3.05)


def test_the_energy_counter_is_read_often_while_a_gpu_warms_up_and_not_after() -> None:
    """The rest of the machine is looked at as often as ever."""
    source = Told()
    moments = [0.005 * step for step in range(40)]
    clock = iter(moments)
    looking = InterferenceMonitor(source, now=lambda: next(clock))
    for moment in moments:
        looking.look(Phase.WARM_UP if moment < 0.1 else Phase.MEASURE)
    assert source.readings == 20
    assert source.at == pytest.approx([0.0, 0.05, 0.1, 0.15], abs=0.006)


def test_what_was_seen_is_added_and_nothing_taken_away() -> None:
    """Flags once each, notes after the trial's own."""
    seen = interference.Findings(
        (Flag.CONTENDED.value, Flag.NOISY.value), ("contended: by a neighbour",)
    )
    record = InterferenceMonitor(Told(seen)).applied(AttemptResult(record=ok_record())).record
    assert record.flags == ("noisy", "contended")
    assert record.notes[-1] == "contended: by a neighbour"


def test_a_row_without_a_time_has_no_doubts_about_it() -> None:
    """Nobody asks whether an out-of-memory was disturbed."""
    seen = interference.Findings((Flag.CONTENDED.value,), ("contended",))
    bad = made.bad(TRIAL, Outcome.OOM)
    record = InterferenceMonitor(Told(seen)).applied(AttemptResult(record=bad)).record
    assert (record.flags, record.notes) == ((), ())


@pytest.mark.parametrize(
    ("joules", "per_call", "per_token"), [(50.0, 0.5, 500 / 64), (None, None, None)]
)
def test_energy_is_per_call_and_token(
    joules: float | None, per_call: float | None, per_token: float | None
) -> None:
    """Of the window that the worker named; where the device does not count, null."""
    window = EnergyWindow(start_s=0.0, end_s=1.0, calls=100, tokens=64)
    result = AttemptResult(record=ok_record(), energy=window)
    record = InterferenceMonitor(Told(joules=joules)).applied(result).record
    assert record.metrics is not None
    assert record.metrics["joules_per_call"] == per_call
    assert record.metrics["energy_mj_per_token"] == per_token
    assert record.environment == {}


def cpu(
    at_s: float, waited: float = 0.0, own: float = 0.0, busy: float = 0.0, stolen: float = 0.0
) -> Any:
    return cpu_interference.Sample(at_s, {1: waited}, {1: own}, busy, stolen)


@pytest.mark.parametrize(
    ("last", "contended"),
    [
        (cpu(1.0, waited=0.0, own=2.0, busy=2.0), False),  # alone on two cores
        # others took a quarter, and it stood in line
        (cpu(1.0, waited=0.3, own=1.5, busy=2.0), True),
        (cpu(1.0, waited=0.3, own=2.0, busy=2.0), False),  # more threads than cores: its own doing
        (cpu(1.0, waited=0.0, own=1.0, busy=1.5), False),  # others ran where it did not want to
        (cpu(1.0, own=1.8, busy=1.8, stolen=0.2), True),  # a hypervisor took a tenth
        (cpu(0.09, waited=0.1, own=0.1, busy=0.2), False),  # too short to say
    ],
)
def test_a_cpu_trial_is_contended_only_where_others_kept_it_waiting(
    last: Any, contended: bool
) -> None:
    """By two counts that must both hold, or by stolen time."""
    found = cpu_interference.judge([cpu(0.0), last], cores=2)
    assert (found.flags == (Flag.CONTENDED.value,)) is contended
    assert bool(found.notes) is contended


def test_a_quota_that_stops_a_trial_contends_with_it() -> None:
    """Nobody else ran, and yet it had no core: a container's share was used up."""
    first, last = cpu(0.0), cpu(1.0, own=1.0, busy=1.0)
    held = [replace(first, held_back_s=5.0), replace(last, held_back_s=5.2)]
    found = cpu_interference.judge(held, cores=2)
    assert found.flags == ("contended",)
    assert found.notes == ("contended: a quota of CPU time stopped it 20% of the time",)
    assert cpu_interference.judge([held[0], last], cores=2).flags == ()


@pytest.mark.parametrize(
    ("clocks", "flags"),
    [
        ((3.4e9, 3.4e9, 3.3e9, 3.4e9), ()),
        ((1.2e9, 3.4e9, 3.3e9, 3.4e9), ()),  # the cores had been idle before
        ((3.4e9, 3.4e9, 2.1e9, 2.0e9), ("throttled",)),
        ((None, None, None, None), ()),
    ],
)
def test_a_clock_that_fell_meanwhile_is_a_doubt(
    clocks: tuple[float | None, ...], flags: tuple[str, ...]
) -> None:
    """Where the kernel says what the clock is."""
    samples = [replace(cpu(0.1 * at), clock_hz=clock) for at, clock in enumerate(clocks)]
    assert cpu_interference.judge(samples, cores=2).flags == flags


def test_the_kernel_s_accounts_are_read_as_they_are_written() -> None:
    """User, nice, system and interrupts are busy; steal is stolen; other cores do not count."""
    ticks = cpu_interference._TICKS_PER_S
    text = (
        f"cpu  9 9 9 9 9 9 9 9\ncpu0 {ticks} 0 {ticks} 7 7 0 0 {2 * ticks} 0 0\n"
        f"cpu1 {ticks} {ticks} 0 7 7 {ticks} {ticks} 0 0 0\ncpu7 99 0 0 0 0 0 0 0\n"
    )
    assert cpu_interference._cores_s(text, {0, 1}) == (6.0, 2.0)


def test_this_machine_s_accounts_can_be_read() -> None:
    """Of this very process, on Linux."""
    import os

    source = cpu_interference.CpuSampler(lambda: [os.getpid()])
    source.sample(0.0)
    source.sample(1.0)
    assert len(source.samples) == 2
    assert source.samples[1].busy_s >= source.samples[0].busy_s
    assert source.joules(0.0, 1.0) is None


QUIET = gpu_interference.Sample(0.0, pids=frozenset({7}), family=frozenset({7}))


def gpu(**changes: Any) -> interference.Findings:
    """The findings of two samples a second apart, the second with `changes`."""
    first = replace(QUIET, throttled_s=0.0, capped_s=0.0)
    return gpu_interference.judge([first, replace(first, at_s=1.0, **changes)], NOBODY)


@pytest.mark.parametrize(
    ("changes", "flags", "said"),
    [
        ({}, (), ""),
        ({"reasons": 0x20}, ("throttled",), "software thermal slowdown"),
        ({"reasons": 0x8 | 0x80}, ("throttled",), "hardware slowdown, power brake"),
        ({"throttled_s": 0.1}, ("throttled",), "thermal violations"),
        ({"throttled_s": 0.0005}, (), ""),
        ({"reasons": 0x4}, (), POWER_CAPPED),
        ({"capped_s": 0.5}, (), POWER_CAPPED),
        ({"pids": frozenset({7, 8})}, ("contended",), "1 other process on the GPU"),
    ],
)
def test_a_gpu_that_slowed_itself_down_or_was_shared(
    changes: dict[str, Any], flags: tuple[str, ...], said: str
) -> None:
    """The power limit is a note, no doubt."""
    found = gpu(**changes)
    assert found.flags == flags
    assert said in "; ".join(found.notes)
    assert bool(found.notes) is bool(said)


@pytest.mark.parametrize(
    ("pids", "family", "before", "count"),
    [
        ({7}, {7, 8}, set(), 0),  # its own numbers
        ({7, 9}, {7, 8}, set(), 1),
        ({4711}, {7, 8}, set(), 0),  # a container: the trial by the host's number
        ({4711, 4712, 4713}, {7, 8}, set(), 1),
        ({4711, 5}, {7}, {5}, 1),  # there before it began
        ({5}, {7}, {5}, 1),
        (None, {7}, {5}, 0),  # NVML does not tell
    ],
)
def test_strangers_are_told_from_the_trial_also_in_a_container(
    pids: set[int] | None, family: set[int], before: set[int], count: int
) -> None:
    """Where NVML's numbers are the host's, only as many as are too many are strangers."""
    seen = None if pids is None else frozenset(pids)
    assert (
        other_processes(
            gpu_interference.Sample(0.0, pids=seen, family=frozenset(family)), frozenset(before)
        )
        == count
    )


@pytest.mark.parametrize(
    ("pids", "family", "before", "count"),
    [
        ({7, 8, 9}, {7}, {7, 8, 9}, 0),  # the trial is 7; 8 and 9 wait for theirs
        ({7, 8, 9, 20}, {7}, {7, 8, 9}, 1),
        ({7, 8, 9, 20}, {7}, {7, 8, 9, 20}, 1),
        ({7, 8, 9, 30}, {7, 30}, {7, 8, 9}, 0),  # 30 was started by the trial
        ({4001, 4002, 4003}, {7}, {4001, 4002, 4003}, 0),  # by the host's numbers
        ({4001, 4002, 4003, 4020}, {7}, {4001, 4002, 4003, 4020}, 1),
        ({4001, 4002, 4003, 4020}, {7}, {4001, 4002, 4003}, 1),
        ({4001, 4002, 4003, 4030}, {7, 30}, {4001, 4002, 4003}, 0),
    ],
)
def test_what_stands_by_is_no_stranger(
    pids: set[int], family: set[int], before: set[int], count: int
) -> None:
    """Processes of ours that were made ready before the trial, its own among them."""
    sample = gpu_interference.Sample(0.0, pids=frozenset(pids), family=frozenset(family))
    assert other_processes(sample, frozenset(before), frozenset({7, 8, 9})) == count


def counter(at_s: float, watts: float, every_s: float) -> gpu_interference.Reading:
    """What a counter says that is renewed every so often."""
    return gpu_interference.Reading(at_s, 1000 + watts * every_s * int(at_s / every_s))


@pytest.mark.parametrize("phase", [0.0, 0.013, 0.05, 0.099])
def test_energy_is_the_power_between_renewals_of_the_counter(phase: float) -> None:
    """300 W for 0.33 s, wherever the counter of 0.1 s stands; too few renewals say nothing."""
    readings = [counter(0.007 * step + 0.003, 300.0, 0.1) for step in range(200)]
    start_s = 0.2 + phase
    assert energy_between(readings, start_s, start_s + 0.33) == pytest.approx(99, rel=0.04)
    assert energy_between(readings, start_s, start_s + 0.08) is None
    assert energy_between([], 0.0, 1.0) is None


def test_a_counter_that_is_always_new_is_read_as_well() -> None:
    """Some cards renew theirs at each reading."""
    readings = [gpu_interference.Reading(step / 100, 3.0 * step) for step in range(100)]
    assert energy_between(readings, 0.2, 0.5) == pytest.approx(90)


def test_a_source_asks_nvml_and_survives_what_it_does_not_know() -> None:
    """What raises is not known: no flags come of it."""

    def unknown(*_: object) -> None:
        raise RuntimeError("not supported")

    api = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlDeviceGetComputeRunningProcesses=lambda _: [SimpleNamespace(pid=5)],
        nvmlDeviceGetCurrentClocksEventReasons=lambda _: 0x40,
        nvmlDeviceGetViolationStatus=unknown,
        nvmlDeviceGetTotalEnergyConsumption=lambda _: 5000,
    )
    source = gpu_interference.GpuSampler(api, ["gpu"], lambda: [7])  # type: ignore[arg-type]
    assert source.counts_energy()
    for at in range(6):
        source.sample(at / 10)
    source.sample_energy()
    source.sample_energy()
    assert source.readings[0][0].energy_j == 5.0
    assert source.samples[0][0].throttled_s is None
    assert source.findings().flags == ("throttled", "contended")  # 5 was there before the trial
    assert source.joules(0.0, 1.0) is None  # a counter that stands still
