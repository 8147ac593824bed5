"""A search: proposes what it may, learns from how that ended, and goes on with what it had learnt."""

from __future__ import annotations

import json
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.outcome import Outcome
from orchestrator.plan.sweep import Sweep
from orchestrator.report import render
from orchestrator.results.answers import answers
from orchestrator.search import factory
from orchestrator.search.factory import bounds
from orchestrator.search.sampler import RandomSampler
from orchestrator.search.searcher import NO_SCALE
from orchestrator.search.tune import TuneSampler
from orchestrator.spec.search_space import Coordinates, Space
from orchestrator.trial import Trial
from tests.support.driven import Driven, End, values
from tests.support.sweeps import problems, sweep, text

BLOCKS = "options.block: {low: 16, high: 256, step: 16}"
WIDE = "options.block: {low: 1, high: 1000000}"  # too wide to come upon a point twice
WARPS = "options.warps: [1, 2, 4, 8]"


def search(
    axes: str = f"{BLOCKS}, {WARPS}", how: str = "strategy: random, samples: 12", **fields: str
) -> Sweep:
    fields = {"implementations": "[improved]", **fields}
    return sweep(
        axes=f"{{batch: [1], seq_len: [64], heads: [4], {axes}}}", search=f"{{{how}}}", **fields
    )


def bowl(trial: Trial) -> End:
    """Best at a block of 96 and 4 warps; 1 ms there."""
    block, warps = trial.options.get("block", 16), trial.options.get("warps", 1)
    return Outcome.OK, 1 + ((block - 96) / 64) ** 2 + abs(warps - 4) / 4


def block(trial: Trial) -> float:
    """Latency in ms: the size of the block."""
    return float(trial.options.get("block", 16))


def points(driven: Driven) -> list[tuple[object, ...]]:
    return values(driven.made, "options.block", "options.warps")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["random", "optuna"])
def test_a_seed_gives_its_proposals_and_gives_them_again(strategy: str) -> None:
    """As many as there are samples, none twice, all of the space; another seed gives others."""
    how = f"strategy: {strategy}, samples: 12"
    made = points(Driven(search(how=how)).drive(bowl))
    assert len(made) == len(set(made)) == 12
    assert all(block in range(16, 257, 16) and warps in (1, 2, 4, 8) for block, warps in made)
    assert points(Driven(search(how=how)).drive(bowl)) == made
    assert points(Driven(search(how=how, seed="1")).drive(bowl)) != made
    assert points(Driven(search(how=f"{how}, seed: 1")).drive(bowl)) != made


def test_what_is_learnt_leads_to_what_is_better() -> None:
    """Of 50 points of 3,840 the last 25 are, in the middle, much nearer to the best than the 10
    drawn by chance.
    """
    axes = "options.block: {low: 1, high: 960}, options.warps: [1, 2, 4, 8]"
    made = Driven(search(axes, "strategy: optuna, samples: 50")).drive(
        lambda trial: (
            Outcome.OK,
            1 + abs(trial.options["block"] - 96) / 96 + abs(trial.options["warps"] - 4),
        )
    )
    excess = [(record.metrics or {})["latency_ms"] - 1 for record in made.records]
    assert statistics.median(excess[25:]) < 0.7 * statistics.median(excess[:10])
    (answer,) = answers(made.results().meta, made.results().rows)
    assert answer.best is not None
    assert answer.best.trial.options["warps"] == 4
    assert answer.value == min(excess) + 1


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["random", "optuna"]), st.integers(0, 12), st.integers(1, 3), st.integers(0, 99)
)
def test_a_search_goes_on_as_if_it_had_never_stopped(
    strategy: str, stop: int, slots: int, seed: int
) -> None:
    """Killed after any record with others under way: the proposals of before stand, and nothing is
    run twice.
    """
    found = search(how=f"strategy: {strategy}, samples: 12")
    driven = Driven(found).drive(bowl, slots=slots, seed=seed, stop_after=stop)
    before = [proposal.trial.trial_id for proposal in driven.proposals]
    driven.drive(bowl, slots=slots, seed=seed)
    assert [proposal.trial.trial_id for proposal in driven.proposals][: len(before)] == before
    keys = [record.key for record in driven.records]
    assert len(keys) == len(set(keys)) == 12
    if slots == 1:
        assert points(driven)[-1] == points(Driven(found).drive(bowl))[-1]


@pytest.mark.parametrize("strategy", ["random", "optuna"])
def test_a_search_that_stops_and_goes_on_proposes_what_it_would_have(strategy: str) -> None:
    """One slot, stopped after every record in turn: the same points in the same order."""
    found = search(how=f"strategy: {strategy}, samples: 8")
    whole = values(Driven(found).drive(bowl).records, "options.block", "options.warps")
    driven = Driven(found)
    for stop in range(1, 9):
        driven.drive(bowl, stop_after=stop)
    assert values(driven.records, "options.block", "options.warps") == whole


class Listening(TuneSampler):
    """A sampler of Ray Tune that is overheard."""

    heard: list[tuple[str, float]] = []

    def ask(self, token: str) -> Coordinates | None:
        return super().ask(token)

    def tell(self, token: str, value: float) -> None:
        self.heard.append((token, value))
        super().tell(token, value)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """What a searcher was told, in order."""
    Listening.heard = []
    monkeypatch.setattr("orchestrator.search.tune.TuneSampler", Listening)
    return Listening.heard


def test_a_trial_that_is_not_ok_is_told_as_bad_never_as_missing(
    heard: list[tuple[str, float]],
) -> None:
    """Twice as bad as the worst so far; as long as there is no scale, very bad."""
    outcomes = iter(
        [Outcome.OOM, Outcome.OK, Outcome.FAILED, Outcome.MISMATCH, Outcome.OK, Outcome.TIMEOUT]
    )
    latencies = iter([1.0, 3.0, 1.0, 1.0, 5.0, 1.0])
    Driven(search(WIDE, "strategy: optuna, samples: 6")).drive(
        lambda _: (next(outcomes), next(latencies))
    )
    assert [value for _, value in heard] == [NO_SCALE, 3.0, 6.0, 6.0, 5.0, 10.0]


def test_worse_is_less_where_the_most_is_wanted(heard: list[tuple[str, float]]) -> None:
    """A rate is to be large: what failed is told as below the least."""
    how = "strategy: optuna, samples: 4, metric: throughput_tokens_per_s"
    ends = iter([(Outcome.OOM, 1.0), (Outcome.OK, 10.0), (Outcome.OK, 4.0), (Outcome.OOM, 1.0)])
    driven = Driven(search(WIDE, how)).drive(lambda _: next(ends))
    assert [value for _, value in heard] == [-NO_SCALE, 100.0, 250.0, 0.0]
    (answer,) = answers(driven.results().meta, driven.results().rows)
    assert answer.value == 250.0


def test_a_point_that_cannot_be_is_told_as_bad_and_not_run(heard: list[tuple[str, float]]) -> None:
    """Refused by the workload's model, or excluded: it costs no trial, and there is an end to
    asking.
    """
    axes = "ring_size: [1, 2, 3], options.block: {low: 1, high: 64}"
    found = search(axes, "strategy: optuna, samples: 10, over: [ring_size, options.block]",
                   exclude="['seq_len % options.block != 0']", implementations="[ring_v2]")  # fmt: skip
    driven = Driven(found).drive(lambda _: (Outcome.OK, 1.0))
    assert all(64 % attempt.trial.options["block"] == 0 for attempt in driven.made)
    assert any(value > 1.0 for _, value in heard)
    assert 0 < len(driven.made) <= 10
    assert len(heard) <= 200


def test_points_that_the_workload_refuses_are_no_trials() -> None:
    """A sequence that no segment divides."""
    axes = "{batch: [1], heads: [4], seq_len: {low: 50, high: 70}}"
    found = sweep(axes=axes, implementations="[improved]", search="{strategy: random, samples: 30}")
    driven = Driven(found).drive(lambda _: (Outcome.OK, 1.0))
    assert sorted(values(driven.made, "seq_len")) == [(52,), (56,), (60,), (64,), (68,)]
    assert bounds(found) == (1, 21)


def test_a_small_space_is_searched_whole_and_no_more() -> None:
    """Fewer points than samples: each once."""
    for strategy in ("random", "optuna"):
        driven = Driven(search(WARPS, f"strategy: {strategy}, samples: 50")).drive(bowl)
        assert sorted(values(driven.made, "options.warps")) == [(1,), (2,), (4,), (8,)]


def test_each_shape_and_each_implementation_is_a_search_of_its_own() -> None:
    """What is best for one tells nothing of another."""
    found = sweep(
        axes=f"{{batch: [1, 2], seq_len: [64], heads: [4], {WARPS}}}",
        search="{strategy: random, samples: 3}",
    )
    driven = Driven(found).drive(bowl)
    made = [
        (attempt.trial.implementation, attempt.trial.params["batch"]) for attempt in driven.made
    ]
    assert made == [
        (name, batch) for name in ("standard", "improved") for batch in (1, 2) for _ in range(3)
    ]
    assert found.plan.explain() == [
        "2 implementations x 2 batch x 1 seq_len x 1 heads = 4 searches",
        "random over options.warps (4): at most 3 of 4 points each",
    ]
    assert bounds(found) == (4, 12)
    spread = Driven(found).drive(bowl, slots=4).proposals[:4]
    assert len({(each.trial.implementation, each.trial.params["batch"]) for each in spread}) == 4


def test_the_first_points_are_those_that_are_given() -> None:
    """`{}` is the implementation as it is shipped: no option is set. The best is compared with it."""
    found = search(
        how="strategy: optuna, samples: 6, first: [{}, {options.block: 96, options.warps: 4}]"
    )
    driven = Driven(found).drive(bowl)
    assert points(driven)[:2] == [(None, None), (96, 4)]
    assert len(driven.made) == 6
    (answer,) = answers(driven.results().meta, driven.results().rows)
    assert answer.start is not None
    assert dict(answer.start.trial.options) == {}
    assert answer.value == 1.0


def test_a_point_that_was_run_before_is_not_run_again() -> None:
    """Trials keep their ids: what an earlier run of the sweep measured is known."""
    driven = Driven(search(how="strategy: random, samples: 6")).drive(bowl)
    more = Driven(
        search(how="strategy: random, samples: 9"), driven.records, driven.proposals, []
    ).drive(bowl)
    assert len(more.made) == 3
    assert len(more.records) == 9


def test_the_best_so_far_is_where_the_next_may_be_cut() -> None:
    """A tenth above the end of its interval; nothing is cut where another figure is asked for."""
    driven = Driven(search(how="strategy: random, samples: 12")).drive(bowl)
    best = None
    for attempt, record in zip(driven.made, driven.records, strict=True):
        assert attempt.cut_above_ms == (None if best is None else pytest.approx(1.1 * 1.01 * best))
        latency = (record.metrics or {})["latency_ms"]
        best = latency if best is None else min(best, latency)
    assert any("cut" in record.flags for record in driven.records)
    how = "strategy: random, samples: 12, metric: throughput_tokens_per_s"
    assert all(attempt.cut_above_ms is None for attempt in Driven(search(how=how)).drive(bowl).made)


def test_only_chooses_among_what_is_proposed(tmp_path) -> None:
    """Points for which it does not hold are not run."""
    axes = f"{{batch: [1, 2], seq_len: [64], heads: [4], {WARPS}}}"
    text = "\n".join([
        "name: tiny", "workload: dilated_attention", "implementations: [improved]", f"axes: {axes}",
        "constants: {segment_lengths: [16], dilation_rates: [1]}", "search: {strategy: random, samples: 9}",
    ])  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(text)
    found = Sweep.load(tmp_path / "sweep.yaml", only="batch == 2 and options.warps > 2")
    driven = Driven(found).drive(bowl)
    assert sorted(values(driven.made, "batch", "options.warps")) == [(2, 4), (2, 8)]
    assert "1 of which no point is left by exclude and --only" in " ".join(found.plan.explain())


def test_what_a_searcher_no_longer_proposes_is_kept() -> None:
    """Another version of its library: what was run is learnt, and the search goes on from there."""
    found = search(how="strategy: optuna, samples: 8")
    driven = Driven(found).drive(bowl, stop_after=4)
    other = Driven(
        search(how="strategy: optuna, samples: 8, seed: 7"), driven.records, driven.proposals, []
    )
    other.drive(bowl)
    assert len(other.records) == 8
    assert len({record.trial_id for record in other.records}) == 8


@pytest.mark.parametrize("strategy", ["random", "optuna"])
@pytest.mark.parametrize(
    "axes",
    [
        BLOCKS,  # an axis fewer
        f"{BLOCKS}, {WARPS}, options.stages: [1, 2]",
        f"options.block: {{low: 100, high: 140, step: 4}}, {WARPS}",
        f"options.block: [256, 16, 96, 7], {WARPS}",
        f"options.block: {{low: 16, high: 256, log: true, step: 48}}, {WARPS}",
        f"options.block: {{low: 0.5, high: 100}}, {WARPS}",
        f"{BLOCKS}, options.warps: [8, 2, 3]",
    ],
)  # fmt: skip
def test_a_search_goes_on_in_another_space(strategy: str, axes: str) -> None:
    """The file was changed before it went on: points that still lie there are known, others are
    none of it.
    """
    how = f"strategy: {strategy}, samples: 12"
    driven = Driven(search(how=how)).drive(bowl, stop_after=10)
    found = search(axes, how)
    other = Driven(found, list(driven.records), list(driven.proposals), []).drive(bowl)
    space = factory.Space.of(found.spec)
    for row in other.results().rows:
        assert row.outcome is Outcome.OK
        place = space.coordinates({name: row.value(name) for name in found.spec.searched})
        assert place is not None
        assert all(value == row.value(name) for name, value in space.values(place).items())
        assert {f"options.{name}" for name in row.trial.options} == set(found.spec.searched)
    size = space.size
    assert len(other.results().rows) == (12 if size is None else min(12, size))
    (answer,) = answers(other.results().meta, other.results().rows)
    assert answer.value == min((row.metrics["latency_ms"] or 0) for row in other.results().rows)


def test_what_is_searched_beside_a_pattern_in_shares_of_it_is_one_search() -> None:
    """The segments that follow from a searched sequence are those of its cell, and not a cell of
    their own.
    """
    patterns = '[["seq_len // 4"], ["seq_len"]]'
    axes = f"{{batch: [1], heads: [4], segment_lengths: {patterns}, seq_len: {{low: 64, high: 512, step: 64}}}}"
    found = sweep(axes=axes, constants="{dilation_rates: [1]}", implementations="[improved]",
                  search="{strategy: random, samples: 5}")  # fmt: skip
    driven = Driven(found).drive(lambda trial: (Outcome.OK, trial.params["seq_len"] / 64))
    given = answers(driven.results().meta, driven.results().rows)
    assert [(answer.point["segment_lengths"], len(answer.rows)) for answer in given] == [
        (["seq_len // 4"], 5), (["seq_len"], 5)
    ]  # fmt: skip


def test_a_point_that_two_searches_share_is_run_once_and_known_to_both() -> None:
    """Arithmetic makes two patterns the same at some lengths."""
    patterns = '[["min(seq_len, 64)"], ["seq_len"]]'
    axes = f"{{batch: [1], heads: [4], segment_lengths: {patterns}, seq_len: [16, 32, 64, 128]}}"
    found = sweep(axes=axes, constants="{dilation_rates: [1]}", implementations="[improved]",
                  search="{strategy: optuna, samples: 8, over: [seq_len]}")  # fmt: skip
    for slots in (1, 2, 4):
        driven = Driven(found).drive(lambda trial: (Outcome.OK, 1.0), slots=slots)
        assert len(driven.made) == len({attempt.trial.trial_id for attempt in driven.made}) == 5
        assert {(64, 128), (128, 128)} <= {
            (attempt.trial.params["segment_lengths"][0], attempt.trial.params["seq_len"])
            for attempt in driven.made
        }


@pytest.mark.parametrize("strategy", ["random", "optuna"])
def test_proposals_lie_where_their_coordinates_say(strategy: str) -> None:
    """They are kept with them, as JSON."""
    axes = f"options.scale: {{low: 0.001, high: 1.0, log: true}}, {BLOCKS}, options.kind: [a, b, [1, 2]]"
    found = search(axes, f"strategy: {strategy}, samples: 5")
    space = factory.Space.of(found.spec)
    for proposal in Driven(found).drive(bowl).proposals:
        again = factory.Proposal.model_validate_json(proposal.model_dump_json())
        assert again.coordinates is not None
        told = {
            name.removeprefix("options."): value
            for name, value in space.values(again.coordinates).items()
        }
        assert json.dumps(told, sort_keys=True) == json.dumps(
            proposal.trial.options, sort_keys=True
        )


def test_the_few_points_that_can_be_are_found() -> None:
    """One of 960 is left: there is a search, and it runs that one; of 99 out of 9,999 it runs as
    many as it may.
    """
    axes = "options.block: {low: 1, high: 240}, options.warps: [1, 2, 4, 8]"
    rule = "['not (options.block == 77 and options.warps == 2)']"
    assert points(Driven(search(axes, exclude=rule)).drive(bowl)) == [(77, 2)]
    axes = "options.block: {low: 1, high: 9999}, options.warps: [1]"
    driven = Driven(search(axes, exclude="['options.block % 101 != 0']")).drive(bowl)
    assert len(points(driven)) == 12


@pytest.mark.parametrize(
    ("exclude", "gpus"),
    [("[]", 4), ("['world_size == 4']", 2), ("['world_size > 1 and options.block < 32']", 4)],
)
def test_slots_have_room_for_the_hungriest_that_may_be_proposed(exclude: str, gpus: int) -> None:
    """How many GPUs a trial takes may depend on what is searched: that of one point says nothing of
    another.
    """
    how = "strategy: random, samples: 4, over: [world_size, options.block]"
    found = search(
        "world_size: [1, 4, 2], options.block: [16, 32]",
        how,
        implementations="[ring_v2]",
        exclude=exclude,
    )
    assert [found.gpus(trial) for trial in found.trials] == [gpus]


def test_a_space_in_which_nothing_can_be_is_refused_once_per_field() -> None:
    """By the first of the points that were tried, and not by each of them."""
    found = problems(text(axes="{batch: [1], seq_len: [64], heads: {low: 0.5, high: 100}}",
                          search="{strategy: random, samples: 4}", implementations="[improved]"))  # fmt: skip
    assert [each.field for each in found] == ["axes.heads"]
    assert found[0].found == "0.5"


def test_what_is_to_be_run_again_cuts_nothing() -> None:
    """A slower implementation is not held against what the faster one gave; what was cut by it is
    run in full.
    """
    driven = Driven(search(how="strategy: random, samples: 6, seed: 1")).drive(
        lambda trial: (Outcome.OK, block(trial))
    )
    assert any("cut" in record.flags for record in driven.records)
    made = len(driven.made)
    driven.drive(lambda trial: (Outcome.OK, 3 * block(trial)), rerun="all")
    best = min(driven.results().rows, key=lambda row: row.metrics["latency_ms"])
    assert best.flags == ()
    assert driven.made[made].cut_above_ms is None


def test_a_trial_is_run_in_full_when_what_it_was_cut_for_is_gone() -> None:
    """The file no longer asks for the best: of the rest none stays cut short that is the best now."""
    axes = "{batch: [1], seq_len: [64], heads: [4], options.block: [1, 30, 40, 50]}"
    fields = {
        "axes": axes,
        "implementations": "[improved]",
        "search": "{strategy: random, samples: 4}",
    }
    driven = Driven(sweep(**fields)).drive(lambda trial: (Outcome.OK, block(trial)))
    driven.sweep = sweep(**fields, exclude="['options.block == 1']")
    (answer,) = driven.drive(lambda trial: (Outcome.OK, block(trial))).results().answers
    assert answer.best is not None
    assert (answer.value, answer.best.flags) == (30.0, ())


def test_an_interrupted_search_says_of_how_many_it_ran() -> None:
    """In its table, rows not run apart from those that went wrong."""
    driven = Driven(search(how="strategy: random, samples: 6, seed: 1"))
    driven.drive(lambda trial: (Outcome.OK, block(trial)), slots=2, stop_after=3)
    assert "| 5 of at most 6, 2 not run |" in render(driven.results(), "txt")


def test_a_search_without_a_trial_is_a_table_without_rows() -> None:
    """The low corner may be run, and is never drawn from a million."""
    exclude = "['options.block != 1']"
    driven = Driven(search(WIDE, exclude=exclude)).drive(lambda _: (Outcome.OK, 1.0))
    assert "0 trials: no point that may be run was proposed" in render(driven.results(), "txt")
    assert not driven.results().all_ok


def test_a_search_that_found_nothing_is_not_good() -> None:
    """Though every way in which its trials ended is allowed."""
    driven = Driven(search(how="strategy: random, samples: 3", allow_outcomes="[failed]"))
    assert not driven.results().all_ok
    assert not driven.drive(lambda _: (Outcome.FAILED, 1.0)).results().all_ok
    ends = iter([Outcome.FAILED, Outcome.OK, Outcome.FAILED])
    driven = Driven(search(how="strategy: random, samples: 3", allow_outcomes="[failed]"))
    assert driven.drive(lambda _: (next(ends), 1.0)).results().all_ok


@pytest.mark.parametrize(
    ("axes", "fields"),
    [
        (
            '{segment_lengths: [["seq_len"], ["seq_len // 2"], [64]], seq_len: [256], batch: [1], heads: [2]}',
            {"constants": "{dilation_rates: [1]}"},
        ),
        (
            "{batch: [1, 2, 4], seq_len: [64], heads: ['2 * batch', 4]}",
            {"constants": "{segment_lengths: [64], dilation_rates: [1]}"},
        ),
    ],
)
def test_whatever_was_proposed_is_in_the_table(axes: str, fields: dict[str, str]) -> None:
    """Also where a value is worked out, and looks like none of those that the file states."""
    found = sweep(
        axes=axes, implementations="[standard]", search="{strategy: random, samples: 3}", **fields
    )
    driven = Driven(found).drive(lambda _: (Outcome.OK, 1.0))
    rows = driven.results().rows
    assert {row.trial_id for row in rows} == {attempt.trial.trial_id for attempt in driven.made}
    assert sum(len(answer.rows) for answer in driven.results().answers) == len(rows) == 3


def test_a_question_of_a_changed_file_has_its_own_trials_alone() -> None:
    """An axis is taken out, so that its default holds: trials at its other values are no answer any
    more.
    """
    axes = "{batch: [1], seq_len: [64], heads: [4], options.block: {low: 1, high: 64}, causal: [true, false]}"
    constants = "{segment_lengths: [64], dilation_rates: [1]}"
    search = "{strategy: random, samples: 4}"
    was = sweep(axes=axes, implementations="[standard]", search=search, constants=constants)
    now = sweep(
        axes=axes.replace(", causal: [true, false]", ""),
        implementations="[standard]", search=search, constants=constants,
    )  # fmt: skip
    driven = Driven(was).drive(lambda trial: (Outcome.OK, 1.0 if trial.params["causal"] else 2.0))
    driven.sweep = now
    results = driven.drive(lambda _: (Outcome.OK, 2.0)).results()
    (answer,) = results.answers
    assert {row.params["causal"] for row in results.rows} == {False}
    assert answer.value == 2.0
    assert len(answer.rows) == 4


def test_a_search_that_ends_early_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its searcher proposes nothing more, or nothing that can be run; one that has its samples says
    nothing.
    """
    assert Driven(search(how="strategy: random, samples: 3")).drive(bowl).said == []
    assert Driven(search(WARPS, "strategy: random, samples: 30")).drive(bowl).said == []
    drawn = RandomSampler.ask
    counted = iter(range(1000))
    with monkeypatch.context() as patched:
        patched.setattr(
            RandomSampler,
            "ask",
            lambda own, token: drawn(own, token) if next(counted) < 4 else None,
        )
        said = Driven(search(how="strategy: random, samples: 12")).drive(bowl).said
    assert said == ["improved: 4 of 12 samples, since random proposes nothing more"]
    fixed = drawn(RandomSampler(Space.of(search().spec), "seed"), "0")
    monkeypatch.setattr(RandomSampler, "ask", lambda _own, _token: fixed)
    (why,) = Driven(search(how="strategy: random, samples: 12")).drive(bowl).said
    assert why.startswith("improved: 1 of 12 samples, since none of the last of")
