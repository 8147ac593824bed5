"""Verifies an implementation on inputs it has not seen: right by the float64 reference, and its
inputs left alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter as now
from typing import TYPE_CHECKING, Any

from orchestrator.formatting import chance
from orchestrator.measure.clocks import spin
from orchestrator.measure.protocol import collector_off
from orchestrator.outcome import Outcome
from orchestrator.usercode.implementation import AttemptEndedError
from orchestrator.verify.caller import Caller
from orchestrator.verify.fallback import as_shortage, is_shortage, with_fallback
from orchestrator.verify.inputs import rewrite
from orchestrator.verify.references import References, SharedReferences
from orchestrator.verify.structures import Structures, said_of
from orchestrator.verify.torch_settings import own_settings
from orchestrator.workload import Problem

if TYPE_CHECKING:
    import torch

    from orchestrator.verify.call import Called
    from orchestrator.verify.rule.judgement import Judgement
    from orchestrator.verify.rule.reference import Reference
    from orchestrator.workload import Expected

    Tensors = tuple[torch.Tensor, ...]

AGAIN = 2  # further calls that are judged, on inputs that the implementation has met ...
AGAIN_S = 0.05  # ... and after these many seconds of them no more
FEW_ROWS = 1 / 32  # of the reference's FLOPs: for draws, each of which costs several references
SHARED = (
    "a call writes its output where that of the call before lies: keep a copy of it, which is not "
    "timed"
)
EMPTY = "the outputs have no elements: there was nothing to compare"
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
        shared: references of other trials on the same problems; None: there are none.
        on_new_s: seconds that a call on fresh values took, by the wall; 0 until `verify_rewritten`
            was asked, and with a backward pass.
    """

    caller: Caller
    tolerance: float | None
    max_flops: float | None
    shared: SharedReferences | None = None
    on_new_s: float = 0.0
    _first: Reference | None = None

    def __post_init__(self) -> None:
        self._references = References(self.caller, self.shared)
        self._structures = Structures(self._references)

    @property
    def tried(self) -> tuple[str, ...]:
        """The kinds of inputs with structure that were tried."""
        return tuple(self._structures.tried)

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
            whole = self.caller.problem((purpose,), flops)
            problem = replace(whole, max_flops=flops * FEW_ROWS)
            used = self.caller.copied(problem)
            verdict, reference, called = self._on(problem, used, host)
            if verdict.ok and reference.is_sampled:
                workload = self.caller.workload
                if self.caller.implementation.backward and workload.upstream is not None:
                    # its gradients follow the sampled rows: they must not be 0 where the reference
                    # answers
                    used = self.caller.copied(whole)
                    called = self.caller.called(used, whole)
                verdict = self._on_more_rows(whole, used, called, host, verdict, reference)
            elif verdict.ok:
                verdict = replace(
                    verdict, notes=(*verdict.notes, *_sampled(called, reference.expected))
                )
            if verdict.ok and not any(one.values.numel() for one in reference.expected.values()):
                verdict = replace(verdict, notes=(*verdict.notes, EMPTY))
            if verdict.ok and self.tolerance is None and self.caller.workload.judge is not None:
                from orchestrator.verify.own_judge import with_blind_spots

                outputs = self._references.outputs(called, used, reference)
                judge = self.caller.workload.judge
                verdict = with_blind_spots(verdict, judge, reference, outputs)
            if self._references.left_out:
                text = (
                    "gradients that the reference leaves out, not compared: "
                    f"{', '.join(self._references.left_out)}"
                )
                verdict = replace(verdict, notes=(*verdict.notes, text))
            if (
                verdict.ok
                and structures
                and self.tolerance is None
                and self.caller.workload.judge is None
            ):
                return self._structures.judge(reference, called, host, verdict)
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
            found = self._rewritten_with_structure(problem, into, host)
            if found is not None:
                return found
            used = rewrite(into, problem.inputs)
            notes = () if used is not None else (SHAPES_FOLLOW,)
            used = used or self.caller.copied(problem)
            verdict, reference, called = self._on(problem, used, host)
            if not verdict.ok:
                return verdict
            verdict = replace(verdict, notes=(*verdict.notes, *notes))

            def judge(again: Called) -> Judgement:
                outputs = self._references.outputs(again, used, reference)
                return self._judge_later(reference, outputs)

            return self._again(used, problem, called, judge, verdict)

        return self._anywhere(share, verified)

    def _rewritten_with_structure(
        self, problem: Problem, into: Tensors, host: bool
    ) -> Judgement | None:
        """The verdict of `verify_rewritten` on fresh values that have the structure which is still
        to be tried; None where that cannot tell.
        """
        structured = self._structures.for_later(problem)
        if structured is None or (used := rewrite(into, structured.inputs)) is None:
            return None
        called = self.caller.called(used, structured)
        reference = self._structures.reference(structured, host, called.upstream)
        if reference is None or reference.is_anywhere_not_finite:
            return None

        def judge(again: Called) -> Judgement:
            outputs = self._references.outputs(again, used, reference)
            found = reference.judge_structured(outputs, finite_only=False)
            return said_of(kind, found)

        kind = str(self._structures.later)
        with own_settings():
            verdict = judge(called)
        if verdict.ok and (verdict.error > verdict.explained or reference.asked_nothing):
            return None  # nothing is refused there: the noise is that large, or nothing is finite
        self._structures.tried.append(kind)
        return self._again(used, structured, called, judge, verdict) if verdict.ok else verdict

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
            problem = self.caller.problem(purpose, flops, tuple(one.detach() for one in before))
            reference = self._references.of(problem, host, None)
            found = tensors_of(returned, self.caller.implementation)
            outputs = matched(
                returned,
                found,
                self._references.returned(reference),
                self.caller.implementation,
                inputs,
            )
            outputs |= self._references.written(inputs, reference)
            with own_settings():
                return self._judge_later(
                    reference, {name: one.detach() for name, one in outputs.items()}
                )

        return self._anywhere(share, judged)

    def forget(self) -> None:
        """Let go of the first verification's reference, which would count as memory that the
        implementation takes: to be called after the last.
        """
        self._first = None

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

    def _on(
        self, problem: Problem, used: Tensors, host: bool
    ) -> tuple[Judgement, Reference, Called]:
        """One call on inputs that hold the problem's values, judged by its reference."""
        called = self.caller.called(used, problem)
        reference = self._references.of(problem, host, called.upstream)
        outputs = self._references.outputs(called, used, reference)
        with own_settings():
            verdict = self._judge_later(reference, outputs)
        self._first = self._first or reference
        if self._references.detached:
            names = ", ".join(self._references.detached)
            text = f"returned {names} without a gradient, which the reference's has"
            verdict = replace(verdict, complaints=(*verdict.complaints, text))
        return verdict, reference, called

    def _on_more_rows(
        self,
        problem: Problem,
        used: Tensors,
        called: Called,
        host: bool,
        verdict: Judgement,
        few: Reference,
    ) -> Judgement:
        """The verdict on a call by all the rows that the reference's limit allows and the noise of
        the few.
        """
        reference = self._references.of(problem, host, called.upstream)
        outputs = self._references.outputs(called, used, reference)
        if self.tolerance is not None or self.caller.workload.judge is not None:
            return self._judge(reference, outputs)
        with own_settings():
            found = few.judge_by_this_noise(reference, outputs)
            if not found.ok:
                few.draw_all()
                found = few.judge_by_this_noise(reference, outputs)
        notes = (*verdict.notes, *_sampled(called, reference.expected))
        return replace(found, share=max(found.share, verdict.share), notes=notes)

    def _again(
        self,
        used: Tensors,
        problem: Problem,
        first: Called,
        judge: Callable[[Called], Judgement],
        verdict: Judgement,
    ) -> Judgement:
        """The verdict on further calls on the same inputs; `verdict`, of the first, where they are
        right, or where there is no room for them.
        """
        overlaps, started = False, now()
        for number in range(AGAIN):
            if number and now() - started > AGAIN_S:
                break
            spin(self.caller.implementation.config.device)
            try:
                self.caller.put_back(used, problem.inputs)
                called = self.caller.called(used, problem, first.upstream)
                with own_settings():
                    later = judge(called)
            except Exception as error:
                if not is_shortage(error):
                    raise
                # no room beside what the harness holds: not the implementation's fault
                as_shortage(error)
                return verdict
            overlaps = overlaps or _share_memory(first.own, called.own)
            if not later.ok:
                why = tuple(
                    f"right once, and wrong when called again: {text}" for text in later.complaints
                )
                return replace(later, complaints=why)
            del called
        self.on_new_s = first.wall_s
        return replace(verdict, notes=(*verdict.notes, *((SHARED,) if overlaps else ())))

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
        f"{rows} of {total} rows were compared: the whole reference is beyond "
        "verify.max_reference_flops; a single wrong row is missed with a chance of "
        f"{chance(1 - rows / total)}",
    )


def _share_memory(ones: Iterable[torch.Tensor], others: Iterable[torch.Tensor]) -> bool:
    """Whether tensors of two calls, all of them alive, lie in one piece of memory."""
    places = {one.untyped_storage().data_ptr() for one in ones} - {0}
    return any(other.untyped_storage().data_ptr() in places for other in others)
