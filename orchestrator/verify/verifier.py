"""Verifies an implementation on inputs it has not seen: right by the float64 reference, and its
inputs left alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter as now
from typing import TYPE_CHECKING, Any

from orchestrator.measure.clocks import spin
from orchestrator.measure.protocol import collector_off
from orchestrator.outcome import Outcome
from orchestrator.usercode.implementation import AttemptEndedError
from orchestrator.verify.caller import Caller
from orchestrator.verify.fallback import as_shortage, is_shortage, on_host, with_fallback
from orchestrator.verify.inputs import rewrite
from orchestrator.verify.seeds import derived_seed
from orchestrator.verify.torch_settings import own_settings
from orchestrator.workload import Problem

if TYPE_CHECKING:
    import torch

    from orchestrator.verify.call import Called
    from orchestrator.verify.rule.judgement import Judgement, Reference
    from orchestrator.workload import Expected

    Tensors = tuple[torch.Tensor, ...]

AGAIN = 2  # further calls that are judged, on inputs that the implementation has met
FEW_ROWS = 1 / 32  # of the reference's FLOPs: for draws, each of which costs several references
STRUCTURES_S = 10.0  # of inputs with structure, after which no further kind is tried
SHARED = "a call writes its output where that of the call before lies: keep a copy of it, which is not timed"
SHAPES_FOLLOW = (
    "the shapes of the inputs follow the seed: they are given anew, not rewritten in place"
)


@dataclass
class Verifier:
    """Compares what an implementation computes with what its workload says is right.

    Attributes:
        caller: of the implementation.
        tolerance: relative error of a block that replaces the rule; None: the rule.
        max_flops: above this many operations the reference answers for sampled rows; None: by
            device.
        tried: the kinds of inputs with structure that were tried.
    """

    caller: Caller
    tolerance: float | None
    max_flops: float | None
    tried: list[str] = field(default_factory=list)
    _gradients_answered: bool | None = None
    _left_out: tuple[str, ...] = ()
    _first: Reference | None = None

    def verify(self, purpose: str, *, structures: bool = False, share: float = 1.0) -> Judgement:
        """Call the implementation on inputs drawn for `purpose`, and judge its outputs.

        Draws of the reference, and inputs with structure, are computed for few of the rows. Where
        there are more, these are compared, too, by the noise that the few have.

        Args:
            purpose: names the inputs; each purpose has its own.
            structures: whether inputs with structure, made from these, are tried, too.
            share: of the reference's limit of operations; beyond it rows are sampled.

        Raises:
            AttemptEndedError: the implementation raised, returned something of the wrong kind, or
                changed its inputs; or the harness itself ran out of memory, on the device, on the
                host, and for a sample of rows too.
        """

        def verified(host: bool, flops: float) -> Judgement:
            few = flops * FEW_ROWS
            verdict, reference, called = self._on_own_inputs((purpose,), host, few)
            if verdict.ok and reference.is_sampled:
                verdict = self._on_more_rows((purpose,), host, flops, verdict, reference)
            elif verdict.ok:
                verdict = replace(
                    verdict, notes=(*verdict.notes, *_sampled(called, reference.expected))
                )
            if self._left_out:
                text = f"gradients that the reference leaves out, not compared: {', '.join(self._left_out)}"
                verdict = replace(verdict, notes=(*verdict.notes, text))
            if (
                verdict.ok
                and structures
                and self.tolerance is None
                and self.caller.workload.judge is None
            ):
                return self._with_structures(reference, called.upstream, host, verdict)
            return verdict

        return self._anywhere(share, verified)

    def verify_rewritten(self, purpose: str, into: Tensors, share: float) -> Judgement:
        """The same on inputs written into used tensors, and again on the same values.

        They are written behind the back of anything that remembers outputs by the identity, the
        address or the version of a tensor.

        Raises:
            AttemptEndedError: as by `verify`.
        """

        def verified(host: bool, flops: float) -> Judgement:
            problem = self.caller.problem((purpose,), flops)
            used = rewrite(into, problem.inputs)
            verdict, reference, called = self._on(
                problem, used or self.caller.copied(problem), host
            )
            if not verdict.ok:
                return verdict
            if used is None:
                verdict = replace(verdict, notes=(*verdict.notes, SHAPES_FOLLOW))
            try:
                return self._again(
                    used or self.caller.copied(problem), problem, called, reference, verdict
                )
            except Exception as error:
                if not is_shortage(error):
                    raise
                # no room beside what the harness holds: not the implementation's fault
                as_shortage(error)
                return verdict

        return self._anywhere(share, verified)

    def judge_timed(
        self,
        returned: Any,
        inputs: Tensors,
        before: Tensors,
        purpose: tuple[object, ...],
        share: float,
    ) -> Judgement:
        """The verdict on what a call returned while calls were timed.

        Args:
            returned: by the call.
            inputs: what it was called with, and what it left of them.
            before: copies of their values before the call.
            purpose: seeds the sample of rows.
            share: of the reference's limit of operations.

        Raises:
            AttemptEndedError: as by `verify`.
        """
        from orchestrator.verify.call import matched, tensors_of

        def judged(host: bool, flops: float) -> Judgement:
            problem = replace(
                self.caller.problem(purpose, flops), inputs=tuple(one.detach() for one in before)
            )
            reference = self._reference(problem, host, None)
            found = tensors_of(returned, self.caller.implementation)
            outputs = matched(
                returned, found, self._returned(reference), self.caller.implementation, inputs
            )
            outputs |= self._written(inputs, reference)
            with own_settings():
                return self._judge_later(
                    reference, {name: one.detach() for name, one in outputs.items()}
                )

        return self._anywhere(share, judged)

    def _anywhere(self, share: float, verify: Callable[[bool, float], Judgement]) -> Judgement:
        """What a verification says, tried on the device, then on the host, then for a sample of
        rows there.

        Python's collector is off, as it is while calls are timed: an implementation cannot tell the
        two apart by it.
        """
        from orchestrator.verify.expected import IncompleteReferenceError
        from orchestrator.verify.rule.output_rows import ShapeError
        from orchestrator.verify.rule.outputs import UnknownDtypeError

        def quietly(host: bool, flops: float) -> Judgement:
            with collector_off(collect=False):
                return verify(host, flops)

        try:
            return with_fallback(
                quietly, self.caller.implementation.config.device, self.max_flops, share
            )
        except (ShapeError, UnknownDtypeError) as error:
            raise AttemptEndedError(Outcome.FAILED, "InvalidResult", str(error)) from None
        except IncompleteReferenceError as error:
            raise AttemptEndedError(Outcome.FAILED, "IncompleteReference", str(error)) from None

    def _on_own_inputs(
        self, purpose: tuple[object, ...], host: bool, flops: float
    ) -> tuple[Judgement, Reference, Called]:
        problem = self.caller.problem(purpose, flops)
        return self._on(problem, self.caller.copied(problem), host)

    def _on(
        self, problem: Problem, used: Tensors, host: bool
    ) -> tuple[Judgement, Reference, Called]:
        """One call on inputs that hold the problem's values, judged by its reference."""
        called = self.caller.called(used, problem)
        reference = self._reference(problem, host, called.upstream)
        outputs = self._outputs(called, used, reference)
        with own_settings():
            verdict = self._judge_later(reference, outputs)
        self._first = self._first or reference
        return verdict, reference, called

    def _on_more_rows(
        self,
        purpose: tuple[object, ...],
        host: bool,
        flops: float,
        verdict: Judgement,
        few: Reference,
    ) -> Judgement:
        """The verdict on another call, by all the rows that the reference's limit allows and the
        noise of the few.
        """
        problem = self.caller.problem(purpose, flops)
        used = self.caller.copied(problem)
        called = self.caller.called(used, problem)
        reference = self._reference(problem, host, called.upstream)
        outputs = self._outputs(called, used, reference)
        if self.tolerance is not None or self.caller.workload.judge is not None:
            return self._judge(reference, outputs)
        with own_settings():
            found = few.judge_by_this_noise(reference, outputs)
        notes = (*verdict.notes, *_sampled(called, reference.expected))
        return replace(found, share=max(found.share, verdict.share), notes=notes)

    def _again(
        self,
        used: Tensors,
        problem: Problem,
        first: Called,
        reference: Reference,
        verdict: Judgement,
    ) -> Judgement:
        """The verdict on further calls on the same inputs."""
        shared = False
        for _ in range(AGAIN):
            spin(self.caller.implementation.config.device)
            self.caller.put_back(used, problem.inputs)
            called = self.caller.called(used, problem, first.upstream)
            shared = shared or any(
                _share_memory(one, other) for one in first.own for other in called.own
            )
            with own_settings():
                later = self._judge_later(reference, self._outputs(called, used, reference))
            if not later.ok:
                why = tuple(
                    f"right once, and wrong when called again: {text}" for text in later.complaints
                )
                return replace(later, complaints=why)
            del called
        return replace(verdict, notes=(*verdict.notes, *((SHARED,) if shared else ())))

    def _with_structures(
        self, own: Reference, upstream: Mapping[str, torch.Tensor], host: bool, verdict: Judgement
    ) -> Judgement:
        """The verdict on inputs with structure that the reference allows; `verdict` where all are
        right.
        """
        from orchestrator.verify.rule.structured import STRUCTURES

        started = now()
        for kind in STRUCTURES:
            if self.caller.workload.stress is not None and kind not in self.caller.workload.stress:
                continue
            if now() - started > STRUCTURES_S:
                text = f"{kind} inputs were not tried: the reference takes too long"
                verdict = replace(verdict, notes=(*verdict.notes, text))
                continue
            found = self._on_structure(kind, own, upstream, host)
            if found is not None and not found.ok:
                why = tuple(f"on {kind} inputs: {text}" for text in found.complaints)
                return replace(found, complaints=why)
        return verdict

    def _on_structure(
        self, kind: str, own: Reference, upstream: Mapping[str, torch.Tensor], host: bool
    ) -> Judgement | None:
        """The verdict on one kind of inputs with structure; None where the reference does not allow
        it.
        """
        from orchestrator.verify.rule.structured import (
            FINITE_ONLY,
            LARGE,
            is_comparable,
            larger,
            structured,
        )

        inputs = structured(kind, own.problem.inputs)
        if inputs is None:
            return None
        if kind == LARGE:
            with own_settings():
                inputs = larger(own.problem.inputs, own.of_inputs) or inputs
        problem = replace(own.problem, inputs=inputs)
        used = self.caller.copied(problem)
        called = self.caller.called(used, problem, upstream)
        try:
            reference = self._reference(problem, host, upstream, own_inputs=False)
        except (
            RuntimeError,
            ValueError,
            ArithmeticError,
        ) as error:  # outside of the problem's domain
            if is_shortage(error):
                raise
            return None
        outputs = self._outputs(called, used, reference)
        for name, answer in reference.expected.items():
            if not is_comparable(
                kind, answer.values, own.expected[name].values, outputs[name].dtype
            ):
                return None
        self.tried.append(kind)
        with own_settings():
            return reference.judge_structured(outputs, finite_only=kind in FINITE_ONLY)

    def _judge_later(self, reference: Reference, outputs: Mapping[str, torch.Tensor]) -> Judgement:
        """By the noise that was drawn for the first verification; draws of its own only before
        anything is refused.
        """
        first = self._first
        if (
            self.tolerance is None
            and self.caller.workload.judge is None
            and first is not None
            and first.draws
        ):
            found = first.judge_by_this_noise(reference, outputs)
            if found.ok:
                return found
        return self._judge(reference, outputs)

    def _judge(self, reference: Reference, outputs: Mapping[str, torch.Tensor]) -> Judgement:
        """By the workload's own judge where it has one, by a stated tolerance where there is one,
        else by the rule.
        """
        if self.tolerance is not None:
            return reference.judge_by_tolerance(outputs, self.tolerance)
        if self.caller.workload.judge is not None:
            from orchestrator.verify.own_judge import judged

            return judged(self.caller.workload.judge, reference, outputs)
        return reference.judge(outputs)

    def _reference(
        self,
        problem: Problem,
        host: bool,
        upstream: Mapping[str, torch.Tensor] | None,
        *,
        own_inputs: bool = True,
    ) -> Reference:
        from orchestrator.verify.expected import Gradients, compute
        from orchestrator.verify.rule.judgement import Reference, working_precision

        if host:
            problem = on_host(problem)
        problem = replace(problem, inputs=tuple(one.detach() for one in problem.inputs))
        gradients = None
        if self.caller.implementation.backward and upstream is not None:
            if len(upstream) == 1:
                problem = replace(
                    problem, upstream=next(iter(upstream.values())).to(problem.inputs[0].device)
                )
            names = self.caller.implementation.names(len(problem.inputs))
            gradients = Gradients(
                names,
                tuple(self.caller.implementation.parameters()),
                upstream,
                self._gradients_answered,
            )

        def answers(asked: Problem) -> Mapping[str, Expected]:
            return compute(self.caller.workload, asked, gradients)

        dtypes = (
            *(one.dtype for one in problem.inputs),
            *(dtype for _, dtype in self.caller.layout),
        )
        precision = working_precision(self.caller.workload.precision(self.caller.params), dtypes)
        with own_settings():
            reference = Reference(
                answers,
                problem,
                precision,
                derived_seed(self.caller.seed, "draws"),
                own_inputs=own_inputs,
            )
        if gradients is not None:
            self._gradients_answered = gradients.answered
            self._left_out = gradients.left_out
        return reference

    def _outputs(
        self, called: Called, inputs: Tensors, reference: Reference
    ) -> dict[str, torch.Tensor]:
        """All that the reference answers for: what the call returned, gradients, and inputs that it
        wrote.
        """
        from orchestrator.verify.call import matched

        found = matched(
            called.returned,
            called.copies,
            self._returned(reference),
            self.caller.implementation,
            inputs,
        )
        found |= called.gradients
        found |= {name: one.clone() for name, one in self._written(inputs, reference).items()}
        missing = sorted(set(reference.expected) - set(found))
        if missing:
            raise ValueError(
                f"the reference answers for {', '.join(missing)}; there is only {', '.join(found)}"
            )
        return found

    def _returned(self, reference: Reference) -> dict[str, Expected]:
        """What the reference says of what a call returns."""
        return {
            name: one
            for name, one in reference.expected.items()
            if not name.startswith("grad_") and name not in self.caller.workload.writes
        }

    def _written(self, inputs: Tensors, reference: Reference) -> dict[str, torch.Tensor]:
        """The inputs that a call may change, as it left them."""
        names = self.caller.implementation.names(len(inputs))
        pairs = zip(names, inputs, strict=True)
        return {
            name: one.detach()
            for name, one in pairs
            if name in self.caller.workload.writes and name in reference.expected
        }


def _sampled(called: Called, expected: Mapping[str, Expected]) -> tuple[str, ...]:
    """A note where not every row of the outputs was compared."""
    rows = total = 0
    for name, answer in expected.items():
        actual = called.copies.get(name)
        if answer.index is not None and actual is not None:
            rows += len(answer.values)
            total += math.prod(actual.shape[:-1])
    if rows >= total:
        return ()
    return (
        f"{rows} of {total} rows were compared: the whole reference is beyond verify.max_reference_flops; "
        f"a single wrong row is missed with a chance of {1 - rows / total:.0%}",
    )


def _share_memory(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors that are both alive lie in one piece of memory."""
    where = one.untyped_storage().data_ptr()
    return where != 0 and where == other.untyped_storage().data_ptr()
