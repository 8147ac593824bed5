"""Tries an implementation on inputs with structure, which are made from the workload's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import process_time
from typing import TYPE_CHECKING

from orchestrator.outcome import Outcome
from orchestrator.usercode.implementation import AttemptEndedError
from orchestrator.verify.fallback import is_shortage
from orchestrator.verify.references import References
from orchestrator.verify.torch_settings import own_settings
from orchestrator.workload import Problem

if TYPE_CHECKING:
    import torch

    from orchestrator.verify.call import Called
    from orchestrator.verify.rule.judgement import Judgement
    from orchestrator.verify.rule.reference import Reference

    Tensors = tuple[torch.Tensor, ...]

# CPU seconds after which no kind is tried but `large`, and after which none is
BUDGET_S, MOST_S = 0.2, 10.0
# CPU seconds of a call from which on `edges` wait for the verification after timing, which takes
# them for its fresh values, and from which on `large` is left out, too
SLOW_S, VERY_SLOW_S = 0.05, 0.25


@dataclass
class Structures:
    """The kinds of inputs with structure that one implementation is tried on.

    Attributes:
        references: of the implementation.
        tried: the kinds that were tried.
        later: the kind that the verification after timing is to try; None: none.
    """

    references: References
    tried: list[str] = field(default_factory=list)
    later: str | None = None

    def judge(self, own: Reference, called: Called, host: bool, verdict: Judgement) -> Judgement:
        """The verdict on inputs with structure that the reference allows; `verdict` where all are
        right.

        Args:
            own: the reference of the workload's own inputs, which the others are made from.
            called: what the call on them gave.
            host: whether references are computed on the host.
            verdict: on them.
        """
        from orchestrator.verify.rule.structured import EDGES, LARGE, STRUCTURES

        caller, left_out = self.references.caller, []
        start = process_time()
        for kind in STRUCTURES:
            if caller.workload.stress is not None and kind not in caller.workload.stress:
                continue
            if kind == EDGES and called.seconds > SLOW_S and not caller.workload.writes:
                self.later = kind
                continue
            spent, most = process_time() - start, BUDGET_S
            if kind == LARGE and called.seconds <= VERY_SLOW_S:
                most = MOST_S
            if spent + called.seconds > most:
                left_out.append(kind)
                continue
            found = self._judged(kind, own, called.upstream, host)
            if found is not None and not found.ok:
                return said_of(kind, found)
        if left_out:
            text = f"inputs with structure not tried, for a call takes long: {', '.join(left_out)}"
            verdict = replace(verdict, notes=(*verdict.notes, text))
        return verdict

    def for_later(self, problem: Problem) -> Problem | None:
        """A problem whose inputs have the structure to be tried next; None: there is none."""
        from orchestrator.verify.rule.structured import structured

        if self.later is None:
            return None
        inputs = structured(self.later, problem.inputs)
        return None if inputs is None else replace(problem, inputs=inputs)

    def reference(
        self, problem: Problem, host: bool, upstream: Mapping[str, torch.Tensor]
    ) -> Reference | None:
        """The reference of inputs with structure; None where they are outside of its domain."""
        from orchestrator.verify.rule.output_rows import ShapeError

        try:
            return self.references.of(problem, host, upstream, own_inputs=False)
        except (RuntimeError, ValueError, ArithmeticError, ShapeError) as error:
            if is_shortage(error):
                raise
            return None

    def _judged(
        self, kind: str, own: Reference, upstream: Mapping[str, torch.Tensor], host: bool
    ) -> Judgement | None:
        """The verdict on one kind of inputs with structure; None where there is none."""
        import torch

        from orchestrator.verify.expected import has_gradient
        from orchestrator.verify.rule.outputs import GRAD
        from orchestrator.verify.rule.structured import (
            FINITE_ONLY,
            LARGE,
            TIES,
            asks_for_gradients,
            is_comparable,
            larger,
            largest_on_the_way,
            structured,
        )
        from orchestrator.verify.rule.values import WORKING_DTYPES

        caller = self.references.caller
        inputs = structured(kind, own.problem.inputs)
        if inputs is None:
            return None
        if kind == LARGE:
            with own_settings():
                inputs = larger(own.problem.inputs, own.of_inputs) or inputs
        problem = replace(own.problem, inputs=inputs)
        used = caller.copied(problem)
        try:
            called = caller.called(used, problem, upstream)
        except AttemptEndedError as error:
            # what it raised itself has a cause; inputs that were changed, say, have none
            if error.outcome is not Outcome.FAILED or error.__cause__ is None:
                raise
            if not self._has_answer(kind, own, problem, upstream, host):
                return None
            said = f"on {kind} inputs: {error.message}"
            raise AttemptEndedError(error.outcome, error.kind, said) from error.__cause__
        if kind in FINITE_ONLY and is_finite(called) and not own.has_special:
            self.tried.append(kind)  # that is all that is asked
            return None
        reference = self.reference(problem, host, called.upstream)
        if reference is None:
            return None
        outputs = self.references.outputs(called, used, reference)
        has_order = kind == TIES and reference.orders_ties(reference.seed)
        for name, answer in reference.expected.items():
            ordinary, is_index = own.expected[name].values, not has_gradient(answer.values)
            if not (is_index and has_order) and not is_comparable(
                kind, answer.values, ordinary, outputs[name].dtype
            ):
                return None
        names = [
            name
            for name in reference.expected
            if not name.startswith(GRAD) or asks_for_gradients(kind, outputs[name].dtype)
        ]
        with own_settings():
            found = reference.judge_structured(outputs, finite_only=kind in FINITE_ONLY, only=names)
            dtype = WORKING_DTYPES.get(own.precision, torch.float64)
            if (
                kind == LARGE
                and not found.ok
                # exp of a decay's logarithm, say: another way to compute makes inf - inf of that
                and largest_on_the_way(inputs, own.of_inputs) > torch.finfo(dtype).max
            ):
                return None
        if reference.asked_nothing:
            return None
        self.tried.append(kind)
        return found

    def _has_answer(
        self,
        kind: str,
        own: Reference,
        problem: Problem,
        upstream: Mapping[str, torch.Tensor],
        host: bool,
    ) -> bool:
        """Whether there is an answer on inputs with structure that an implementation raised on.

        A library refuses what is outside of its domain (a matrix of zeros has no Cholesky factor)
        where a reference by hand divides by 0, and what is positive definite in float64 need not be
        so in the trial's dtype.
        """
        from orchestrator.verify.rule.structured import is_comparable

        reference = self.reference(problem, host, upstream)
        if reference is None:
            return False
        plain = reference.in_working_dtype()
        if plain is None and own.in_working_dtype() is not None:
            return False  # it raises, too
        for answers in (reference.expected, plain or {}):
            for name, answer in answers.items():
                ordinary = own.expected[name].values
                if not is_comparable(kind, answer.values, ordinary, answer.values.dtype):
                    return False
        return True


def said_of(kind: str, found: Judgement) -> Judgement:
    """A judgement whose complaints name the kind of inputs."""
    why = tuple(f"on {kind} inputs: {text}" for text in found.complaints)
    return replace(found, complaints=why)


def is_finite(called: Called) -> bool:
    """Whether all outputs of a call and all gradients are floating-point and finite."""
    from orchestrator.verify.rule.output_rows import all_finite

    return all(
        one.dtype.is_floating_point and one.dtype.itemsize > 1 and all_finite(one)
        for one in (*called.copies.values(), *called.gradients.values())
    )
