"""What a reference gives for one problem: in float64, in the working dtype, and with noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from orchestrator.verify.rule.exact import EXACT, ExactOutput, Fault
from orchestrator.verify.rule.judgement import Judgement, Verdict, joined
from orchestrator.verify.rule.noise import Noise
from orchestrator.verify.rule.output_rows import ShapeError, all_finite, check_shape
from orchestrator.verify.rule.outputs import GRAD, FloatOutput, check_dtype
from orchestrator.workload import Expected, Problem

WORKING_DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "tf32": torch.float32,
}
FAR = 0.25  # relative distance of a draw from which on a reference may have misread its inputs


class ReferenceValues:
    """The values that a reference gives for one problem.

    Attributes:
        compute: problem -> the reference's rows by output.
        problem: that they are given for.
        precision: what the implementation computes in.
        expected: the right answer, as `compute` gives it for the problem as it is.
    """

    def __init__(
        self, compute: Callable[[Problem], Mapping[str, Expected]], problem: Problem, precision: str
    ) -> None:
        self.compute = compute
        self.problem = problem
        self.precision = precision
        self.expected = compute(problem)
        self._plain: Mapping[str, Expected] | None = None
        self._in_float64 = True
        self._apart: list[Mapping[str, Expected]] = []

    def judge_by_tolerance(self, actual: Mapping[str, torch.Tensor], tolerance: float) -> Judgement:
        """The verdict where one relative error, stated by the user, stands in the place of the
        rule.

        Raises:
            ShapeError, UnknownDtypeError: an output has another shape than its reference, or a
                dtype that no rule is known for.
        """
        found = []
        for name, expected in self.expected.items():
            check_dtype(name, actual[name].dtype)
            check_shape(name, actual[name], expected)
            dtype = torch.float64 if actual[name].dtype in EXACT else actual[name].dtype
            output = FloatOutput(name, expected, tuple(actual[name].shape), dtype)
            fault = output.fault(actual[name])
            if fault is not None:
                found.append(Verdict(math.inf, tolerance, fault))
                continue
            comparison = output.compare(actual[name], None, 1.0)
            error = comparison.block_error
            text = f"{name}: relative error {error:.1e}, allowed {tolerance:.0e}"
            found.append(Verdict(error, tolerance, Fault(error / tolerance, text)))
        return joined(
            found,
            (
                f"verify.tolerance: a relative error of {tolerance:g} stands in the place of the "
                "rule",
            ),
        )

    def of_inputs(self, inputs: tuple[torch.Tensor, ...]) -> Mapping[str, Expected]:
        """What the reference says of other inputs of the same problem."""
        return self.compute(replace(self.problem, inputs=inputs))

    @property
    def is_sampled(self) -> bool:
        """Whether it answers for some of the rows only."""
        return any(one.index is not None for one in self.expected.values())

    @property
    def is_anywhere_not_finite(self) -> bool:
        """Whether the right answer has an infinity or NaN."""
        for one in self.expected.values():
            values = one.values.double() if one.values.dtype.itemsize == 1 else one.values
            if not all_finite(values):
                return True
        return False

    @property
    def asked_nothing(self) -> bool:
        """Whether inputs with structure asked for nothing: the reference itself, computed in the
        working dtype, is nowhere finite there.
        """
        if self._plain is None:
            return False
        answers = [one.values for one in self._plain.values() if one.values.is_floating_point()]
        return bool(answers) and not any(one.isfinite().any() for one in answers)

    def in_working_dtype(self) -> Mapping[str, Expected] | None:
        """What the reference itself gives in the dtype that is computed in; None: it cannot."""
        dtype = WORKING_DTYPES.get(self.precision)
        if dtype is None or self._plain is not None:
            return self._plain
        try:
            found = self.compute(replace(self.problem, dtype=dtype))
        except torch.OutOfMemoryError:
            raise
        except (TypeError, RuntimeError, ValueError, ArithmeticError):
            return None
        for name, right in self.expected.items():
            if name not in found or found[name].values.shape != right.values.shape:
                return None
        self._plain = found
        return found

    def drawn(
        self, noise: Noise, outputs: Mapping[str, FloatOutput | ExactOutput], *, is_first: bool
    ) -> Mapping[str, Expected]:
        """One draw of the values.

        Inputs err in it, too, unless the reference turns out to need them in their own dtype.

        Args:
            noise: of the draw.
            outputs: that are judged by it, by name: they measure how far off it is.
            is_first: whether they have no draw yet. A later one is taken however far off it is.
        """
        if not self._in_float64:
            return noise.draw(self.compute, self.problem, in_float64=False)
        found: Mapping[str, Expected] | None
        try:
            found = noise.draw(self.compute, self.problem)
        except (TypeError, RuntimeError, ValueError):
            found = None
        if found is not None and (not is_first or self._distance(found, outputs) < FAR):
            return found
        as_given = noise.draw(self.compute, self.problem, in_float64=False)
        if found is not None and (
            self._distance(as_given, outputs) > self._distance(found, outputs) / 16
        ):
            return found  # the problem is that ill-conditioned
        self._in_float64 = False
        return as_given

    def orders_ties(self, seed: int) -> bool:
        """Whether it moves and compares the inputs' own values alone, so that no rounding decides,
        and picks none of equal ones, as a stable sort does.
        """
        noise = Noise(self.precision, seed, "kept")
        try:
            noise.draw(self.compute, self.problem)
        except (TypeError, RuntimeError, ValueError, ShapeError):
            return False
        return not (noise.seen or noise.leaves_ties_open or noise.names_first_of_ties)

    def drawn_apart(self, seed: int, count: int) -> list[Mapping[str, Expected]]:
        """The outputs of so many draws in which equal inputs err apart; none where there are no
        such draws.

        Inputs err whatever `drawn` makes of these: autograd is asked in float64 in any case, and a
        kink moves a gradient as far as a reference that misread its inputs moves its answer.
        """
        while len(self._apart) < count:
            noise = Noise(self.precision, seed + len(self._apart), "broken")
            try:
                found = noise.draw(self.compute, self.problem)
            except (TypeError, RuntimeError, ValueError, ShapeError):
                return []
            kept = {
                name: one for name, one in found.items() if noise.jumps or name.startswith(GRAD)
            }
            self._apart.append(kept)
        return self._apart[:count]

    def _distance(
        self, drawn: Mapping[str, Expected], outputs: Mapping[str, FloatOutput | ExactOutput]
    ) -> float:
        """The relative distance of a draw from the reference; infinity if of another shape."""
        farthest = 0.0
        for name, output in outputs.items():
            if drawn[name].values.shape != self.expected[name].values.shape:
                return math.inf
            if isinstance(output, FloatOutput):
                farthest = max(farthest, output.distance(drawn[name]))
        return farthest
