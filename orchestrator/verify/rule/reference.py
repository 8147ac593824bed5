"""Judges outputs by a reference: by its values, then by draws for as long as these may decide.

In the order of their cost: what rounding the right values to the output's dtype explains is right
without a draw; after one draw whatever is below a quarter of every limit is right, after two below
a third, after four below half, and whatever is then beyond four times one is wrong; else eight
decide. An integer that is not the reference's may still be right where the draws differ themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import torch

from orchestrator.verify.rule.another_answer import another_answer, may_be_another
from orchestrator.verify.rule.exact import EXACT, ExactOutput, Fault
from orchestrator.verify.rule.judgement import Judgement, Verdict, joined
from orchestrator.verify.rule.kinks import FEW_ELEMENTS, MOST_KEPT, kinks_of
from orchestrator.verify.rule.limits import AS_PLAIN, Comparison, gain_floor
from orchestrator.verify.rule.noise import Noise, Ties
from orchestrator.verify.rule.output_rows import check_shape
from orchestrator.verify.rule.outputs import GRAD, FloatOutput, check_dtype, described
from orchestrator.verify.rule.precisions import UNITS
from orchestrator.verify.rule.values import ReferenceValues
from orchestrator.workload import Expected, Problem

FEW_DRAWS, ALL_DRAWS, DRAWS_FOR_TIES = 4, 8, 32
# so many draws are enough below this share of every limit: of few, noise may be overestimated
CLEAR = {1: 0.25, 2: 0.35, FEW_DRAWS: 0.5, ALL_DRAWS: 0.0}
NEARLY = 1.5  # share of a limit up to which nothing is refused by eight draws
HOPELESS = 4.0  # share of a limit beyond which four draws are enough to refuse
UNSEEN = 4.0  # limits are so much wider where torch sees none of the reference's operations
STRUCTURED_ERROR = 2.0**-6  # inputs with structure look for faults of order one
TOO_NOISY = 2.0**-4
OPEN_TIES_HINT = (
    "; the reference may name any of equal values: if the order of ties matters sort with "
    "stable=True there, else a judge of the workload's own says what is right"
)
MADE_OF_BITS = "the reference makes its values of bits, without rounding, and some differ"
UNSEEN_NOTE = "torch sees no operation of the reference: limits are four times as wide"


class Reference(ReferenceValues):
    """Judges outputs by the reference's values, and by as many draws of them as it takes.

    Attributes:
        seed: of the draws.
        own_inputs: the workload's own, and not inputs with structure: gains are asked for.
        draws: that the outputs which were judged have.
        unseen: whether torch saw none of its operations in the draws.
        jumps: whether an operation was seen whose result jumps where its operands pass some value.
        from_bits: whether one was that takes integers' bits for floating-point numbers.
        as_plain: whether an output was right by no more than what it is in the working dtype.
    """

    def __init__(
        self,
        compute: Callable[[Problem], Mapping[str, Expected]],
        problem: Problem,
        precision: str,
        seed: int,
        own_inputs: bool = True,
    ) -> None:
        super().__init__(compute, problem, precision)
        self.seed = seed
        self.own_inputs = own_inputs
        self.draws = 0
        self.unseen = self.jumps = self.from_bits = False
        self.as_plain = False
        self._outputs: dict[str, FloatOutput | ExactOutput] = {}
        self._exact_draws = 0
        self._ties: Ties = "kept"

    @property
    def has_special(self) -> bool:
        """Whether some of the outputs that were judged have an infinity or NaN where it is due."""
        return any(
            isinstance(one, ExactOutput) or one.special is not None
            for one in self._outputs.values()
        )

    def judge(
        self, actual: Mapping[str, torch.Tensor], only: Sequence[str] | None = None
    ) -> Judgement:
        """The verdict on the outputs of one call on this problem; `only` on those of these names.

        Raises:
            ShapeError: an output has another shape than its reference.
            UnknownDtypeError: an output is of a dtype that no rule is known for.
        """
        for name in self.expected:
            self._prepare(name, actual[name])
        names = self.expected if only is None else only
        found: list[Verdict] = []
        for name in names:
            # kinks take many draws, and excuse nothing where another output is wrong
            is_open = all(one.worst.share <= 1 for one in found)
            found.append(self._verdict(name, actual[name], looks_for_kinks=is_open))
        return joined(found, self._notes())

    def judge_structured(
        self,
        actual: Mapping[str, torch.Tensor],
        *,
        finite_only: bool,
        only: Collection[str] | None = None,
    ) -> Judgement:
        """The verdict on inputs with structure, where right implementations may lose digits.

        Not finite is wrong where the reference is finite. Unless that is all that is asked, so is a
        relative error of the whole beyond four times that of the draws, and at least 2^-6. Integers
        are judged as ever, unless finite values are all that is asked beside them. What the
        reference itself, computed in the working dtype, does not do better is not asked for.
        `only`: outputs of these names are judged; None: all.

        Raises:
            ShapeError, UnknownDtypeError: as by `judge`.
        """
        for name in self.expected:
            self._prepare(name, actual[name])
        names = self.expected if only is None else only
        found = self._judged_structured(actual, finite_only, names)
        if found.ok or (plain := self.in_working_dtype()) is None:
            return found
        for name, output in self._outputs.items():
            if isinstance(output, FloatOutput):
                self._outputs[name] = output.beside(plain[name])
        self.draws = 0
        return self._judged_structured(actual, finite_only, names)

    def _judged_structured(
        self, actual: Mapping[str, torch.Tensor], finite_only: bool, names: Collection[str]
    ) -> Judgement:
        found = []
        has_floats = any(isinstance(one, FloatOutput) for one in self._outputs.values())
        for name in names:
            output = self._outputs[name]
            if not isinstance(output, ExactOutput):
                found.append(self._structured(output, actual[name], finite_only))
            elif not (finite_only and has_floats):
                found.append(self._structured_exact(output, actual[name]))
        return joined(found, self._notes())

    def judge_by_this_noise(
        self, other: Reference, actual: Mapping[str, torch.Tensor]
    ) -> Judgement:
        """The verdict on more rows of the same problem, by `other`'s values and the noise that was
        drawn here.

        The noisiest row's share of the typical value is taken for that of all rows, so that a row
        or an element that is plainly wrong is found; what is as small as the noise, the rows here
        have shown.
        """
        found = []
        for name in other.expected:
            other._prepare(name, actual[name])
            output, drawn = other._outputs[name], self._outputs[name]
            if isinstance(output, ExactOutput) or isinstance(drawn, ExactOutput):
                found.append(other._verdict(name, actual[name]))
                continue
            fault = output.fault(actual[name])
            if fault is not None:
                found.append(Verdict(math.inf, 0.0, fault))
                continue
            found.append(self._by_noise_of(other, drawn, output, actual[name]))
        return joined(found, self._notes())

    def draw_all(self) -> None:
        """Have all the draws that are made before anything is refused."""
        self._draw(ALL_DRAWS)

    def _prepare(self, name: str, actual: torch.Tensor) -> None:
        """Make ready to judge an output of this dtype and shape."""
        check_dtype(name, actual.dtype)
        check_shape(name, actual, self.expected[name])
        if name not in self._outputs:
            kind = ExactOutput if actual.dtype in EXACT else FloatOutput
            self._outputs[name] = kind(name, self.expected[name], tuple(actual.shape), actual.dtype)

    def _verdict(self, name: str, actual: torch.Tensor, *, looks_for_kinks: bool = True) -> Verdict:
        output = self._outputs[name]
        if isinstance(output, ExactOutput):
            return self._exact(output, actual)
        fault = output.fault(actual)
        if fault is not None:
            return Verdict(math.inf, 0.0, fault)
        error, grid = output.relative_error(actual)
        if output.rows.count == 0 or output.is_rounding(actual):
            return Verdict(error, 2 * grid, Fault(0.0, ""))
        for draws, clear in CLEAR.items():
            if draws < min(self.draws, ALL_DRAWS):
                continue
            self._draw(draws)
            comparison = output.compare(actual, self._gain_floor(output), self._scale)
            worst = comparison.worst
            if worst.share <= clear or (worst.share > HOPELESS and draws >= FEW_DRAWS):
                break
        if 1 < comparison.worst.share <= NEARLY and looks_for_kinks:
            # eight draws may have less noise than there is, where few values decide
            self._draw(DRAWS_FOR_TIES)
            comparison = output.compare(actual, self._gain_floor(output), self._scale)
        may_jump = name.startswith(GRAD) or self.jumps
        if comparison.worst.share > 1 and looks_for_kinks and may_jump:
            comparison = self._beside_kinks(output, actual, comparison)
        if self.unseen and self.precision != "tf32":
            fault = output.moved_values_differ(actual, self.problem.inputs)
            if self.from_bits:
                fault = fault or Fault(math.inf, f"{name}: {MADE_OF_BITS}")
            if fault is not None:
                return Verdict(comparison.block_error, 0.0, fault)
        if comparison.worst.share <= 1:
            fault = self._another_answer(output, actual)
            if fault is not None:
                return Verdict(comparison.block_error, comparison.explained, fault)
        return self._described(self, output, comparison, self._gain_floor(output))

    def _beside_kinks(
        self, output: FloatOutput, actual: torch.Tensor, comparison: Comparison
    ) -> Comparison:
        """The comparison, but for what any slope at a kink of the reference explains, or any value
        where it jumps.

        Few draws are enough where most of it is wrong and they explain none of it.
        """
        for draws in (ALL_DRAWS, DRAWS_FOR_TIES):
            if draws * output.rows.count > MOST_KEPT:
                break  # there is no room for them
            drawn = [output.parts(one[output.name]) for one in self.drawn_apart(self.seed, draws)]
            if not drawn:
                break
            kinks = kinks_of(output.rows.values, drawn, output.rows.dtype)
            found = output.compare(actual, self._gain_floor(output), self._scale, kinks)
            is_hopeless = found.wrong > FEW_ELEMENTS * found.count
            if found.worst.share <= 1:
                return found
            if is_hopeless and found.block_error > comparison.block_error / 2:
                break
        return comparison

    def _another_answer(self, output: FloatOutput, actual: torch.Tensor) -> Fault | None:
        """What is wrong with an output that keeps every limit; None: nothing. Gradients that cancel
        are as far off, and are left to the limits.
        """
        if self.unseen or output.name.startswith(GRAD) or not may_be_another(output, actual):
            return None
        self._draw(ALL_DRAWS)
        plain = self.in_working_dtype()
        return another_answer(output, actual, None if plain is None else plain[output.name])

    def _by_noise_of(
        self, of: Reference, drawn: FloatOutput, output: FloatOutput, actual: torch.Tensor
    ) -> Verdict:
        """The verdict on `output` of the reference `of`, whose rows are taken to be as noisy as the
        noisiest of `drawn`.
        """
        if self.draws == 0:
            error, grid = output.relative_error(actual)
            if output.is_rounding(actual):
                return Verdict(error, 2 * grid, Fault(0.0, ""))
            self._draw(1)
        scale = self._scale
        spread = drawn.spread.like_the_noisiest(output.rows)
        if output.rows.count:
            largest, error = output.largest_share(actual, spread.by_row(scale))
            if largest <= 1:
                return Verdict(error, error / math.sqrt(largest or 1.0), Fault(0.0, ""))
        own, output.spread = output.spread, spread
        comparison = output.compare(actual, None, scale)
        found = self._described(of, output, comparison, None)
        output.spread = own  # draws of its own may follow
        return found

    def _described(
        self, of: Reference, output: FloatOutput, comparison: Comparison, floor: float | None
    ) -> Verdict:
        """The verdict that a comparison comes to: what is beyond a limit is right where `of`, whose
        output it is, is itself as far off in the working dtype.
        """
        fault = described(output, comparison, comparison.worst)
        if fault.share > 1 and (plain := of.in_working_dtype()) is not None:
            beside = output.compare_plain(plain[output.name], floor, self._scale)
            if beside is not None and comparison.is_no_worse(beside):
                self.as_plain = True
                fault = replace(fault, share=1.0)
        return Verdict(comparison.block_error, comparison.explained, fault)

    def _exact(self, output: ExactOutput, actual: torch.Tensor) -> Verdict:
        steps: tuple[int, ...] = (0, ALL_DRAWS, DRAWS_FOR_TIES)
        if not self._has_floating_inputs() and output.largest() > 1 / UNITS[self.precision]:
            steps = (0,)  # of whole numbers alone, and so large that draws of them would err
        for draws in steps:
            self._draw_exact(draws)
            fault = output.fault(actual)
            if fault is None:
                return Verdict(0.0, 0.0, Fault(0.0, ""))
        fault = fault or Fault(math.inf, "")
        if self._ties == "broken":
            fault = replace(fault, text=fault.text + OPEN_TIES_HINT)
        return Verdict(math.inf, 0.0, fault)

    def _structured_exact(self, output: ExactOutput, actual: torch.Tensor) -> Verdict:
        """As ever, unless the reference names any of equal values: scores that are apart on the
        workload's own inputs may be equal on these, as probabilities that underflow are.
        """
        found = self._exact(output, actual)
        return Verdict(0.0, 0.0, Fault(0.0, "")) if self._ties == "broken" else found

    def _structured(self, output: FloatOutput, actual: torch.Tensor, finite_only: bool) -> Verdict:
        fault = output.fault(actual)
        if fault is not None:
            return Verdict(math.inf, 0.0, fault)
        error, grid = output.relative_error(actual)
        if finite_only or error <= STRUCTURED_ERROR:
            return Verdict(error, STRUCTURED_ERROR, Fault(0.0, ""))
        self._draw(FEW_DRAWS)
        noise = math.hypot(output.drawn_error(), grid)
        allowed = max(4 * noise, STRUCTURED_ERROR, AS_PLAIN * output.plain_error())
        if noise > TOO_NOISY or error <= allowed:
            return Verdict(error, allowed, Fault(0.0, ""))
        if output.name.startswith(GRAD):  # which may have kinks there
            away = [
                output.distance(one[output.name]) for one in self.drawn_apart(self.seed, ALL_DRAWS)
            ]
            noise = math.sqrt(sum(one * one for one in away) / max(1, len(away)))
            if noise > TOO_NOISY or error <= 4 * noise:
                return Verdict(error, max(allowed, 4 * noise), Fault(0.0, ""))
        text = f"{output.name}: relative error {error:.1e}, rounding explains {allowed:.1e}"
        return Verdict(error, allowed, Fault(error / allowed, text))

    def _draw(self, count: int) -> None:
        """Have at least `count` draws of every output."""
        while self.draws < count:
            noise = Noise(self.precision, self.seed + self.draws)
            drawn = self.drawn(noise, self._outputs, is_first=self.draws == 0)
            for name, output in self._outputs.items():
                if isinstance(output, FloatOutput):
                    output.add(drawn[name], noise)
            self.unseen, self.jumps = self.unseen or noise.seen == 0, noise.jumps
            self.from_bits = noise.from_bits
            self.draws += 1

    def _draw_exact(self, count: int) -> None:
        """Have at least `count` draws of outputs that have no rounding.

        Inputs that are equal stay equal in them: an index that no rounding decides is demanded as
        it is, unless the reference leaves open which of equal values it names.
        """
        while self._exact_draws < count:
            noise = Noise(self.precision, self.seed + self._exact_draws, self._ties)
            is_first = self.draws == self._exact_draws == 0
            drawn = self.drawn(noise, self._outputs, is_first=is_first)
            if noise.leaves_ties_open and self._ties == "kept":
                self._ties = "broken"
                continue
            for name, output in self._outputs.items():
                if isinstance(output, ExactOutput):
                    output.add(drawn[name], noise)
            self._exact_draws += 1

    def _has_floating_inputs(self) -> bool:
        """Whole numbers alone have no noise, but for weights that are none, as of a grey pixel."""
        given = (*self.problem.inputs, *self.problem.state.values())
        return any(tensor.is_floating_point() or tensor.is_complex() for tensor in given)

    @property
    def _scale(self) -> float:
        return UNSEEN if self.unseen else 1.0

    def _gain_floor(self, output: FloatOutput) -> float | None:
        if not self.own_inputs:
            return None
        return gain_floor(output.rows.dtype, UNITS[self.precision], self.precision)

    def _notes(self) -> tuple[str, ...]:
        notes = (UNSEEN_NOTE,) if self.unseen else ()
        if self.as_plain:
            text = "as far from the right answer as the reference itself, computed in"
            notes = (*notes, f"{text} {self.precision}")
        return notes
