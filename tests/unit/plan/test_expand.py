"""The trials of a sweep: the same file gives the same ones, in the same order, and says why there
are that many.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from pathlib import Path

import pytest
from hypothesis import given, settings

from orchestrator.errors import ExpressionError, RequestError, SweepFileError
from orchestrator.plan.expand import Plan, select
from orchestrator.plan.sweep import Sweep
from orchestrator.spec.product import product_size
from tests.support import strategies
from tests.support.sweeps import LINE, problem, problems, sweep, text


def params(found: Sweep, *names: str) -> list[tuple[object, ...]]:
    return [tuple(trial.params[name] for name in names) for trial in found.trials]


def test_the_order_is_implementation_outermost_then_the_first_axis_slowest() -> None:
    """As the table has it."""
    found = sweep()
    points = [(1, 64), (1, 128), (2, 64), (2, 128)]
    assert [trial.implementation for trial in found.trials] == ["standard"] * 4 + ["improved"] * 4
    assert params(found, "batch", "seq_len") == points * 2


def test_values_are_worked_out_from_other_params_and_from_defaults() -> None:
    """In whatever order they need each other, over lists, and with a plain slash."""
    pattern = (
        "segment_lengths: ['seq_len / 4', 'max(heads, 16) * world_size'], dilation_rates: [1, 2]"
    )
    found = sweep(
        axes="{batch: [1], seq_len: [64], heads: ['head_dim // 8']}",
        constants=f"{{head_dim: 'ring_size * 16', ring_size: 2, {pattern}}}",
    )
    assert params(found, "heads", "head_dim", "segment_lengths") == [(4, 32, [16, 16])] * 2


def test_an_entrys_own_params_take_part_in_the_arithmetic() -> None:
    """They hold for its rows alone, and win over a constant."""
    found = sweep(
        implementations="[standard, {use: ring_v2, params: {ring_size: 4}}]",
        constants="{ring_size: 1, head_dim: 'ring_size * 8', segment_lengths: [16], dilation_rates: [1]}",
    )
    assert set(params(found, "ring_size", "head_dim")) == {(1, 8), (4, 32)}


@pytest.mark.parametrize(
    ("constants", "where", "rule"),
    [
        (
            "{head_dim: ring_size, ring_size: head_dim}",
            "constants.head_dim",
            "need each other in a circle",
        ),
        ("{head_dim: 'head_dim + 1'}", "constants.head_dim", "head_dim needs itself"),
        ("{head_dim: 'seq_len // 0'}", "constants.head_dim", "integer division or modulo by zero"),
        ("{head_dim: 'seq_len / 3'}", "constants.head_dim", "must be an integer"),
        ("{head_dim: dtype}", "constants.head_dim", "which is not a number"),
        ("{head_dim: 0}", "constants.head_dim", "must be greater than or equal to 1"),
        ("{dtype: float8}", "constants.dtype", "must be 'float32', 'float16' or 'bfloat16'"),
        ("{causal: 1}", "constants.causal", "must be a boolean"),
        ("{segment_lengths: [48]}", "constants.segment_lengths", "48 does not divide 64"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_place(
    constants: str, where: str, rule: str
) -> None:
    """Impossible shapes are found by reading, with the point at which they are impossible."""
    source = text(
        axes="{batch: [1, 2], seq_len: [64], heads: [4]}",
        constants=constants.replace("{", "{segment_lengths: [16], dilation_rates: [1], ")
        if "segment" not in constants
        else constants.replace("{", "{dilation_rates: [1], "),
    )
    found = problem(source)
    assert (found.field, found.line) == (where, LINE["constants"])
    assert rule in found.rule
    assert found.found is not None
    assert "at standard, batch 1, seq_len 64, heads 4" in str(found.hint)


def test_what_is_wrong_for_every_point_is_said_once() -> None:
    """Not once for each of two implementations and two batches."""
    found = problems(text(axes="{batch: [1, 2], seq_len: [60, 64, 66], heads: [4]}"))
    assert [each.found for each in found] == ["[16, 66]"]
    lengths = json.dumps(list(range(3, 40)))
    found = problems(text(axes=f"{{batch: [1], seq_len: {lengths}, heads: [4]}}"))
    assert len(found) == 11
    assert "more of this kind" in found[-1].rule


def test_a_value_of_an_axis_is_named_with_its_index() -> None:
    """A bool is no int on an axis either."""
    found = problem(text(axes="{batch: [1, true], seq_len: [64], heads: [4]}"))
    assert (found.field, found.rule, found.found) == ("axes.batch[1]", "must be an integer", "true")


def test_a_param_that_is_required_is_named() -> None:
    """With both places where it could stand."""
    found = problem(text(axes="{batch: [1], seq_len: [64]}"))
    assert (found.field, found.line) == ("axes.heads", LINE["axes"])
    assert (
        "required by workload dilated_attention, and given neither in axes nor in constants"
        in found.rule
    )
    assert found.hint is None


def test_a_seed_that_inputs_asks_for_is_told_to_be_needless(tmp_path: Path) -> None:
    """Functions that draw often take one; here the harness seeds the generators."""
    (tmp_path / "norm.py").write_text(
        "import torch\n\n\ndef inputs(rows: int, seed: int):\n    return torch.randn(rows)\n\n\n"
        "def reference(x):\n    return x / 2\n\n\ndef halved(x):\n    return x * 0.5\n"
    )
    (tmp_path / "norm.yaml").write_text(
        "name: norm\nworkload: norm.py\nimplementations: [norm.py:halved]\naxes: {rows: [4]}\n"
    )
    with pytest.raises(SweepFileError) as caught:
        Sweep.load(tmp_path / "norm.yaml")
    (found,) = caught.value.problems
    assert found.field == "axes.seed"
    assert found.hint is not None
    assert "seeded before it is called" in found.hint


def test_excluded_trials_are_counted_by_the_first_rule_that_holds() -> None:
    """A rule that removes nothing says so, too; rules see defaults, options and the implementation."""
    rules = [
        "seq_len == 128 and batch == 2",
        "seq_len == 128",
        "head_dim == 32",
        "options.fast == true and batch == 1",
    ]
    entries = "[standard, {use: improved, options: {fast: true}}]"
    found = sweep(implementations=entries, exclude=json.dumps(rules))
    assert found.plan.explain() == [
        "2 implementations x 2 batch x 2 seq_len x 1 heads = 8 trials",
        "- 2 excluded by 'seq_len == 128 and batch == 2' = 6 trials",
        "- 2 excluded by 'seq_len == 128' = 4 trials",
        "- 0 excluded by 'head_dim == 32' = 4 trials",
        "- 1 excluded by 'options.fast == true and batch == 1' = 3 trials",
    ]
    assert len(found.trials) == 3


def test_an_exclude_that_fails_at_a_point_is_refused() -> None:
    """It neither excludes nor keeps."""
    found = problem(text(exclude="['batch / (heads - 4) > 1']"))
    assert found.field == "exclude[0]"
    assert "division by zero" in found.rule


def test_zipped_axes_move_together_where_the_first_of_them_stands() -> None:
    """Their product is their common length."""
    found = sweep(
        axes="{batch: [1, 2], heads: [4, 8], seq_len: [64, 128]}", zip="[[seq_len, batch]]"
    )
    assert (
        found.plan.explain()[0] == "2 implementations x 2 seq_len with batch x 2 heads = 8 trials"
    )
    assert params(found, "batch", "heads", "seq_len")[:4] == [
        (1, 4, 64),
        (1, 8, 64),
        (2, 4, 128),
        (2, 8, 128),
    ]


def test_points_that_come_out_the_same_are_one_trial_and_are_accounted_for() -> None:
    """A value worked out can equal one that is stated."""
    found = sweep(axes="{batch: [1, 'heads // 4'], seq_len: [64], heads: [4]}")
    assert len(found.trials) == 2
    assert found.plan.explain()[-1] == "- 2 the same as an earlier one = 2 trials"


def test_only_selects_and_says_how_many_it_left_out() -> None:
    """By params, implementation and options; an option that a trial has not is null."""
    source = text(implementations="[standard, {use: improved, options: {block_m: 64}}]")
    plan = Sweep.parse(source).plan
    assert {trial.implementation for trial in select(plan, "options.block_m == 64").trials} == {
        "improved"
    }
    chosen = select(plan, "implementation == 'standard' and batch == 1")
    assert len(chosen.trials) == 2
    assert (
        chosen.steps[-1].text
        == "- 6 not selected by --only \"implementation == 'standard' and batch == 1\""
    )
    with pytest.raises(ExpressionError):
        select(plan, "batch")


def test_nothing_selected_is_a_bad_request_that_explains_itself() -> None:
    """It shows where the trials went."""
    with pytest.raises(
        RequestError, match=r"nothing to run: .* = 8 trials; - 8 excluded by 'batch > 0' = 0 trials"
    ):
        sweep(exclude="['batch > 0']")


def _adds_up(plan: Plan) -> bool:
    pairs = itertools.pairwise(plan.steps)
    return all(before.left - after.removed == after.left for before, after in pairs) and plan.steps[
        -1
    ].left == len(plan.trials)


@pytest.mark.slow
@settings(deadline=None)
@given(strategies.attention_sweeps())
def test_any_plan_adds_up_and_is_deterministic(data: dict[str, object]) -> None:
    """From the product down to the count; the same file gives the same trials in the same order."""
    source = json.dumps(data)
    try:
        found = Sweep.parse(source)
    except RequestError:  # everything excluded
        return
    axes = found.spec.axes
    assert product_size(found.spec) == len(found.spec.implementations) * math.prod(
        len(axis) for axis in axes.values()
    )
    assert _adds_up(found.plan)
    assert Sweep.parse(source).trials == found.trials
    assert len({trial.trial_id for trial in found.trials}) == len(found.trials)


@settings(deadline=None, max_examples=30)
@given(strategies.attention_sweeps())
def test_the_order_of_axes_and_keys_orders_rows_and_changes_no_id(data: dict[str, object]) -> None:
    """A sweep file rearranged resumes what it had."""
    axes = data["axes"]
    assert isinstance(axes, dict)
    try:
        found = Sweep.parse(json.dumps(data))
    except RequestError:
        return
    turned = dict(reversed({**data, "axes": dict(reversed(axes.items()))}.items()))
    assert {trial.trial_id for trial in Sweep.parse(json.dumps(turned)).trials} == {
        trial.trial_id for trial in found.trials
    }


@pytest.mark.slow
def test_a_hundred_thousand_trials_are_planned_in_seconds() -> None:
    """About 5 s of CPU on an idle core; the bound allows for a busy machine and leaves no room for
    another order.
    """
    axes = {
        "batch": list(range(1, 26)),
        "seq_len": [1024, 2048, 4096, 8192],
        "causal": [True, False],
    }
    axes |= {"heads": list(range(2, 27)), "head_dim": list(range(8, 18))}
    source = text(axes=json.dumps(axes), exclude="['batch == 99']")
    began = time.process_time()
    found = Sweep.parse(source)
    assert len(found.trials) == product_size(found.spec) == 100_000
    assert time.process_time() - began < 25
