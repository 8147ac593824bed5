"""The stages of one attempt: build, first call, verify, measure, verify again, memory; its fields of a record."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator import registry
from orchestrator.ceilings import Ceilings, measure_bounds
from orchestrator.clocks import CpuClock, CudaClock, input_sets
from orchestrator.energy import run_on
from orchestrator.examiner import Examiner, random_like, state_seed
from orchestrator.measure import Measurement, measure
from orchestrator.memory import CudaPeak, Figures, HostPeak, cap, release
from orchestrator.record import Flag, Outcome, Phase
from orchestrator.subject import EndedError, Subject, answerable, build
from orchestrator.trial import Attempt
from orchestrator.verify import Verdict
from orchestrator.witness import ENERGY
from orchestrator.workload import Config, Work

if TYPE_CHECKING:
    import torch

AFTER_SHARE = 1 / 16  # verification after timing looks for staleness, which a sample of rows shows


@dataclass
class Stages:
    """One attempt on its way through the phases; `energy` says when its energy was to be read, if it was."""

    attempt: Attempt
    enter: Callable[[Phase], None]
    energy: dict[str, Any] | None = None

    def to_end(self) -> dict[str, Any]:
        """The fields of an ok record.

        Raises:
            EndedError: every other outcome.
        """
        host = HostPeak()
        self._resolve()
        device = self._device()
        card = CudaPeak(device) if device.type == "cuda" else None
        self._capped(True)
        host.start()
        subject = self._build()
        first_call_ms, output_bytes = self._first_call(subject, host)
        retries = 0 if card is None else card.allocation_retries()
        memory = host.figures() if card is None else {}
        self._capped(False)

        self.enter(Phase.VERIFY)
        examiner = self._examiner(subject)
        before = _agrees(examiner.examine("before"))
        measurement = self._measured(subject, examiner, output_bytes)
        rates = self._rates(measurement.summary.median / 1000)

        self.enter(Phase.MEMORY)
        if card is not None:
            self._capped(True)
            retries -= card.allocation_retries()
            memory = self._card_memory(subject, examiner, card)
            retries += card.allocation_retries()
        figures = {**rates, **memory, "first_call_ms": first_call_ms}
        fields = _fields(measurement, before, figures, retries)
        return fields if self.energy is None else {**fields, "environment": {ENERGY: self.energy}}

    def _resolve(self) -> None:
        """Import the workload and the build function, which may be a user's files, and check the params."""
        attempt, trial = self.attempt, self.attempt.trial
        with answerable():
            self.workload = registry.workload(attempt.workload, attempt.base_dir)
            self.build_function, self.form = registry.build_function(trial.use, attempt.base_dir)
        given = dict(trial.params)
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

    def _build(self) -> Subject:
        seed = state_seed(self.attempt.seed)
        return build(self.workload, self.params, self.config, self.build_function, self.form, seed)

    def _examiner(self, subject: Subject) -> Examiner:
        verify = self.attempt.verify
        return Examiner(
            self.workload, self.params, subject, verify.tolerance, verify.max_reference_flops, self.attempt.seed
        )

    def _first_call(self, subject: Subject, host: HostPeak) -> tuple[float, int]:
        """Milliseconds of the first call, plans and compilation included, and the bytes of its output."""
        self.enter(Phase.FIRST_CALL)
        host.mark()
        with answerable():  # inputs that do not fit are as much its end as a call that does not
            inputs = self._examiner(subject).inputs("first")
        host.inputs_made()
        _synchronize(self.config.device)
        start = time.perf_counter()
        out = subject.output(inputs)
        with answerable():
            if subject.backward:
                subject.gradients(out, inputs, random_like(out, self.attempt.seed))
            _synchronize(self.config.device)
        return 1000 * (time.perf_counter() - start), out.numel() * out.element_size()

    def _measured(self, subject: Subject, examiner: Examiner, output_bytes: int) -> Measurement:
        """Time it on rotated inputs, then write fresh values into inputs that were timed and verify again."""
        self.enter(Phase.MEASURE)
        first = examiner.inputs("timed", 0)
        measurement = self._timed(subject, examiner, first, output_bytes)
        _agrees(examiner.examine("after", into=first, share=AFTER_SHARE), "on fresh inputs after timing: ")
        return measurement

    def _timed(
        self, subject: Subject, examiner: Examiner, first: tuple[torch.Tensor, ...], output_bytes: int
    ) -> Measurement:
        device = self.config.device
        count = input_sets(output_bytes + sum(tensor.numel() * tensor.element_size() for tensor in first), device)
        try:
            return self._clocked(subject, examiner, first, count)
        except EndedError as ended:
            if ended.outcome is not Outcome.OOM or count == 1:
                raise
        release(device)  # the rotated inputs may have taken what it needed: without them, then
        return self._clocked(subject, examiner, first, 1)

    def _clocked(
        self, subject: Subject, examiner: Examiner, first: tuple[torch.Tensor, ...], count: int
    ) -> Measurement:
        import torch

        device, protocol = self.config.device, self.attempt.protocol
        with answerable(), torch.set_grad_enabled(subject.backward):
            sets = [first, *(examiner.inputs("timed", number) for number in range(1, count))]
            upstream = self._upstream(subject, first)
            calls = [subject.timed(inputs, upstream) for inputs in sets]
            clock = CudaClock(device, cold=protocol.cold_cache) if device.type == "cuda" else CpuClock()
            measurement = measure(calls, protocol, clock, calls_made=2)
            if self.attempt.energy and device.type == "cuda":
                self.energy = run_on(calls, measurement.summary.median / 1000, self._work().tokens)
        for number, inputs in enumerate(sets):
            examiner.unchanged(inputs, "timed", number)
        return measurement

    def _upstream(self, subject: Subject, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor | None:
        return random_like(subject.output(inputs), self.attempt.seed).detach() if subject.backward else None

    def _card_memory(self, subject: Subject, examiner: Examiner, card: CudaPeak) -> Figures:
        import torch

        inputs = examiner.inputs("memory")
        call = subject.timed(inputs, self._upstream(subject, inputs))
        with answerable(), torch.set_grad_enabled(subject.backward):
            return card.figures(call)

    def _rates(self, seconds: float) -> Figures:
        """Useful work per second, and the share of the device's ceiling that this is."""
        work = self._work()
        return {
            "throughput_tokens_per_s": None if work.tokens is None else work.tokens / seconds,
            "tflops_per_s": work.flops / seconds / 1e12,
            "gb_per_s": work.bytes / seconds / 1e9,
            "ceiling_share": self._plausible_share(work, seconds),
        }

    def _work(self) -> Work:
        return self.workload.work(self.params, self.form or self.workload.forms[0])

    def _plausible_share(self, work: Work, seconds: float) -> float | None:
        """The share of this device's ceiling that the median call reached; None where the ceiling is not known.

        Raises:
            EndedError: implausible, also by ceilings measured again just now, undisturbed by what disturbed the first.
        """
        if self.attempt.ceilings is None:
            return None
        ceilings = Ceilings.model_validate(self.attempt.ceilings)
        precision, gpus = self.workload.precision(self.params), max(1, self.attempt.resources.gpus)
        if ceilings.impossible(work, seconds, precision, gpus):
            self._capped(False)
            ceilings = ceilings.merged(measure_bounds(self.attempt.device, [precision]))
        if reason := ceilings.impossible(work, seconds, precision, gpus):
            raise EndedError(Outcome.IMPLAUSIBLE, "Implausible", reason)
        return ceilings.share(work, seconds, precision, gpus)


def _agrees(verdict: Verdict, when: str = "") -> Verdict:
    if not verdict.ok:
        raise EndedError(Outcome.MISMATCH, "Mismatch", f"{when}{verdict}")
    return verdict


def _fields(measurement: Measurement, before: Verdict, figures: Figures, retries: int) -> dict[str, Any]:
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
