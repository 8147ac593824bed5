"""The stages of one attempt: build, first call, verify, measure, verify again, memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.machine.ceilings import Ceilings
from orchestrator.machine.microbenchmarks import measure_bounds
from orchestrator.measure.clocks import Clock, CpuClock, CudaClock, learnable
from orchestrator.measure.energy import WINDOW_S, EnergyWindow, run_warm
from orchestrator.measure.memory import NOTHING_KNOWN, CudaPeak, Figures, HostPeak, release
from orchestrator.measure.protocol import Measurement, measure
from orchestrator.outcome import Flag, Outcome, Phase
from orchestrator.record import KernelShare
from orchestrator.trial import Attempt
from orchestrator.usercode.implementation import AttemptEndedError, Implementation, build, user_code
from orchestrator.usercode.workload_file import FileWorkload
from orchestrator.verify.caller import Caller
from orchestrator.verify.memoization import memoization
from orchestrator.verify.other_shapes import OtherShapes
from orchestrator.verify.references import SharedReferences
from orchestrator.verify.seeds import derived_seed, salted, state_seed
from orchestrator.verify.verifier import Verifier
from orchestrator.worker.as_timed import AFTER_SHARE, TimedBlocks, judged_as_timed
from orchestrator.worker.calls import RotatedInputs, first_call, one_more, sets_in_turn, upstream_of
from orchestrator.worker.compiling import times
from orchestrator.worker.compiling.chosen import chosen_configurations
from orchestrator.worker.integrity import bound_functions, check_unchanged
from orchestrator.worker.rates import bytes_alone, counted_work, gpus_of, own_metrics, rates
from orchestrator.worker.resolved import cap_memory, opened, resolve
from orchestrator.worker.trial_end import TrialEnd, agreed
from orchestrator.workload import Work

if TYPE_CHECKING:
    import torch

    Tensors = tuple[torch.Tensor, ...]

NOT_LOOKED_FOR = "memory of answers was not looked for: a call changes its inputs, or has none"
# s; a tenth of a percent to CUDA's events, and a quarter of the time of other trials' blocks
SCREENED_BLOCK_S = 0.0005
LEARNT = "the inputs are so small that a processor may have learnt them, though {} sets take turns"


@dataclass
class Stages:
    """One attempt on its way through the phases.

    Attributes:
        energy: when its calls were made for their energy to be read, if they were.
        figures: by name, as they become known.
        notes: what verification found that is no fault.
        flags: what it could not settle.
        rotated: the inputs that it is timed on, while they are needed.
        caller, first_call, verifier, before: there once it is `ready`.
        counts_flops: whether FLOPs are counted where the workload states no work, for which torch
            imports its compiler: two seconds.
        started_ms: from build to the end of the first call, once it was `called`.
        shared: references of the trials that are screened with it; None: it is not screened. A
            screened trial is verified on inputs as the workload draws them alone, without structure
            and at no other shapes: what is found right is verified by itself later.
    """

    attempt: Attempt
    enter: Callable[[Phase], None]
    energy: EnergyWindow | None = None
    figures: Figures = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    rotated: RotatedInputs = field(default_factory=RotatedInputs)
    _counted: Work | None = None
    started_ms: float = 0.0
    counts_flops: bool = True
    kernels: tuple[KernelShare, ...] = ()
    shared: SharedReferences | None = None

    def to_end(self) -> TrialEnd:
        """The end of a trial that is ok.

        Raises:
            AttemptEndedError: every other outcome.
        """
        with times.empty_caches() if self.attempt.compile_times else nullcontext():
            self.ready()
            return self.measured_alone()

    def ready(self) -> None:
        """Build it, call it, and have it agree with the reference.

        Raises:
            AttemptEndedError: it does not get that far.
        """
        self.called()
        self._capped(False)

        self.enter(Phase.VERIFY)
        verify = self.attempt.verify
        tolerance = verify.tolerance or self.workload.tolerance
        is_screened = self.shared is not None
        self.verifier = Verifier(self.caller, tolerance, verify.max_reference_flops, self.shared)
        self.before = agreed(self.verifier.verify("before", structures=not is_screened))
        if self.before.unproven:
            self.flags.append(Flag.UNPROVEN.value)
        if verify.also and not is_screened:
            caller, options = self.caller, self.attempt.trial.options
            limit = verify.max_reference_flops
            others = OtherShapes(caller, self.entry, options, tolerance, limit)
            self.notes.append(others.verify(verify.also))

    def called(self) -> None:
        """Build it and call it once.

        Raises:
            AttemptEndedError: it does not get that far.
        """
        self._bound = bound_functions()
        self._host = host = HostPeak()
        self._resolve()
        device = opened(self.config)
        self.gpu_peak = CudaPeak(device) if device.type == "cuda" else None
        self._capped(True)
        if self.attempt.compile_times:
            times.import_compilers()
        host.start()
        timer = times.Timer()
        self.subject = self._build()
        check_unchanged(self._bound)
        self.enter(Phase.FIRST_CALL)
        self.first_call = first_call(self.caller, host, device, self.seed)
        self.started_ms = timer.ms()
        self._retries = 0 if self.gpu_peak is None else self.gpu_peak.allocation_retries()
        memory = NOTHING_KNOWN
        if self.gpu_peak is None:
            memory = host.figures()
            self.notes += times.memory_note()
        self.figures = {**memory, "first_call_ms": self.first_call.ms}
        if self.attempt.compile_times:
            self.figures[times.COLD] = self.started_ms
            self.notes += times.in_words("cold", times.stage_times())

    def measured_alone(self) -> TrialEnd:
        """Time what is ready, verify it again, see what memory it takes: the end of a trial that
        is ok.

        Raises:
            AttemptEndedError: mismatch, implausible, or what a call raised.
        """
        measurement = self._timed()
        self.verify_again(measurement)
        self.rate(measurement)
        self.enter(Phase.MEMORY)
        self.notes += chosen_configurations()
        if self.attempt.profile:
            self.profile()
        retries = 0
        if self.gpu_peak is not None:
            self._capped(True)
            retries = self._retries - self.gpu_peak.allocation_retries()
            self.figures |= self._gpu_memory(self.gpu_peak)
            retries += self.gpu_peak.allocation_retries()
        else:
            self.figures |= self._host_memory()
        if self.attempt.compile_times:
            figures, notes = times.warm(self.attempt)
            self.figures |= figures
            self.notes += notes
        if self.attempt.graph and self.gpu_peak is not None and not self.workload.writes:
            from orchestrator.measure.graph import graph_figures

            graphed, notes = graph_figures(self.one_more_call(), self.config.device)
            self.figures |= graphed
            self.notes += notes
        return self.end(measurement, retries)

    def verify_again(self, measurement: Measurement) -> None:
        """That what is timed is right, the inputs it had are what they were, and fresh values get
        fresh outputs.

        Raises:
            AttemptEndedError: mismatch.
        """
        check_unchanged(self._bound)
        for number in self.rotated.to_redraw(derived_seed(self.seed, "unchanged")):
            self.caller.unchanged(self.rotated.sets[number], "timed", number)
        self._judged_as_timed(max(1, measurement.iterations_per_repetition))
        used = self.rotated.sets[-1]
        self.rotated = RotatedInputs()
        after = agreed(
            self.verifier.verify_rewritten("after", used, AFTER_SHARE),
            "on fresh inputs after timing: ",
        )
        self.notes += after.notes
        self._look_for_memory(used, min(measurement.values_ms) / 1e3)
        self.verifier.forget()
        check_unchanged(self._bound)

    def rate(self, measurement: Measurement) -> None:
        """Work out the rates of a measurement.

        Raises:
            AttemptEndedError: implausible.
        """
        work, precision = self._work(), self.workload.precision(self.params)
        seconds = measurement.summary.median / 1000

        def ceilings_again() -> Ceilings:
            self._capped(False)
            return measure_bounds(self.attempt.device, [precision])

        ceilings = self.attempt.ceilings
        if self._counted is not None:
            # of a cache all is counted, and the reference may do more than is needed
            ceilings = None
        gpus = gpus_of(self.attempt)
        found = rates(work, seconds, ceilings, precision, gpus, ceilings_again)
        own, missing = own_metrics(self.workload.metrics, work, seconds, self.attempt.trial.params)
        self.figures |= own | found.figures
        self.notes += found.notes
        self.notes += missing

    def profile(self) -> None:
        """See which kernels a call runs.

        Raises:
            AttemptEndedError: the call raised.
        """
        from orchestrator.worker.profile import kernels_in_words, profiled

        trace = Path(self.attempt.trace) if self.attempt.trace else None
        call = self.one_more_call()
        with user_code():
            self.kernels = profiled(call, self.config.device, trace)
        self.notes.append(kernels_in_words(self.kernels))

    def end(self, measurement: Measurement, retries: int = 0) -> TrialEnd:
        """The end of a trial that is ok, with this measurement."""
        if retries:
            self.flags.append(Flag.ALLOCATION_RETRIES.value)
        notes, flags = tuple(self.notes), tuple(self.flags)
        end = TrialEnd.ok(measurement, self.before, self.figures, notes, flags)
        return replace(end, kernels=self.kernels, energy=self.energy)

    @property
    def seed(self) -> int:
        """Of all that is drawn for this attempt: inputs cannot be drawn again from what a sweep
        file states.
        """
        return salted(self.attempt.seed, self.attempt.salt)

    def clock(self) -> Clock:
        """A clock of the trial's device; with shorter blocks if it is screened, which is enough to
        choose by.
        """
        device = self.config.device
        if device.type != "cuda":
            return CpuClock()
        if self.shared is not None:
            return CudaClock(device, min_block_s=SCREENED_BLOCK_S, cold=False)
        return CudaClock(device, cold=self.attempt.protocol.cold_cache)

    def input_sets(self) -> int:
        """How many sets of inputs take turns."""
        if not self.caller.one_plan_is_enough():
            return 1
        return sets_in_turn(self.first_call, self.config.device)

    def calls(self, count: int) -> list[Callable[[], object]]:
        """One call on each of `count` sets of inputs, which are kept until `verify_again`."""
        self.rotated = RotatedInputs.of(self.caller, count, self.config.device, self.seed)
        if self.rotated.prepare_ms is not None:
            self.figures["prepare_ms"] = self.rotated.prepare_ms
        return self.rotated.calls

    def forget_inputs(self) -> None:
        """Give back what the inputs of `calls` take, to the device itself."""
        self.rotated = RotatedInputs()
        release(self.config.device)

    def one_more_call(self) -> Callable[[], object]:
        """As it is timed, on inputs of its own."""
        return one_more(self.caller, self.seed)

    def upstream(self, inputs: Tensors) -> Tensors:
        """The gradients that a timed call on these inputs propagates from."""
        return upstream_of(self.subject, inputs, self.seed)

    def _resolve(self) -> None:
        """Import what the attempt names; see `resolve`."""
        found = resolve(self.attempt)
        self.workload, self.entry = found.workload, found.entry
        self.params, self.config = found.params, found.config

    def _build(self) -> Implementation:
        seed = state_seed(self.seed)
        built = build(self.workload, self.params, self.config, self.entry, seed)
        self.caller = Caller(self.workload, self.params, built, self.seed, seed)
        return built

    def _capped(self, on: bool) -> None:
        """The cap is the implementation's; the harness's reference and rotated inputs do not count
        against it.
        """
        cap_memory(self.config.device, self.attempt.resources.gpu_memory_gib if on else None)

    def _timed(self) -> Measurement:
        """Time it on rotated inputs; without them where they take the memory that a call needs."""
        count = self.input_sets()
        try:
            return self._clocked(count)
        except AttemptEndedError as ended:
            if ended.outcome is not Outcome.OOM or count == 1:
                raise
        self.forget_inputs()
        return self._clocked(1)

    def _clocked(self, count: int) -> Measurement:
        import torch

        attempt, clock = self.attempt, self.clock()
        reads_energy = attempt.energy and self.config.device.type == "cuda"
        restores = bool(self.workload.writes) and self.workload.restore
        self.enter(Phase.WARM_UP if reads_energy else Phase.MEASURE)
        with user_code(), torch.set_grad_enabled(self.subject.backward):
            calls = self.calls(count)
            warmed_s = 0.0
            if reads_energy:
                self.energy = run_warm(calls, self._work().tokens)
                warmed_s = WINDOW_S
                self.enter(Phase.MEASURE)
            elif self.config.device.type == "cpu" and learnable(self.first_call.bytes_in, count):
                clock.notes.append(LEARNT.format(count))
            return measure(
                calls,
                attempt.protocol,
                clock,
                before=self.rotated.restorer() if restores else None,
                calls_made=2,
                warmed_s=warmed_s,
                cut_above_ms=attempt.cut_above_ms,
            )

    def _judged_as_timed(self, length: int) -> None:
        rng = random.Random(derived_seed(self.seed, "as timed"))
        writes, gradients = bool(self.workload.writes), self.subject.backward
        blocks = TimedBlocks(
            self.rotated.sets, self.rotated.calls, self.clock(), length, writes, gradients, rng
        )
        for verdict in judged_as_timed(blocks, self.verifier):
            agreed(verdict, "as it is timed: ")
        self.rotated.call_first_twice(with_gradients=gradients)

    def _look_for_memory(self, used: Tensors, timed_s: float) -> None:
        """Whether calls on met values are faster than on new ones: proven it is a mismatch,
        suspected a flag.

        Raises:
            AttemptEndedError: mismatch.
        """
        if not used or self.workload.writes:
            self.notes.append(NOT_LOOKED_FOR)
            return
        self.subject.prepare(used)  # its plan may be that of the verification before
        found = memoization(self.caller, used, self.verifier.on_new_s, timed_s)
        if found.proven:
            text = f"it remembers answers by the values of its inputs: {found.text}"
            raise AttemptEndedError(Outcome.MISMATCH, "Mismatch", text)
        if found.text:
            text = f"it may remember answers by the values of its inputs: {found.text}"
            self.flags.append(Flag.UNPROVEN.value)
            self.notes.append(text)

    def _work(self) -> Work:
        """The work of a call, as its workload states it; counted where that states none."""
        if not (isinstance(self.workload, FileWorkload) and self.workload.counts_work):
            form = self.entry.form or self.workload.forms[0]
            return self.workload.work(self.params, form)
        if self._counted is None and self.counts_flops:
            self._counted, note = counted_work(
                self.workload, self.config, self.caller, self.first_call
            )
            self.notes.append(note)
        elif self._counted is None:
            self._counted = bytes_alone(self.first_call)
        return self._counted

    def _gpu_memory(self, peak: CudaPeak) -> Figures:
        call = self.one_more_call()
        with user_code():
            return peak.figures(call)

    def _host_memory(self) -> Figures:
        known = {name: self.figures[name] for name in NOTHING_KNOWN}
        with user_code():
            return self._host.with_later(known, self.one_more_call())
