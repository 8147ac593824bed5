"""What may be searched, followed to its end or predicted, and what is refused, with its place and
the remedy.
"""

from __future__ import annotations

import pytest

from orchestrator.spec import searchers
from tests.support.sweeps import LINE, NEXT_LINE, problem, sweep, text

AXES = "{batch: [1, 2], seq_len: [64, 128], heads: [4], options.block: [16, 32]}"


@pytest.mark.parametrize(
    ("axis", "where", "rule"),
    [
        ("{low: 4, high: 2}", "axes.heads", "low must be less than high: low is 4, high is 2"),
        ("{low: 0, high: 2, log: true}", "axes.heads", "log needs low > 0: low is 0"),
        ("{low: 1, high: 2, step: 0}", "axes.heads.step", "must be greater than 0"),
        ("{low: 0, high: 1.0e+30, step: 1}", "axes.heads", "more than 1e+15 values: give a larger step"),
        ("{low: -1.0e+308, high: 1.0e+308}", "axes.heads", "low and high must lie between -1e+300 and 1e+300"),
        ("{low: 1, high: 2, step: 4}", "axes.heads", "step must not exceed high - low"),
        ("{low: 1}", "axes.heads.high", "required, and not given"),
        ("{low: 1, high: 2, stepp: 1}", "axes.heads.stepp", "unknown key"),
        ("{low: true, high: 2}", "axes.heads.low", "must be an integer or a number"),
        ("{low: 1, high: 900000, step: 1}", "axes", "heads is a range of 900000 values, more than 100000"),
        ("4", "axes.heads", "must be a list"),
        ("{low: 1, high: 8}", "axes.heads", "a range that is not searched needs a step, and no log"),
        ("{low: 1, high: 8, step: 1, log: true}", "axes.heads", "that is not searched needs a step, and no log"),
    ],
)  # fmt: skip
def test_a_range_that_cannot_be_is_refused(axis: str, where: str, rule: str) -> None:
    """With its field, the rule and the value."""
    found = problem(text(axes=f"{{batch: [1], seq_len: [64], heads: {axis}}}"))
    assert (found.field, found.line) == (where, LINE["axes"])
    assert rule in found.rule


def test_a_range_with_a_step_is_the_list_of_its_values() -> None:
    """Integers stay integers, decimals stay what they look like."""
    found = sweep(axes="{batch: {low: 1, high: 4, step: 2}, seq_len: [64], heads: [4]}")
    assert found.spec.axes["batch"] == [1, 3]
    assert found.plan.explain() == ["2 implementations x 2 batch x 1 seq_len x 1 heads = 4 trials"]
    found = sweep(
        axes="{batch: [1], seq_len: [64], heads: [4], options.x: {low: 0.1, high: 0.5, step: 0.1}}"
    )
    assert found.spec.axes["options.x"] == [0.1, 0.2, 0.3, 0.4, 0.5]


@pytest.mark.parametrize(
    ("search", "where", "rule"),
    [
        (
            "{strategy: optna}",
            "search.strategy",
            "there is no strategy 'optna' (did you mean 'optuna'?)",
        ),
        (
            "{strategy: bohb}",
            "search.strategy",
            "bohb pauses trials and goes on with them, and a trial here runs once",
        ),
        ("{strategy: random, samples: 0}", "search.samples", "must be greater than or equal to 1"),
        ("{strategy: random, mode: least}", "search.mode", "must be 'min' or 'max'"),
        (
            "{strategy: random, metric: latency}",
            "search.metric",
            "there is no metric 'latency' (did you mean",
        ),
        (
            "{strategy: random, over: [block]}",
            "search.over[0]",
            "there is no axis 'block' (known: batch, heads",
        ),
        (
            "{strategy: random, first: [{options.blok: 1}]}",
            "search.first[0].options.blok",
            "not an axis of this search",
        ),
        (
            "{strategy: random, over: [heads]}",
            "axes",
            "nothing to search: give an axis more than one value",
        ),
        (
            "{strategy: random, samples: 1, first: [{}, {options.block: 16}]}",
            "search.first",
            "2 points to begin with are more than samples, which is 1",
        ),
        (
            "{strategy: random, over: [batch, heads, batch]}",
            "search.over[2]",
            "batch stands here twice",
        ),
        (
            "{strategy: random, over: [batch], first: [{}]}",
            "search.first[0]",
            "batch is searched: give it a value here",
        ),
    ],
)
def test_a_search_that_cannot_be_is_refused(search: str, where: str, rule: str) -> None:
    """Before anything is run."""
    found = problem(text(axes=AXES, search=search))
    assert found.field == where
    assert rule in found.rule


def test_a_first_point_may_lie_beside_the_space_and_must_fit_a_range() -> None:
    """What is shipped need not be among what is searched; a text is nowhere on a range."""
    axes = "{batch: [1], seq_len: [64], heads: [4], options.block: {low: 16, high: 64}}"
    found = sweep(axes=axes, search="{strategy: random, first: [{options.block: 128}]}")
    assert found.spec.search.first == ({"options.block": 128},)
    refused = problem(text(axes=axes, search="{strategy: random, first: [{options.block: large}]}"))
    assert (refused.field, refused.rule) == (
        "search.first[0].options.block",
        "must be a number: the axis is a range",
    )


def test_a_searcher_whose_package_is_missing_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By plan and by run alike."""
    monkeypatch.setattr(searchers, "find_spec", lambda name: None)
    found = problem(text(axes=AXES, search="{strategy: hyperopt}"))
    assert (found.field, found.line) == ("search.strategy", NEXT_LINE)
    assert (
        found.rule
        == "strategy hyperopt needs a package that is not installed: pip install 'hyperopt'"
    )


@pytest.mark.parametrize(
    ("axis", "fields", "where", "rule"),
    [
        ("sequence", {}, "frontier.axis", "there is no axis 'sequence'"),
        ("options.kind", {}, "axes.options.kind", "must be numbers, least first"),
        ("options.down", {}, "axes.options.down", "must be numbers, least first"),
        ("seq_len", {"zip": "[[batch, seq_len]]"}, "zip[0]", "it cannot move with another axis"),
        (
            "seq_len",
            {"predict": "true"},
            "predict",
            "frontier and predict ask different questions: keep one",
        ),
        (
            "seq_len",
            {"search": "{strategy: random}"},
            "frontier",
            "search and frontier ask different questions",
        ),
    ],
)
def test_a_frontier_that_cannot_be_is_refused(
    axis: str, fields: dict[str, str], where: str, rule: str
) -> None:
    """With the axis that is meant."""
    axes = "{batch: [1, 2], seq_len: [64, 128], heads: [4], options.kind: [a, b], options.down: [2, 1]}"
    found = problem(text(axes=axes, frontier=f"{{axis: {axis}}}", **fields))
    assert found.field == where
    assert rule in found.rule


def test_a_search_refuses_what_no_point_of_it_can_be() -> None:
    """As a grid does, with the point at which it is impossible."""
    axes = "{batch: [1], seq_len: [64], heads: [4], options.block: [16, 32]}"
    constants = "{segment_lengths: [48], dilation_rates: [1]}"
    found = problem(
        text(
            axes=axes,
            search="{strategy: random}",
            constants=constants,
            implementations="[improved]",
        )
    )
    assert found.field == "constants.segment_lengths"
    assert "48 does not divide 64" in found.rule


@pytest.mark.parametrize(
    ("search", "searched"),
    [
        ("{strategy: grid}", ()),
        ("{strategy: random}", ("options.block",)),
        ("{strategy: random, over: [seq_len, batch]}", ("batch", "seq_len")),
    ],
)
def test_options_and_ranges_are_what_is_searched_unless_it_says_otherwise(
    search: str, searched: tuple[str]
) -> None:
    """The other axes are a grid of searches."""
    assert sweep(axes=AXES, search=search).spec.searched == searched


def test_every_axis_is_searched_where_there_are_neither_options_nor_ranges() -> None:
    """A search that names a strategy alone."""
    assert sweep(search="{strategy: random}").spec.searched == ("batch", "seq_len", "heads")
