"""Holds one slot on one node: forks a process per attempt, never touches the device itself.

An executor runs it where the slot is (Ray: as an actor). What crosses its boundary is JSON or
bytes.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.attempt_result import AttemptResult
from orchestrator.isolation.isolator import Completed, Isolator
from orchestrator.isolation.ranks import SET_ON_CUDA, RankSpan
from orchestrator.machine import environment, nvml
from orchestrator.measure.phase_times import PhaseTimes
from orchestrator.outcome import Phase
from orchestrator.record import TrialRecord, utc_now
from orchestrator.supervisor.calibration import Calibration
from orchestrator.supervisor.cores import cores_of_slot
from orchestrator.supervisor.cpu_interference import CpuSampler
from orchestrator.supervisor.device_fault import noted
from orchestrator.supervisor.device_health import DeviceHealth
from orchestrator.supervisor.gpu_interference import GpuSampler
from orchestrator.supervisor.interference import InterferenceMonitor, Sampler
from orchestrator.supervisor.made_ready import HARMLESS, WELL_AGAIN, short_of_memory, to_make_ready
from orchestrator.supervisor.screener import Screener
from orchestrator.trial import Attempt

STAGED_FILES = "files"
READY = "orchestrator.worker.ready:ready_on_cuda"
LEAST_CALIBRATE_S = 0.01  # less was no calibration


class SupervisorReport(NamedTuple):
    """What a supervisor returns of one attempt.

    Attributes:
        result: an AttemptResult as JSON.
        log: what the attempt printed.
        observations: what calibrations before it found, each an Observation as JSON.
        unclean: why no other attempt may run on this device; "": it may.
    """

    result: str
    log: bytes
    observations: list[str]
    unclean: str


class _Run(NamedTuple):
    """An attempt that was run; `standing`: processes of ours that waited meanwhile, or were its."""

    done: Completed
    standing: frozenset[int]
    interference: InterferenceMonitor
    phase_s: dict[str, float]


class Supervisor:
    """One slot: its cores and its GPUs.

    Args:
        device: "cpu" or "cuda", which attempts on this slot measure.
        cpus: how many cores it has.
        visible_gpus: its GPUs, as CUDA_VISIBLE_DEVICES names them; "": none.
        preload: modules that the fork server imports once for all attempts.
        staged: whether the project and the user's files were copied into the current directory.
        slots: how many supervisors share this node, its memory and its cores.
        ordinal: which of them this is.
        node: the cluster's name of the node.
    """

    def __init__(
        self,
        device: str,
        cpus: int,
        visible_gpus: str,
        preload: tuple[str, ...],
        staged: bool,
        slots: int = 1,
        ordinal: int = 0,
        node: str = "",
    ) -> None:
        self.device = device
        self._node = node
        self._cpus = cpus
        # Its path: Ray may replace this folder by a copy while the sweep runs, and this process
        # then is in a folder that is no more (findings/ray-nodes-share-working-dir.sh).
        self._folder = Path.cwd()
        self._staged = staged
        self._phase = ""
        self._round = 1
        self._closed = threading.Event()
        self._open = ExitStack()
        if device == "cuda":
            # NVML numbers cards by their place on the bus; CUDA by their speed, unless this is set.
            os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
            # See isolation.ranks; set here too, so that the environment's description has it.
            for name, value in SET_ON_CUDA.items():
                os.environ.setdefault(name, value)
        self._nvml = self._open.enter_context(nvml.session()) if device == "cuda" else None
        cores = self._cores(slots, ordinal)
        self._core_count = len(cores) or len(os.sched_getaffinity(0))
        self._new_isolator = partial(
            Isolator,
            preload=preload,
            env={"CUDA_VISIBLE_DEVICES": visible_gpus},
            sys_path=[*sys.path, str(self._folder)],
            cwd=str(self._folder),
            slots=slots,
            cores=cores,
        )
        self._isolator = self._new_isolator(ready_by=READY if device == "cuda" else None)
        self._screener: Screener | None = None  # of a search that screens
        self._slots = slots
        self._well = WELL_AGAIN  # attempts since one that may have harmed the card
        self._health = DeviceHealth(self._isolator.call)
        self._calibration = Calibration(self._isolator)

    def describe(self, gpu_memory_gib: float | None) -> dict[str, Any]:
        """This slot's facts that must match, and those worth knowing; see environment.describe."""
        return environment.describe(self.device, gpu_memory_gib, self._cpus)

    def meet(self) -> str:
        """A free port of this node, where the ranks of an attempt over several nodes meet."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return str(probe.getsockname()[1])

    def stop(self) -> None:
        """End the running attempt."""
        self._isolator.kill()

    def run(self, attempt_json: str, span: RankSpan | None = None) -> SupervisorReport:
        """Run one attempt. A new round gets a new fork server; calibration comes first if due.

        Args:
            attempt_json: the attempt.
            span: which of its ranks run here; None: all.
        """
        attempt = self._here(Attempt.model_validate_json(attempt_json), span)
        if attempt.screened:
            return self._screen(attempt)
        if self._screener is not None:
            self._screener.wait()
        if attempt.round != self._round:
            self._isolator.restart()
            self._round = attempt.round
        self._closed.wait(attempt.pause_s)
        began_s = time.monotonic()
        attempt = self._calibration.prepare(attempt)
        calibrate_s = round(time.monotonic() - began_s, 4)
        if span is not None:
            self._isolator.dismiss()  # one node alone cannot make it again
        ready = to_make_ready(attempt, span, self._slots, self._well, self._nvml)
        run = self._run(attempt, span, ready)
        if run.standing and short_of_memory(attempt, run.done.result):
            self._isolator.dismiss()
            run = self._run(attempt, span, 0)
        unclean = self._fault_after(attempt, run.done)
        phase_s = run.phase_s
        if calibrate_s >= LEAST_CALIBRATE_S:
            phase_s = {"calibrate": calibrate_s, **phase_s}

        def with_phases(record: TrialRecord) -> TrialRecord:
            return record.model_copy(update={"phase_s": phase_s})

        result = run.interference.applied(run.done.result).changed(with_phases)
        return self._report(attempt, result, run.done.log, unclean)

    def _run(self, attempt: Attempt, span: RankSpan | None, ready: int) -> _Run:
        """Run an attempt in one of `ready` processes that are made ready ahead, or a fresh one."""
        times = PhaseTimes()
        standing = self._isolator.make_ready(ready)
        sampler = self._sampler(attempt, standing)
        if isinstance(sampler, GpuSampler):
            attempt = attempt.model_copy(
                update={"energy": attempt.energy and sampler.counts_energy()}
            )
        interference = InterferenceMonitor(sampler)
        self._phase = str(Phase.BUILD)
        self._health.before(attempt)

        def enter(phase: Phase) -> None:
            self._phase = str(phase)
            times.enter(str(phase))

        done = self._isolator.run(
            attempt, enter, watches=[interference], span=span, made_ready=bool(ready)
        )
        self._phase = ""
        return _Run(done, standing, interference, times.seconds())

    def _screen(self, attempt: Attempt) -> SupervisorReport:
        """Compile the trials of an attempt, then screen them in one process."""
        started_at = utc_now()
        if self._screener is None:
            self._screener = Screener(
                self._isolator, self._core_count, self._nvml, self._new_isolator
            )
        if self._calibration.is_due(attempt):
            self._screener.wait()
        attempt = self._calibration.prepare(attempt)
        self._phase = str(Phase.BUILD)
        compile_s = self._screener.compile(attempt)
        self._health.before(attempt)

        def enter(phase: Phase) -> None:
            self._phase = str(phase)

        ready = to_make_ready(attempt, None, self._slots, self._well, self._nvml)
        done = self._screener.screen(attempt, enter, ready)
        self._phase = ""
        # one that failed did the card no harm if others went on in the same process
        last = AttemptResult(record=done.result.records[-1])
        if last.record.outcome not in HARMLESS:
            self._screener.wait()  # memory that compiling takes is not the attempt's
        unclean = self._fault_after(attempt, replace(done, result=last))
        first = done.result.record
        phase_s = {"compile": compile_s, **(first.phase_s or {})}
        first = first.model_copy(update={"started_at": started_at, "phase_s": phase_s})
        result = done.result.model_copy(update={"record": first})
        return self._report(attempt, result, done.log, unclean)

    def _fault_after(self, attempt: Attempt, done: Completed) -> str:
        """Why no other attempt may run on the device after this one; "": it may."""
        fault = self._health.fault_after(attempt, done)
        self._well += 1
        if any(record.outcome not in HARMLESS for record in done.result.records):
            self._isolator.dismiss()  # they may not know what has become of their card
            self._well = 0
        return fault

    def _report(
        self, attempt: Attempt, result: AttemptResult, log: bytes, unclean: str
    ) -> SupervisorReport:
        """The report of a result, with what is known here alone in each of its records."""
        cards = self._cards(attempt)

        def completed(record: TrialRecord) -> TrialRecord:
            record = _with_code(noted(record, unclean), attempt.base_dir)
            node = self._node or record.node
            return record.model_copy(update={"node": node, "cards": cards})

        text = result.changed(completed).model_dump_json()
        return SupervisorReport(text, log, self._seen(), unclean)

    def conclude(self) -> list[str]:
        """Calibrate a last time, after the sweep's last attempt; the observations as JSON."""
        self._calibration.conclude()
        return self._seen()

    def phase(self) -> str:
        """The phase of the running attempt; "" if there is none."""
        return self._phase

    def pid(self) -> int:
        """The pid of the process that holds the slot."""
        return os.getpid()

    def close(self) -> None:
        """End the running attempt and the fork server."""
        self._closed.set()
        if self._screener is not None:
            self._screener.close()
        self._isolator.kill()
        self._isolator.close()
        self._open.close()

    def _seen(self) -> list[str]:
        return [seen.model_dump_json() for seen in self._calibration.take()]

    def _sampler(self, attempt: Attempt, standing: frozenset[int]) -> Sampler:
        """What samples the machine while the attempt is timed; `standing` were made ready."""
        if self._nvml is None:
            return CpuSampler(self._isolator.family)
        handles = [
            nvml.handle(self._nvml, ordinal) for ordinal in range(max(1, attempt.resources.gpus))
        ]
        gpus = [gpu for gpu in handles if gpu is not None]
        return GpuSampler(self._nvml, gpus, self._isolator.family, standing)

    def _cores(self, slots: int, ordinal: int) -> tuple[int, ...]:
        near = nvml.local_cores(self._nvml) if self._nvml is not None else frozenset[int]()
        return cores_of_slot(os.sched_getaffinity(0), near, self._cpus, ordinal, slots)

    def _cards(self, attempt: Attempt) -> tuple[str, ...]:
        """The GPUs of the attempt, by UUID and PCI address."""
        if self._nvml is None:
            return ()
        found = [
            nvml.card(self._nvml, ordinal) for ordinal in range(max(1, attempt.resources.gpus))
        ]
        return tuple(card for card in found if card is not None)

    def _here(self, attempt: Attempt, span: RankSpan | None) -> Attempt:
        """The attempt with this slot's cores and GPUs, and paths that hold on this node."""
        resources = attempt.resources
        if resources.cpus is None:
            resources = resources.model_copy(update={"cpus": self._cpus})
        if span is not None and resources.gpus:
            resources = resources.model_copy(update={"gpus": span.count})
        base_dir = attempt.base_dir
        if self._staged:
            base_dir = str(self._folder / STAGED_FILES)
        return attempt.model_copy(update={"resources": resources, "base_dir": base_dir})


def _with_code(record: TrialRecord, base_dir: str) -> TrialRecord:
    """The record with the commit of the user's own checkout, besides the project's."""
    known = environment.code_state(base_dir)
    if not known or "know" not in record.environment:
        return record
    facts = {**record.environment, "know": {**record.environment["know"], **known}}
    return record.model_copy(update={"environment": facts})
