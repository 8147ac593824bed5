"""The verifier on workloads of many kinds: trees of outputs, written inputs, own judges, gradients,
odd inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from pydantic import BaseModel, ConfigDict

from orchestrator.outcome import Outcome
from orchestrator.usercode.implementation import AttemptEndedError, Implementation
from orchestrator.verify.caller import Caller
from orchestrator.verify.references import SharedReferences
from orchestrator.verify.rule.judgement import Judgement
from orchestrator.verify.verifier import Verifier
from orchestrator.workload import Config, Expected, Work, Workload

Function = Callable[..., Any]


class Params(BaseModel):
    """Of a trial."""

    model_config = ConfigDict(frozen=True)
    dtype: str = "float32"


def draw(*shapes: tuple[int, ...]) -> Function:
    def inputs(config: Config, form: str, seed: int) -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn(shape, generator=generator).to(config.dtype) for shape in shapes)

    return inputs


def wide(function: Function) -> Function:
    """A reference: the function of the inputs in the problem's dtype."""

    def reference(problem: Any) -> Any:
        return function(
            *(one.to(problem.dtype) if one.is_floating_point() else one for one in problem.inputs)
        )

    return reference


def verified(*args: Any, **kwargs: Any) -> Judgement:
    """The verdict on a function, with inputs with structure; arguments as of `verifier`."""
    return verifier(*args, **kwargs).verify("before", structures=True)


def verifier(
    function: Function,
    reference: Function,
    inputs: Function | None = None,
    *,
    backward: bool = False,
    names: tuple[str, ...] = (),
    tolerance: float | None = None,
    dtype: str = "float32",
    shared: SharedReferences | None = None,
    **fields: Any,
) -> Verifier:
    """A verifier of a function; `shared`: of others on the same problems."""
    workload = Workload(
        name="toy",
        params=Params,
        inputs=inputs or draw((16, 64)),
        reference=reference,
        work=lambda params, form: Work(flops=1, bytes=1),
        backward=lambda params: backward,
        **fields,
    )
    config = Config({"dtype": dtype}, "cpu")
    built = Implementation(function, config, "default", backward, names)
    if backward:
        built = replace(built, writes=tuple(fields.get("writes", ())))
    return Verifier(Caller(workload, Params(dtype=dtype), built, 1, 2), tolerance, None, shared)


def ended(*args: Any, **kwargs: Any) -> AttemptEndedError:
    with pytest.raises(AttemptEndedError) as caught:
        verified(*args, **kwargs)
    return caught.value


class Pair(NamedTuple):
    """Of top-k."""

    values: torch.Tensor
    indices: torch.Tensor


def top(x: torch.Tensor) -> Pair:
    return Pair(*x.topk(4, -1))


def norm(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = x.mean(-1, keepdim=True)
    return x - mean, mean


def test_a_tree_of_outputs_is_judged_leaf_by_leaf() -> None:
    """Values by the limits, indices by equality; a wrong leaf is named."""
    assert verified(top, wide(top)).ok
    wrong = verified(
        lambda x: Pair(x.topk(4, -1).values, x.topk(4, -1).indices.roll(1, -1)), wide(top)
    )
    assert str(wrong).startswith("64 of 64 elements differ, the first is indices[0, 0]")


def test_a_tuple_answers_for_named_outputs_in_their_order() -> None:
    """The reference names them, the kernel returns a tuple."""

    def reference(problem: Any) -> dict[str, torch.Tensor]:
        centred, mean = norm(problem.inputs[0].to(problem.dtype))
        return {"output": centred, "mean": mean}

    assert verified(norm, reference).ok
    assert "mean" in str(verified(lambda x: (norm(x)[0], 2 * norm(x)[1]), reference))
    assert (
        "returned [0], [1], [2], expected output, mean"
        in ended(lambda x: (*norm(x), x), reference).message
    )


def test_written_inputs_are_judged_and_others_must_be_left_alone() -> None:
    """By what the reference makes of its own copies; None is a fine return value then."""

    def append(cache: torch.Tensor, new: torch.Tensor) -> None:
        cache[8:] = new[:8]

    def reference(problem: Any) -> dict[str, torch.Tensor]:
        cache, new = (one.to(problem.dtype) for one in problem.inputs)
        return {"cache": torch.cat([cache[:8], new[:8]])}

    inputs, names = draw((16, 64), (16, 64)), ("cache", "new")
    fields: dict[str, Any] = {"writes": ("cache",), "input_names": {"default": names}}
    assert verified(append, reference, inputs, names=names, **fields).ok
    assert "cache[" in str(
        verified(lambda cache, new: None, reference, inputs, names=names, **fields)
    )

    def careless(cache: torch.Tensor, new: torch.Tensor) -> None:
        append(cache, new)
        new.zero_()

    error = ended(careless, reference, inputs, names=names, **fields)
    assert (error.outcome, "changed its input new" in error.message) == (Outcome.MISMATCH, True)


def test_what_a_call_writes_is_state_and_has_no_gradient() -> None:
    """Running statistics, or a residual that is added to in place: torch differentiates none."""
    names = ("x", "mean")

    def reference(problem: Any) -> dict[str, torch.Tensor]:
        x, mean = (one.to(problem.dtype, copy=True) for one in problem.inputs)
        mean += x
        return {"output": mean.square(), "mean": mean.detach()}

    def right(x: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        return mean.add_(x).square()

    def stale(x: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        return (mean + x).square()

    def without(x: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        return mean.add_(x.detach()).square() + 0 * x

    fields: dict[str, Any] = {"writes": ("mean",), "input_names": {"default": names}}
    fields |= {"backward": True, "names": names}
    inputs = draw((16, 64), (16, 64))
    assert verified(right, reference, inputs, **fields).ok
    assert "mean" in str(verified(stale, reference, inputs, **fields))
    assert "grad_x" in str(verified(without, reference, inputs, **fields))


def test_a_judge_of_its_own_replaces_the_comparison_of_what_it_names() -> None:
    """Eigenvectors by their residual; the eigenvalues by the rule."""

    def symmetric(config: Config, form: str, seed: int) -> tuple[torch.Tensor, ...]:
        (a,) = draw((12, 12))(config, form, seed)
        return (a + a.T,)

    def judge(inputs: Any, outputs: Any, expected: Any) -> dict[str, tuple[float, float]]:
        a, vectors, values = inputs[0], outputs["[1]"], outputs["[0]"]
        residual = (a @ vectors - vectors * values).norm() / (a.norm() * 2.0**-24)
        return {"[1]: residual": (float(residual), 100.0)}

    def flipped(a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, vectors = torch.linalg.eigh(a)
        return values, -vectors

    reference = wide(lambda a: tuple(torch.linalg.eigh(a)))
    assert verified(flipped, reference, symmetric, judge=judge).ok
    wrong = verified(
        lambda a: (flipped(a)[0], flipped(a)[1].roll(1, 1)), reference, symmetric, judge=judge
    )
    assert "by the workload's own judge" in str(wrong)
    assert not verified(
        lambda a: (2 * flipped(a)[0], flipped(a)[1]), reference, symmetric, judge=judge
    ).ok


def test_damage_that_a_judge_of_its_own_accepts_is_said() -> None:
    """One that looks at nothing proves nothing; one that looks at sums says what it cannot see."""
    reference = wide(lambda x: x.abs())

    def blind(inputs: Any, outputs: Any, expected: Any) -> dict[str, tuple[float, float]]:
        return {"output: anything": (0.0, 1.0)}

    def total(inputs: Any, outputs: Any, expected: Any) -> dict[str, tuple[float, float]]:
        away = outputs["output"].sum() - expected["output"].sum()
        return {"output: sum": (abs(float(away)), 1e-3)}

    def equal(inputs: Any, outputs: Any, expected: Any) -> dict[str, tuple[float, float]]:
        away = (outputs["output"] - expected["output"]).abs().max()
        return {"output: distance": (float(away), 1e-6)}

    found = verified(torch.abs, reference, judge=blind)
    assert (found.ok, found.unproven) == (True, True)
    assert "accepts outputs that are zeroed, shuffled, changed in one element" in str(found.notes)
    found = verified(torch.abs, reference, judge=total)
    assert (found.ok, found.unproven) == (True, False)
    assert "accepts outputs that are shuffled" in str(found.notes)
    found = verified(torch.abs, reference, judge=equal)
    assert (found.ok, found.unproven) == (True, False)
    assert "accepts" not in str(found.notes)


@pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fn, torch.bool, torch.uint16, torch.int8, torch.complex64]
)
def test_outputs_of_any_dtype_can_be_damaged(dtype: torch.dtype) -> None:
    """Also of one that torch does not multiply or add; an equal judge sees all of it."""

    def cast(x: torch.Tensor) -> torch.Tensor:
        return (x > 0).to(torch.int32).to(dtype)

    def equal(inputs: Any, outputs: Any, expected: Any) -> dict[str, tuple[float, float]]:
        found, right = (one.to(torch.complex128) for one in (outputs["output"], expected["output"]))
        return {"output: distance": (float((found - right).abs().max()), 0.0)}

    found = verified(cast, wide(cast), judge=equal)
    assert (found.ok, found.unproven) == (True, False), str(found)
    assert "accepts" not in str(found.notes)


def test_outputs_without_elements_are_a_note() -> None:
    """There is nothing to compare, which a reader should know."""
    found = verified(lambda x: x[:, :0] * 2, wide(lambda x: x[:, :0] * 2))
    assert found.ok
    assert "no elements" in str(found.notes)


def test_gradients_that_a_reference_does_not_name_are_worked_out() -> None:
    """A backward pass that returns 5 everywhere is wrong; an integer input has no gradient."""

    class Five(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x * x

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            return torch.full_like(grad, 5)

    def labelled(config: Config, form: str, seed: int) -> tuple[torch.Tensor, ...]:
        return *draw((16, 64))(config, form, seed), torch.arange(16)

    def loss(x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.logsumexp(x, -1) - x.gather(-1, labels[:, None]).squeeze(-1)

    square = wide(lambda x: x * x)
    assert verified(lambda x: x * x, square, backward=True, names=("x",)).ok
    assert "grad_x: " in str(verified(Five.apply, square, backward=True, names=("x",)))
    assert verified(loss, wide(loss), labelled, backward=True, names=("x", "labels")).ok
    assert verified(lambda x: x * x, square, backward=True).ok  # without names


def test_a_reference_that_lacks_a_gradient_is_refused() -> None:
    """Where autograd cannot work it out: nothing is compared is not right."""

    def reference(problem: Any) -> torch.Tensor:
        return (problem.inputs[0].to(problem.dtype) ** 2).detach()

    error = ended(lambda x: x * x, reference, backward=True, names=("x",))
    assert (error.outcome, "lacks grad_x" in error.message) == (Outcome.FAILED, True)


def test_a_reference_that_answers_for_no_element_is_refused() -> None:
    """An empty sample is no verification."""

    def reference(problem: Any) -> Expected:
        nothing = torch.arange(0)
        return Expected(problem.inputs[0].to(problem.dtype)[nothing], (nothing,))

    assert "answers for no element" in ended(lambda x: x, reference).message


def test_nan_and_expanded_inputs_are_inputs_like_others() -> None:
    """Compared by their bytes, copied with their strides."""

    def masked(config: Config, form: str, seed: int) -> tuple[torch.Tensor, ...]:
        x, mask = draw((16, 64), (1, 64))(config, form, seed)
        x[0, 0] = math.nan
        return x, mask.expand(16, 64)

    def total(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.nan_to_num(x) + mask

    assert verified(total, wide(total), masked).ok


def test_what_is_left_unwritten_is_found() -> None:
    """The allocator gives back the block that held NaN."""

    def tail(x: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(x)
        out[:-1] = 2 * x[:-1]
        return out

    assert not verified(tail, wide(lambda x: 2 * x), draw((300, 300))).ok


@pytest.mark.parametrize("number", [float, complex])
def test_a_number_of_pythons_own_has_no_dtype(number: type) -> None:
    """Right in the one that is asked for; wrong it is as wrong as a tensor."""

    def total(x: torch.Tensor) -> complex:
        return number(x.sum().item())

    def reference(x: torch.Tensor) -> torch.Tensor:
        return x.sum().to(torch.complex128) if number is complex else x.sum()

    assert verified(total, wide(reference), draw((16,))).ok
    assert not verified(lambda x: 1.01 * total(x), wide(reference), draw((16,))).ok


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: x.half(), "returned a tensor of torch.float16, expected torch.float32"),
        (lambda x: x.to_sparse(), "layout torch.sparse_coo"),
        (lambda x: "done", "returned a str, expected a tensor"),
        (lambda x: x.T.contiguous(), "a transpose is missing?"),
        (lambda x: None, "returned None, expected one tensor"),
    ],
)
def test_what_is_no_output_is_refused_by_name(function: Function, said: str) -> None:
    """Expected and found side by side."""
    error = ended(function, wide(lambda x: x * 1))
    assert (error.outcome, said in error.message) == (Outcome.FAILED, True), error.message


def test_a_stated_tolerance_replaces_the_rule_and_says_so() -> None:
    """In both directions; a value that is not finite is wrong all the same."""
    verdict = verified(lambda x: 1.01 * x, wide(lambda x: x * 1), tolerance=0.1)
    assert verdict.ok
    assert "stands in the place of the rule" in verdict.notes[-1]
    assert not verified(lambda x: 1.01 * x, wide(lambda x: x * 1), tolerance=1e-3).ok
    assert not verified(lambda x: x * math.nan, wide(lambda x: x * 1), tolerance=0.9).ok


def test_a_domain_that_excludes_structures_is_not_asked_for_them() -> None:
    """`stress=()`: values above 50 are no inputs of this problem."""

    def clipped(x: torch.Tensor) -> torch.Tensor:
        return x.clamp(-50, 50) * 2

    reference = wide(lambda x: x * 2)
    assert "inputs: " in str(verified(clipped, reference))
    assert verified(clipped, reference, stress=()).ok


def test_unfused_float16_code_may_overflow_where_a_gradient_grows_without_bound() -> None:
    """Near 0 the gradient of a norm holds 1 / eps^1.5. An answer that is not finite is wrong
    wherever float16 has room.
    """

    def unfused(x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)

    def lost(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x.abs().amax() < 0.01, math.nan, 1.0) * x

    half: dict[str, Any] = {"backward": True, "names": ("x",), "dtype": "float16"}
    half["stress"] = ("small",)
    verified(unfused, wide(unfused), **half)  # a first gradient takes too long for structures
    found = verified(unfused, wide(unfused), **half)
    assert (found.ok, found.notes) == (True, ())
    assert "small inputs" in str(verified(lost, wide(lambda x: x * 1), **half))


def two_outputs(x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Two have a gradient; that of `above` is 0."""
    lse = torch.logsumexp(x, -1)
    above = (x > 0).to(x.dtype) + torch.round(0 * x)
    return {"out": torch.exp(x - lse[:, None]), "lse": lse, "above": above}


def test_an_output_whose_gradient_is_forgotten_is_found() -> None:
    """Gradients are propagated from every output that has one in the reference."""

    def detaches(name: str) -> Function:
        def function(x: torch.Tensor) -> dict[str, torch.Tensor]:
            found = two_outputs(x)
            return {**found, name: found[name].detach()}

        return function

    reference = wide(two_outputs)
    for name in ("out", "lse"):
        said = str(verified(detaches(name), reference, backward=True, names=("x",)))
        assert "grad_x" in said
        assert f"returned {name} without a gradient, which the reference's has" in said
    assert verified(detaches("above"), reference, backward=True, names=("x",)).ok


def test_a_forgotten_gradient_is_found_below_the_noise_as_well() -> None:
    """A loss beside an output that moves its inputs by less than rounding does."""

    def with_loss(x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": torch.exp(x), "loss": 1e-4 * x.square().mean()}

    def forgets(x: torch.Tensor) -> dict[str, torch.Tensor]:
        found = with_loss(x)
        return {**found, "loss": found["loss"].detach()}

    given = {"backward": True, "names": ("x",), "dtype": "bfloat16"}
    assert verified(with_loss, wide(with_loss), **given).ok
    said = str(verified(forgets, wide(with_loss), **given))
    assert said == "returned loss without a gradient, which the reference's has"
    shared = SharedReferences()  # the second finds the reference there, and what is known of it
    for _ in range(2):
        again = verifier(forgets, wide(with_loss), shared=shared, **given).verify("before")
        assert str(again) == said
    assert len(shared.by_problem) == 1


def test_gradients_of_a_tuple_are_those_of_named_outputs_in_their_order() -> None:
    """The reference names its outputs, and the implementation returns them in order."""
    reference = wide(two_outputs)

    def right(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(two_outputs(x).values())

    def wrong(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out, lse, above = right(x)
        return out, (2 * lse) - lse.detach(), above

    assert verified(right, reference, backward=True, names=("x",)).ok
    assert "grad_x" in str(verified(wrong, reference, backward=True, names=("x",)))


def test_the_wrong_shape_is_said_as_such_with_gradients_too() -> None:
    """The gradient of an output cannot be propagated through one of another shape."""
    found = ended(lambda x: x.T * 2, wide(lambda x: x * 2), backward=True, names=("x",))
    assert "returned shape (64, 16), expected (16, 64): a transpose is missing?" in found.message


def positive(config: Config, form: str, seed: int) -> tuple[torch.Tensor, ...]:
    """A positive definite matrix."""
    (a,) = draw((24, 24))(config, form, seed)
    return (a @ a.T / 24 + torch.eye(24),)


def by_columns(a: torch.Tensor) -> torch.Tensor:
    """A Cholesky factor that knows no error: of zeros it is NaN."""
    a = a.clone()
    for k in range(len(a)):
        a[k, k] = a[k, k].sqrt()
        a[k + 1 :, k] = a[k + 1 :, k] / a[k, k]
        a[k + 1 :, k + 1 :] -= a[k + 1 :, k, None] * a[k + 1 :, k]
    return a.tril()


def test_an_implementation_may_raise_where_there_is_no_answer() -> None:
    """A matrix of zeros has no Cholesky factor: the library says so, a reference by hand divides."""
    for reference in (torch.linalg.cholesky, by_columns):
        for function in (torch.linalg.cholesky, by_columns):
            assert verified(function, wide(reference), positive).ok


def test_what_raises_on_inputs_with_structure_that_have_an_answer_has_failed() -> None:
    """And the message names the inputs."""

    def divides(x: torch.Tensor) -> torch.Tensor:
        if not bool(x.any()):
            raise ZeroDivisionError("nothing is left")
        return x * 2

    found = ended(divides, wide(lambda x: x * 2))
    assert found.outcome is Outcome.FAILED
    assert "on zeros inputs: nothing is left" in found.message


def test_an_output_alone_is_out_to_a_judge() -> None:
    """As a file's reference and the guides call it; other names are refused with those there are."""

    def judge(inputs: Any, outputs: Any, expected: Any) -> Any:
        return {"out: distance": ((outputs["out"] - expected["out"]).abs().max(), 1e-6)}

    def confused(inputs: Any, outputs: Any, expected: Any) -> Any:
        return {"values": (outputs["values"].sum(), 1.0)}

    assert verified(lambda x: x * 2, wide(lambda x: x * 2), judge=judge).ok
    said = str(verified(lambda x: x * 3, wide(lambda x: x * 2), judge=judge))
    assert "out: distance" in said
    assert "output:" not in said  # the rule is not asked as well
    with pytest.raises(KeyError, match="there is no output 'values'; there is output"):
        verified(lambda x: x * 2, wide(lambda x: x * 2), judge=confused)


def test_large_inputs_whose_way_is_beyond_the_dtype_are_asked_nothing() -> None:
    """A decay of exp(-exp(a)) is 0 of large inputs, and the difference of two such logarithms NaN."""

    def decayed(x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        decay, state, found = torch.exp(-torch.exp(a)), torch.zeros_like(x[0]), []
        for row in x:
            state = decay * state + row
            found.append(state)
        return torch.stack(found)

    def by_logarithms(x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        steps = (-torch.exp(a)).expand(len(x), -1).cumsum(0)
        apart = (steps[:, None] - steps[None]).masked_fill(
            torch.ones(len(x), len(x)).triu(1).bool()[..., None], -math.inf
        )
        return (torch.exp(apart) * x[None]).sum(1)

    inputs = draw((12, 32), (32,))
    assert verified(by_logarithms, wide(decayed), inputs).ok
    said = str(verified(lambda x: x.exp().log(), wide(lambda x: 1 * x)))
    assert "on large inputs" in said  # the reference's own way is short


def test_the_order_of_ties_that_a_reference_states_is_tried_on_inputs_that_have_some() -> None:
    """Of float32's values few are equal: a sort that is flipped looks stable. Which of equal values
    an argmax names is left to the workload's own inputs.
    """

    def sort(x: torch.Tensor) -> Any:
        return torch.sort(x, dim=1, descending=True, stable=True).indices

    def flipped(x: torch.Tensor) -> Any:
        return torch.sort(x, dim=1, stable=True).indices.flip(1)

    assert verified(sort, wide(sort)).ok
    assert "on ties inputs" in str(verified(flipped, wide(sort)))

    def latest(x: torch.Tensor) -> torch.Tensor:
        return x.shape[1] - 1 - x.flip(1).argmax(1)

    assert verified(latest, wide(lambda x: x.argmax(1))).ok
    assert verified(lambda x: (x * 3).argsort(1), wide(lambda x: x.argsort(1))).ok


def test_choices_among_scores_that_underflow_are_free() -> None:
    """On large inputs all probabilities but one are 0 in the reference, and scores are apart."""

    def weighted(inputs: int) -> Function:
        return draw((40, 16), (inputs, 16))

    def route(x: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = torch.softmax(x @ w.T, -1).topk(2)
        return found.values, found.indices

    def by_scores(x: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = x @ w.T
        indices = scores.topk(2).indices
        return torch.softmax(scores, -1).gather(-1, indices), indices

    def only_second(x: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, indices = by_scores(x, w)
        return values, indices[:, [1, 1]]

    assert verified(by_scores, wide(route), weighted(8)).ok
    assert verified(
        lambda x, w: by_scores(x, w)[1], wide(lambda x, w: route(x, w)[1]), weighted(8)
    ).ok
    assert not verified(only_second, wide(route), weighted(8)).ok


def test_gradients_of_outputs_whose_shapes_follow_the_values() -> None:
    """On inputs with structure another number of them is positive."""

    def positive(x: torch.Tensor) -> torch.Tensor:
        return x[x.detach() > 0.5] * 3

    assert verified(positive, wide(positive), backward=True, names=("x",)).ok
