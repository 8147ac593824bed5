"""Examines an implementation on inputs it has not seen: right by the float64 reference, and its inputs left alone."""

from __future__ import annotations

import hashlib
import math
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.measure.clocks import Stopwatch, spin
from orchestrator.measure.memory import release
from orchestrator.measure.protocol import collector_off
from orchestrator.outcome import Outcome
from orchestrator.usercode.implementation import AttemptEndedError, Implementation, in_brief
from orchestrator.usercode.oom import is_out_of_memory
from orchestrator.verify.difference import (
    FLOORS,
    Agreement,
    Budget,
    Difference,
    compare,
    judge,
    yardstick_difference,
)
from orchestrator.verify.memoization import MemoizationCheck, refill
from orchestrator.verify.output_rows import ShapeError, WholeAnswer
from orchestrator.verify.torch_settings import own_settings
from orchestrator.workload import Config, Expected, Problem, Workload

if TYPE_CHECKING:
    import torch

    Tensors = tuple[torch.Tensor, ...]

MAX_REFERENCE_FLOPS = {"cpu": 20e9, "cuda": 2e12}  # a second or two of float64
HOPELESS = 0.5  # an error that no rounding explains: no need to ask what rounding would give
AGAIN = 2  # further calls that are judged, on inputs that the implementation has met ...
AGAIN_S = 0.2  # ... and after these many seconds in calls no more of them
SHARED = "a call writes its output where that of the call before lies: keep a copy of it, which is not timed"


def derived_seed(seed: int, *purpose: object) -> int:
    """A seed of 62 bits for one purpose, from the trial's."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2


def state_seed(seed: int) -> int:
    """The seed of the parameters that the harness loads, from the trial's."""
    return derived_seed(seed, "state")


@dataclass(frozen=True)
class CallOutput:
    """What one call gave.

    Attributes:
        outputs: by name, copied on the current stream as soon as the call returned.
        upstream: the gradient it was propagated from, where gradients belong to a call.
        own: the tensor that the implementation returned, in its own memory.
        watches: how long it took: the forward call, and the gradients where they belong to it.
    """

    outputs: dict[str, torch.Tensor]
    upstream: torch.Tensor | None
    own: torch.Tensor
    watches: tuple[Stopwatch, ...]

    def seconds(self) -> float:
        """How long it took in all; waits for the device."""
        return sum(watch.seconds() for watch in self.watches)


@dataclass(frozen=True)
class Verifier:
    """Compares what a subject computes with what its workload says is right.

    Attributes:
        params: the validated params of the trial.
        tolerance: largest relative error of a block; None: derived, see measurement.md.
        max_flops: above this many operations the reference answers for sampled rows; None: by device.
        seed: the trial's.
    """

    workload: Workload
    params: Any
    subject: Implementation
    tolerance: float | None
    max_flops: float | None
    seed: int

    def inputs(self, *purpose: object) -> Tensors:
        """Inputs for one purpose: the same every time, other than those for any other purpose."""
        with own_settings():
            drawn = self.workload.inputs(self.subject.config, self.subject.form, derived_seed(self.seed, *purpose))
        return tuple(tensor.requires_grad_() for tensor in drawn) if self.subject.backward else tuple(drawn)

    def examine(self, purpose: str, *, into: Tensors | None = None, share: float = 1.0) -> Agreement:
        """Call the subject on inputs drawn for `purpose` and judge the answer.

        Args:
            purpose: names the inputs; each purpose has its own.
            into: tensors that were used before; the fresh inputs are written into them, behind the back of anything
                that remembers answers by the identity, the address or the version of a tensor. Then it is called again
                on the same values, too: right each time, and not much faster than at first.
            share: of the reference's limit of operations; beyond it rows are sampled.

        Raises:
            AttemptEndedError: the subject raised, returned something of the wrong shape, or changed its inputs; or the
                harness itself ran out of memory, on the device, on the host, and for a sample of rows too.
        """
        return self._anywhere(share, lambda on_host, flops: self._examine(purpose, into, on_host, flops))

    def judge_timed(self, out: torch.Tensor, purpose: tuple[object, ...], share: float) -> Agreement:
        """The verdict on an output that was computed while calls were timed, on inputs drawn for `purpose`.

        Raises:
            AttemptEndedError: as by `examine`.
        """
        return self._anywhere(share, lambda on_host, flops: self._judge_timed(out, purpose, on_host, flops))

    def _anywhere(self, share: float, examine: Callable[[bool, float], Agreement]) -> Agreement:
        """What an examination says, tried on the device, then on the host, then for a sample of rows there.

        Python's collector is off, as it is while calls are timed: an implementation cannot tell the two apart by it.
        """
        shortage = None
        for on_host, max_flops in self._places(share):
            try:
                with collector_off(collect=False):
                    return examine(on_host, max_flops)
            except ShapeError as error:
                raise AttemptEndedError(Outcome.FAILED, "InvalidResult", str(error)) from None
            except Exception as error:
                if not _is_shortage(error):
                    raise
                shortage = _as_shortage(error)
            release(self.subject.config.device)
        raise shortage or AssertionError("there is always a place to try")

    def _judge_timed(
        self, out: torch.Tensor, purpose: tuple[object, ...], on_host: bool, max_flops: float
    ) -> Agreement:
        problem = self._problem(purpose, max_flops)
        if on_host:
            problem = _to_host(problem)
        with own_settings():
            if self.subject.backward:
                problem = replace(problem, upstream=self._upstream(problem, out))
            inputs = tuple(tensor.detach() for tensor in problem.inputs)
            asked = replace(problem, inputs=inputs)
            expected = {"output": as_expected(self.workload.reference(asked))["output"]}
            return self._judge({"output": out}, expected, asked)

    def _places(self, share: float) -> Iterator[tuple[bool, float]]:
        """Where to compute the reference and how much of it: (on the host, max_flops), in the order to be tried."""
        kind = self.subject.config.device.type
        most = self.max_flops or MAX_REFERENCE_FLOPS[kind]
        yield kind == "cpu", share * most
        host = share * min(most, MAX_REFERENCE_FLOPS["cpu"])
        if kind != "cpu":
            yield True, host
        yield True, host / 64

    def _examine(self, purpose: str, into: Tensors | None, on_host: bool, max_flops: float) -> Agreement:
        problem = self._problem((purpose,), max_flops)
        drawn = problem.inputs
        if on_host:
            problem = _to_host(problem)
        used = drawn if into is None else refill(into, drawn)
        del drawn  # on the device, where the host answers
        if problem.inputs[0] is used[0]:  # what the subject is given is not what the reference will trust
            used = tuple(tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in used)
        answer = self._answer(used, problem)
        self._unchanged(used, problem.inputs)
        inputs = tuple(tensor.detach() for tensor in problem.inputs)
        upstream = None if answer.upstream is None else answer.upstream.to(inputs[0].device)
        with own_settings():
            asked = replace(problem, inputs=inputs, upstream=upstream)
            expected = as_expected(self.workload.reference(asked))
            verdict = self._judge(answer.outputs, expected, asked)
        if into is None and verdict.ok:
            return replace(verdict, notes=_sampled(answer.outputs["output"], expected["output"]))
        if into is None or not verdict.ok:
            return verdict
        answer.outputs.clear()

        def judge(other: CallOutput) -> Agreement:
            same = compare(other.outputs, expected, verdict.budget)[0]
            return same if same.ok else self._judge(other.outputs, expected, asked)

        try:
            return self._again(used, problem, answer, judge)
        except Exception as error:
            if not _is_shortage(error):
                raise
            _as_shortage(error)  # no room beside what the harness holds, which is not the implementation's fault
            return verdict

    def _again(
        self, used: Tensors, problem: Problem, first: CallOutput, judge: Callable[[CallOutput], Agreement]
    ) -> Agreement:
        """The verdict on further calls on the same inputs, and on how long they took beside the first."""
        seconds: list[float] = []
        for _ in range(AGAIN):
            spin(self.subject.config.device)
            answer = self._answer(used, problem)
            shared = _share_memory(first.own, answer.own)
            with own_settings():
                verdict = judge(answer)
            if not verdict.ok:
                why = tuple(f"right once, and wrong when called again: {text}" for text in verdict.complaints)
                return replace(verdict, complaints=why)
            seconds.append(answer.seconds())
            del answer
            if sum(seconds) > AGAIN_S:
                break
        recall = MemoizationCheck(self.subject, lambda number: self.inputs("again", number), self._some_upstream)
        wrong = recall.complaint(first.seconds(), seconds, used)
        return replace(verdict, notes=(SHARED,) if shared else (), complaints=(wrong,) if wrong else ())

    def _problem(self, purpose: tuple[object, ...], max_flops: float) -> Problem:
        import torch

        subject, inputs = self.subject, self.inputs(*purpose)
        state: Mapping[str, torch.Tensor] = {}
        if self.workload.state is not None:
            with own_settings():
                state = self.workload.state(subject.config, subject.form, state_seed(self.seed))
        seed = derived_seed(self.seed, *purpose, "rows")
        return Problem(subject.config, subject.form, inputs, state, torch.float64, max_flops, seed)

    def _answer(self, inputs: Tensors, problem: Problem) -> CallOutput:
        """What the subject answers."""
        device = self.subject.config.device
        with Stopwatch(device) as forward:
            out = self.subject.output(inputs)
        actual = {"output": out.detach().clone()}
        if not self.subject.backward:
            return CallOutput(actual, None, out, (forward,))
        with own_settings():
            upstream = self._upstream(problem, out)
        with Stopwatch(device) as backward:
            grads = self.subject.gradients(out, inputs, upstream)
        grads = {name: grad.detach().clone() for name, grad in grads.items()}
        return CallOutput(actual | grads, upstream, out.detach(), (forward, backward))

    def _some_upstream(self, out: torch.Tensor, number: int) -> torch.Tensor:
        return random_like(out, derived_seed(self.seed, "again", number, "upstream"))

    def _upstream(self, problem: Problem, out: torch.Tensor) -> torch.Tensor:
        if self.workload.upstream is None:
            return random_like(out, problem.seed)
        return self.workload.upstream(problem, tuple(out.shape)).to(out.device)

    def unchanged(self, inputs: Tensors, *purpose: object) -> None:
        """That inputs drawn for `purpose` still are what was drawn.

        Raises:
            AttemptEndedError: mismatch, naming the input that a call changed.
        """
        self._unchanged(inputs, self.inputs(*purpose))

    def _unchanged(self, used: Tensors, pristine: Tensors) -> None:
        import torch

        for number, (given, drawn) in enumerate(zip(used, pristine, strict=True)):
            if not torch.equal(given.detach().to(drawn.device), drawn.detach()):
                names = self.subject.input_names
                name = names[number] if number < len(names) else str(number)
                raise AttemptEndedError(Outcome.MISMATCH, "InputsChanged", f"the call changed its input {name}")

    def _judge(
        self, actual: Mapping[str, torch.Tensor], expected: Mapping[str, Expected], problem: Problem
    ) -> Agreement:
        missing = sorted(set(expected) - set(actual))
        if missing:
            raise ValueError(f"the reference answers for {', '.join(missing)}; there is only {', '.join(actual)}")
        precision = self.workload.precision(self.params)
        budget = Budget.of(self.tolerance or FLOORS[precision])
        verdict, differences = compare(actual, expected, budget)
        if verdict.ok or self.tolerance or any(one.fault for one in differences.values()) or verdict.error > HOPELESS:
            return verdict
        return judge(differences, budget.widened(self._yardstick(actual, expected, problem, precision)))

    def _yardstick(
        self,
        actual: Mapping[str, torch.Tensor],
        expected: Mapping[str, Expected],
        problem: Problem,
        precision: str,
    ) -> dict[str, Difference]:
        """What a straightforward implementation in the trial's own dtype gets wrong, on the same rows."""
        dtype = self.subject.config.__dict__.get("dtype", problem.inputs[0].dtype)
        with own_settings(precision):
            plain = as_expected(self.workload.reference(replace(problem, dtype=dtype)))
        return {
            name: yardstick_difference(name, actual[name], answer, plain[name].values)
            for name, answer in expected.items()
        }


def as_expected(answer: Any) -> dict[str, Expected]:
    """Whatever a workload's reference may answer, as rows by output name."""
    import torch

    if isinstance(answer, Mapping):
        return {name: as_expected(value)["output"] for name, value in answer.items()}
    if isinstance(answer, torch.Tensor):
        rows = answer.reshape(-1, answer.shape[-1]) if answer.ndim else answer.reshape(1, 1)
        return {"output": WholeAnswer(rows, shape=tuple(answer.shape))}
    return {"output": answer}


def random_like(tensor: torch.Tensor, seed: int) -> torch.Tensor:
    """Normal random with unit variance, of the same shape, dtype and device."""
    import torch

    generator = torch.Generator(tensor.device).manual_seed(seed)
    return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype, device=tensor.device)


def _sampled(actual: torch.Tensor, expected: Expected) -> tuple[str, ...]:
    """A note where not every row of the output was compared."""
    rows, total = len(expected.values), math.prod(actual.shape[:-1])
    if expected.index is None or rows >= total:
        return ()
    return (f"{rows} of {total} rows were compared: the whole reference is beyond verify.max_reference_flops",)


def _is_shortage(error: Exception) -> bool:
    return error.outcome is Outcome.OOM if isinstance(error, AttemptEndedError) else is_out_of_memory(error)


def _as_shortage(error: Exception) -> AttemptEndedError:
    """What to say if no other way is left; the tensors that its frames hold are let go, for the next way to use."""
    for link in (error, error.__cause__, error.__context__):
        if link is not None:
            traceback.clear_frames(link.__traceback__)
    if isinstance(error, AttemptEndedError):
        return error
    return AttemptEndedError(
        Outcome.FAILED,
        "ReferenceOutOfMemory",
        f"the harness, not the implementation, ran out of memory: {in_brief(error)}; lower verify.max_reference_flops",
    )


def _share_memory(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors that are both alive lie in one piece of memory."""
    where = one.untyped_storage().data_ptr()
    return where != 0 and where == other.untyped_storage().data_ptr()


def _to_host(problem: Problem) -> Problem:
    if problem.config.device.type == "cpu":
        return problem
    params = {name: value for name, value in problem.config.__dict__.items() if name not in ("device", "options")}
    return replace(
        problem,
        config=Config(params, "cpu", problem.config.options),
        inputs=tuple(tensor.cpu() for tensor in problem.inputs),
        state={name: tensor.cpu() for name, tensor in problem.state.items()},
        upstream=None if problem.upstream is None else problem.upstream.cpu(),
    )
