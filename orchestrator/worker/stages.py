"""The stages of one attempt: build, first call, verify, measure, verify again, memory; its fields of a record."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from orchestrator.machine.ceilings import Ceilings
from orchestrator.machine.microbenchmarks import measure_bounds
from orchestrator.measure.clocks import Clock, CpuClock, CudaClock, input_sets, learnable
from orchestrator.measure.energy import ENERGY, WINDOW_S, run_warm
from orchestrator.measure.memory import NOTHING_KNOWN, CudaPeak, Figures, HostPeak, cap, release
from orchestrator.measure.protocol import Measurement, collector_off, measure
from orchestrator.outcome import Flag, Outcome, Phase
from orchestrator.trial import Attempt
from orchestrator.usercode import workloads
from orchestrator.usercode.implementation import AttemptEndedError, Implementation, build, user_code
from orchestrator.usercode.workload_file import FileWorkload
from orchestrator.verify.difference import Agreement
from orchestrator.verify.verifier import Verifier, random_like, state_seed
from orchestrator.workload import Config, Work

if TYPE_CHECKING:
    import torch

ONCE_MORE = 3  # calls of a block whose last output is looked at
LEARNT = "the inputs are so small that a processor may have learnt them, though {} sets take turns"
AFTER_SHARE = 1 / 16  # verification after timing looks for staleness, which a sample of rows shows


@dataclass
class Stages:
    """One attempt on its way through the phases.

    Attributes:
        energy: between which moments its energy was to be read, if it was.
        figures: by name, as they become known.
        notes: what verification found that is no fault.
        subject, examiner, before: there once it is `ready`.
    """

    attempt: Attempt
    enter: Callable[[Phase], None]
    energy: dict[str, Any] | None = None
    figures: Figures = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    _sets: list[tuple[torch.Tensor, ...]] = field(default_factory=list)
    _counted: Work | None = None

    def to_end(self) -> dict[str, Any]:
        """The fields of an ok record.

        Raises:
            AttemptEndedError: every other outcome.
        """
        self.ready()
        return self.measured_alone()

    def ready(self) -> None:
        """Build it, call it, and have it agree with the reference.

        Raises:
            AttemptEndedError: it does not get that far.
        """
        self._host = host = HostPeak()
        self._resolve()
        device = self._device()
        self.card = CudaPeak(device) if device.type == "cuda" else None
        self._capped(True)
        host.start()
        self.subject = self._build()
        first_call_ms = self._first_call(host)
        self._retries = 0 if self.card is None else self.card.allocation_retries()
        memory = host.figures() if self.card is None else NOTHING_KNOWN
        self.figures = {**memory, "first_call_ms": first_call_ms}
        self._capped(False)

        self.enter(Phase.VERIFY)
        self.examiner = self._examiner(self.subject)
        self.before = _agrees(self.examiner.examine("before"))

    def measured_alone(self) -> dict[str, Any]:
        """Time what is ready, verify it again, see what memory it takes: the fields of an ok record.

        Raises:
            AttemptEndedError: mismatch, implausible, or what a call raised.
        """
        measurement = self._timed()
        self.verify_again()
        self.rate(measurement)
        self.enter(Phase.MEMORY)
        retries = 0
        if self.card is not None:
            self._capped(True)
            retries = self._retries - self.card.allocation_retries()
            self.figures |= self._card_memory(self.card)
            retries += self.card.allocation_retries()
        else:
            self.figures |= self._host_memory()
        return self.fields(measurement, retries)

    def rate(self, measurement: Measurement) -> None:
        """Work out the rates of a measurement.

        Raises:
            AttemptEndedError: implausible.
        """
        self.figures |= self._rates(measurement.summary.median / 1000)

    def fields(self, measurement: Measurement, retries: int = 0) -> dict[str, Any]:
        """The fields of an ok record of this measurement."""
        fields = _fields(measurement, self.before, self.figures, retries)
        fields["notes"] = (*fields["notes"], *self.before.notes, *self.notes)
        return fields if self.energy is None else {**fields, "environment": {ENERGY: self.energy}}

    def _resolve(self) -> None:
        """Import the workload and the build function, which may be a user's files, and check the params."""
        attempt, trial = self.attempt, self.attempt.trial
        with user_code():
            self.workload = workloads.find(attempt.workload, attempt.base_dir)
            self.entry = workloads.loaded(trial.use, attempt.base_dir, self.workload, trial.call, trial.compile)
        self.form = self.entry.form
        given = json.loads(trial.params_of(self.workload.params))
        if "device" in self.workload.params.model_fields:
            given["device"] = attempt.device
        self.params = self.workload.params.model_validate_json(json.dumps(given))
        named = {name: getattr(self.params, name) for name in self.workload.params.model_fields if name != "device"}
        self.config = Config(named, attempt.device, trial.options)

    def _device(self) -> torch.device:
        import torch

        device = self.config.device
        if device.type == "cuda":
            torch.cuda.set_device(device.index or 0)
            torch.cuda.init()  # type: ignore[no-untyped-call]
        return device

    def _capped(self, on: bool) -> None:
        """The cap is the implementation's; the harness's reference and rotated inputs do not count against it."""
        if self.config.device.type == "cuda":
            release(self.config.device)
            cap(self.config.device, self.attempt.resources.gpu_memory_gib if on else None)

    def _build(self) -> Implementation:
        seed = state_seed(self.attempt.seed)
        return build(self.workload, self.params, self.config, self.entry, seed)

    def _examiner(self, subject: Implementation) -> Verifier:
        verify = self.attempt.verify
        return Verifier(
            self.workload, self.params, subject, verify.tolerance, verify.max_reference_flops, self.attempt.seed
        )

    def _first_call(self, host: HostPeak) -> float:
        """Milliseconds of the first call, plans and compilation included."""
        self.enter(Phase.FIRST_CALL)
        subject = self.subject
        host.mark()
        with user_code():  # inputs that do not fit are as much its end as a call that does not
            inputs = self._examiner(subject).inputs("first")
        host.inputs_made()
        _synchronize(self.config.device)
        start = perf_counter()
        out = subject.output(inputs)
        with user_code():
            if subject.backward:
                subject.gradients(out, inputs, random_like(out, self.attempt.seed))
            _synchronize(self.config.device)
        seconds = perf_counter() - start
        self._bytes_per_set = sum(tensor.numel() * tensor.element_size() for tensor in (out, *inputs))
        return 1000 * seconds

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

    def forget_inputs(self) -> None:
        """Give back what the inputs of `calls` take."""
        self._sets = []
        release(self.config.device)

    def input_sets(self) -> int:
        """How many sets of inputs take turns."""
        return input_sets(self._bytes_per_set, self.config.device)

    def _clocked(self, count: int) -> Measurement:
        import torch

        attempt, clock = self.attempt, self.clock()
        reads_energy = attempt.energy and self.config.device.type == "cuda"
        self.enter(Phase.WARM_UP if reads_energy else Phase.MEASURE)
        with user_code(), torch.set_grad_enabled(self.subject.backward):
            calls = self.calls(count)
            warmed_s = 0.0
            if reads_energy:
                self.energy = run_warm(calls, self._work().tokens)
                warmed_s = WINDOW_S
                self.enter(Phase.MEASURE)
            elif self.config.device.type == "cpu" and learnable(self._bytes_per_set, count):
                clock.notes.append(LEARNT.format(count))
            return measure(
                calls,
                attempt.protocol,
                clock,
                calls_made=2,
                warmed_s=warmed_s,
                cut_above_ms=attempt.cut_above_ms,
            )

    def calls(self, count: int) -> list[Callable[[], object]]:
        """One call on each of `count` sets of inputs, which are kept until `verify_again`."""
        self._sets = [self.examiner.inputs("timed", number) for number in range(count)]
        upstream = self._upstream(self.subject, self._sets[0])
        return [self.subject.timed(inputs, upstream) for inputs in self._sets]

    def clock(self) -> Clock:
        """A clock of the trial's device."""
        device = self.config.device
        return CudaClock(device, cold=self.attempt.protocol.cold_cache) if device.type == "cuda" else CpuClock()

    def verify_again(self) -> None:
        """That what is timed is right, the inputs it had are what they were, and fresh values get fresh answers.

        Raises:
            AttemptEndedError: mismatch.
        """
        for number, inputs in enumerate(self._sets):
            self.examiner.unchanged(inputs, "timed", number)
        _agrees(self._timed_answer(), "as it is timed: ")
        sets, self._sets = self._sets, []
        first = sets[0]
        del sets
        verdict = self.examiner.examine("after", into=first, share=AFTER_SHARE)
        self.notes = _agrees(verdict, "on fresh inputs after timing: ").notes

    def _timed_answer(self) -> Agreement:
        """The verdict on the last output of a block that is timed like any other."""
        import torch

        kept: list[torch.Tensor] = []
        call = self.subject.timed(self._sets[0], self._upstream(self.subject, self._sets[0]), kept)
        with user_code(), torch.set_grad_enabled(self.subject.backward), collector_off():
            self.clock().time([call] * ONCE_MORE)
        return self.examiner.judge_timed(kept[-1].detach(), ("timed", 0), AFTER_SHARE)

    def _upstream(self, subject: Implementation, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor | None:
        return random_like(subject.output(inputs), self.attempt.seed).detach() if subject.backward else None

    def _host_memory(self) -> Figures:
        known = {name: self.figures[name] for name in NOTHING_KNOWN}
        with user_code():
            return self._host.with_later(known, self._one_more_call())

    def _one_more_call(self) -> Callable[[], object]:
        """As it is timed, on inputs of its own."""
        import torch

        subject, inputs = self.subject, self.examiner.inputs("memory")
        call = subject.timed(inputs, self._upstream(subject, inputs))

        def made() -> object:
            with torch.set_grad_enabled(subject.backward):
                return call()

        return made

    def _card_memory(self, card: CudaPeak) -> Figures:
        call = self._one_more_call()
        with user_code():
            return card.figures(call)

    def _rates(self, seconds: float) -> Figures:
        """Useful work per second, and the share of the device's ceiling that this is.

        Raises:
            AttemptEndedError: implausible: more than the ceilings allow, or nothing that took any time.
        """
        if seconds <= 0:
            raise AttemptEndedError(Outcome.IMPLAUSIBLE, "Implausible", "half of all calls took no time at all")
        work = self._work()
        return {
            "throughput_tokens_per_s": None if work.tokens is None else work.tokens / seconds,
            "tflops_per_s": work.flops / seconds / 1e12,
            "gb_per_s": work.bytes / seconds / 1e9,
            "ceiling_share": self._plausible_share(work, seconds),
        }

    def _work(self) -> Work:
        if self._counted is None and isinstance(self.workload, FileWorkload) and self.workload.counts_work:
            self._counted = self.workload.calls.counted_work(self.config, self.examiner.inputs("work"))
        return self._counted or self.workload.work(self.params, self.form or self.workload.forms[0])

    def _plausible_share(self, work: Work, seconds: float) -> float | None:
        """The share of this device's ceiling that the median call reached; None where the ceiling is not known.

        Raises:
            AttemptEndedError: implausible, also by ceilings measured again just now, undisturbed by what
            disturbed the first.
        """
        if self.attempt.ceilings is None:
            return None
        ceilings = Ceilings.model_validate(self.attempt.ceilings)
        precision, gpus = self.workload.precision(self.params), max(1, self.attempt.resources.gpus)
        if ceilings.impossible(work, seconds, precision, gpus):
            self._capped(False)
            ceilings = ceilings.merged(measure_bounds(self.attempt.device, [precision]))
        if reason := ceilings.impossible(work, seconds, precision, gpus):
            raise AttemptEndedError(Outcome.IMPLAUSIBLE, "Implausible", reason)
        return ceilings.share(work, seconds, precision, gpus)


def _agrees(verdict: Agreement, when: str = "") -> Agreement:
    if not verdict.ok:
        raise AttemptEndedError(Outcome.MISMATCH, "Mismatch", f"{when}{verdict}")
    return verdict


def _fields(measurement: Measurement, before: Agreement, figures: Figures, retries: int) -> dict[str, Any]:
    metrics = {
        **measurement.metrics(),
        **figures,
        "relative_error": before.error,
        "error_budget": before.budget.block,
    }
    flags = (*measurement.flags, *((Flag.ALLOCATION_RETRIES.value,) if retries else ()))
    return {
        "outcome": Outcome.OK,
        "flags": flags,
        "notes": measurement.notes,
        "metrics": {name: _finite(value) for name, value in metrics.items()},
        "values_ms": measurement.values_ms,
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)
