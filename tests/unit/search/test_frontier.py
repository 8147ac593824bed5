"""A frontier: the largest value that is ok, in few probes, whatever ends them, and however often it
is interrupted.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import run
from orchestrator.driver.queue import AttemptQueue
from orchestrator.executors.inline import InlineExecutor
from orchestrator.outcome import Outcome
from orchestrator.plan.sweep import Sweep
from orchestrator.progress.live import SilentProgress
from orchestrator.record import TrialRecord
from orchestrator.results.answers import answers
from orchestrator.results.meta import SweepMeta
from orchestrator.search.frontier import following, probes
from orchestrator.trackers.in_memory import MemoryTracker
from orchestrator.trial import Attempt, Trial
from tests.support.driven import HERE, Driven, End, Ends, ended, values
from tests.support.sweeps import sweep, text

PATTERN = "{segment_lengths: [16], dilation_rates: [1]}"


def frontier(
    axis: str = "{low: 16, high: 512, step: 16}", heads: str = "[4]", **fields: str
) -> Sweep:
    fields = {"implementations": "[standard]", **fields}
    axes = f"{{batch: [1], heads: {heads}, seq_len: {axis}}}"
    return sweep(**{"axes": axes, "constants": PATTERN, "frontier": "{axis: seq_len}", **fields})


def fits(most: float, otherwise: Outcome = Outcome.OOM) -> Ends:
    """Whatever is larger than `most` ends otherwise."""
    return lambda trial: (Outcome.OK if trial.params["seq_len"] <= most else otherwise, 1.0)


def largest(driven: Driven) -> list[float | None]:
    return [answer.value for answer in answers(driven.results().meta, driven.results().rows)]


def test_values_are_doubled_then_halved_towards_the_answer() -> None:
    """Each probe is a trial of the sweep, and no value is tried twice."""
    driven = Driven(frontier()).drive(fits(200))
    probed = [value for (value,) in values(driven.made, "seq_len")]
    assert probed == [16, 32, 64, 128, 256, 192, 224, 208]
    assert largest(driven) == [192]


def test_a_list_is_doubled_by_its_values() -> None:
    """One that doubles by itself is gone along, one that does not is jumped along."""
    driven = Driven(frontier("[64, 128, 192, 256, 448, 512]")).drive(fits(10**9))
    assert values(driven.made, "seq_len") == [(64,), (128,), (256,), (512,)]
    assert largest(driven) == [512]


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=60, unique=True).map(sorted), st.data())
def test_every_answer_is_found_within_the_probes_that_plan_foretells(
    axis: list[int], data: st.DataObject
) -> None:
    """From nothing fits to all of it does."""
    count = data.draw(st.integers(0, len(axis)))
    least, most = probes(axis)
    made = _probe(axis, count)
    assert least <= len(made) <= most
    assert len(set(made)) == len(made)
    assert {index for index in (count - 1, count) if 0 <= index < len(axis)} <= set(made)


def _probe(axis: list[int], count: int) -> list[int]:
    """The indices that a frontier probes over these values, of which the first `count` fit."""
    made: list[int] = []
    low, high = -1, len(axis)
    while high - low > 1:
        index = (low + high) // 2 if high < len(axis) else following(axis, low)
        made.append(index)
        low, high = (index, high) if index < count else (low, index)
    return made


def test_the_most_probes_are_really_needed_by_some_answer() -> None:
    """The bound is no more than it must be."""
    axis = list(range(16, 1024 + 1, 16))
    assert max(len(_probe(axis, count)) for count in range(len(axis) + 1)) == probes(axis)[1]
    assert probes(axis)[1] <= 2 * math.ceil(math.log2(len(axis))) + 1


def test_nothing_fits() -> None:
    """One probe says so; there is no largest value, and the sweep is not good."""
    driven = Driven(frontier()).drive(fits(0))
    assert len(driven.made) == 1
    assert largest(driven) == [None]
    assert not driven.results().all_ok


def test_out_of_memory_and_timeouts_bound_it_and_count_as_good() -> None:
    """Both grow with the axis; what lies just beyond says which it was."""
    for limit in (Outcome.OOM, Outcome.TIMEOUT):
        driven = Driven(frontier()).drive(fits(100, limit))
        (answer,) = answers(driven.results().meta, driven.results().rows)
        assert (answer.value, answer.beyond and answer.beyond.outcome, answer.settled) == (
            96,
            limit,
            True,
        )
        assert driven.results().all_ok


@pytest.mark.parametrize(
    "end", [Outcome.MISMATCH, Outcome.FAILED, Outcome.CRASHED, Outcome.UNSUPPORTED]
)
def test_any_other_end_ends_the_cell(end: Outcome) -> None:
    """It says nothing of what fits: the largest so far is shown, and how the next one ended."""
    driven = Driven(frontier()).drive(fits(100, end))
    assert [outcome for record in driven.records[-1:] for outcome in [record.outcome]] == [end]
    assert values(driven.made, "seq_len")[-1] == (128,)
    assert largest(driven) == [64]
    assert not driven.results().all_ok


def test_cells_are_probed_beside_each_other_where_there_are_slots() -> None:
    """Implementation by implementation, shape by shape, each on its own."""
    found = frontier(heads="[4, 8]", implementations="[standard, improved]")
    driven = Driven(found).drive(lambda trial: fits(1600 // trial.params["heads"])(trial), slots=4)
    assert (
        len(
            {
                (attempt.trial.implementation, attempt.trial.params["heads"])
                for attempt in driven.made[:4]
            }
        )
        >= 2
    )
    assert largest(driven) == [400, 192, 400, 192]
    assert driven.results().all_ok


def test_the_answer_is_a_metric_of_the_row_that_gives_it() -> None:
    """In every report, and in MLflow."""
    rows = Driven(frontier()).drive(fits(200)).results().rows
    marked = {
        row.params["seq_len"]: row.metrics["max_seq_len"]
        for row in rows
        if "max_seq_len" in row.metrics
    }
    assert marked == {192: 192.0}
    assert [row.params["seq_len"] for row in rows] == sorted(row.params["seq_len"] for row in rows)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(0, 20), st.integers(1, 4), st.integers(0, 99))
def test_a_frontier_goes_on_as_if_it_had_never_stopped(
    most: int, stop: int, slots: int, seed: int
) -> None:
    """Killed after any record, with probes under way: nothing finished is run again, and the answer
    is the same.
    """
    found = frontier(heads="[4, 8]")
    ends = fits(16 * most)
    whole = Driven(found).drive(ends, slots=slots, seed=seed)
    driven = (
        Driven(found)
        .drive(ends, slots=slots, seed=seed, stop_after=stop)
        .drive(ends, slots=slots, seed=seed + 1)
    )
    assert largest(driven) == largest(whole)
    keys = [record.key for record in driven.records]
    assert len(set(keys)) == len(keys)


def test_a_frontier_goes_on_without_what_was_proposed() -> None:
    """The journal alone is enough: what it holds is not probed again."""
    driven = Driven(frontier()).drive(fits(200), stop_after=5)
    driven.proposals.clear()
    assert largest(driven.drive(fits(200))) == [192]
    assert len(driven.made) == 8


def test_every_round_of_a_probe_must_fit() -> None:
    """A probe that fits once and not again does not fit."""
    ends: dict[str, int] = {}

    def once(trial: Trial) -> End:
        ends[trial.trial_id] = ends.get(trial.trial_id, 0) + 1
        fitting = trial.params["seq_len"] <= 100 or (
            trial.params["seq_len"] <= 200 and ends[trial.trial_id] == 1
        )
        return (Outcome.OK if fitting else Outcome.OOM, 1.0)

    assert largest(Driven(frontier(measure="{repeats: 2}")).drive(once)) == [96]


def test_a_lost_probe_is_made_again_before_it_counts() -> None:
    """As `retries` says; the supervisor's death is no verdict on the size."""
    lost: set[str] = set()

    def ends(trial: Trial) -> End:
        if trial.params["seq_len"] == 64 and trial.trial_id not in lost:
            lost.add(trial.trial_id)
            return Outcome.LOST, 1.0
        return fits(200)(trial)

    assert largest(Driven(frontier()).drive(ends)) == [192]


def test_what_exclude_leaves_out_is_not_probed() -> None:
    """The frontier goes along what is left."""
    driven = Driven(frontier(exclude="['seq_len > 100']")).drive(fits(10**9))
    assert largest(driven) == [96]
    assert driven.results().all_ok


def test_a_limit_that_no_longer_holds_is_gone_beyond() -> None:
    """What was out of memory is run again on a larger card: the frontier goes on from there."""
    driven = Driven(frontier()).drive(fits(200))
    driven.drive(fits(400), rerun="failed")
    assert largest(driven) == [400]
    assert driven.results().all_ok
    made = len(driven.made)
    assert len(driven.drive(fits(400), rerun="stale").made) == made


def by_pattern(most: int, **fields: str) -> Sweep:
    """A frontier of seq_len, up to `most`, for two patterns that are stated as arithmetic over it."""
    patterns = '[["seq_len // 4"], ["seq_len"]]'
    axes = f"{{batch: [1], heads: [4], segment_lengths: {patterns}, seq_len: {{low: 64, high: {most}, step: 64}}}}"
    fields = {"implementations": "[standard]", **fields}
    return sweep(axes=axes, constants="{dilation_rates: [1]}", frontier="{axis: seq_len}", **fields)


def test_what_is_worked_out_from_the_axis_is_one_cell() -> None:
    """A pattern in shares of the sequence is one question, and not another one at each length."""
    driven = Driven(by_pattern(512)).drive(fits(300))
    found = answers(driven.results().meta, driven.results().rows)
    stated = [answer.point["segment_lengths"] for answer in found]
    assert stated == [["seq_len // 4"], ["seq_len"]]
    assert [(answer.value, answer.settled) for answer in found] == [(256, True), (256, True)]
    assert driven.results().all_ok


def test_a_frontier_that_only_narrows_ends_where_it_says(tmp_path) -> None:
    """What --only left out is not waited for."""
    source = text(
        axes="{batch: [1], heads: [4], seq_len: {low: 16, high: 512, step: 16}}", constants=PATTERN,
        implementations="[standard]", frontier="{axis: seq_len}",
    )  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(source)
    driven = Driven(
        Sweep.load(tmp_path / "sweep.yaml", only="seq_len <= 128 and seq_len != 112")
    ).drive(fits(10**9))
    assert largest(driven) == [128]
    assert driven.results().all_ok


@pytest.mark.parametrize("rule", ["seq_len == 128", "segment_lengths[0] > 320", "seq_len < 0"])
def test_an_interrupted_frontier_is_settled_only_if_no_probe_is_left(rule: str) -> None:
    """What exclude takes away, also by what is worked out from the axis, need not be probed; all
    else must.
    """
    found = frontier(
        "{low: 64, high: 512, step: 64}", exclude=f"['{rule}']",
        constants='{segment_lengths: ["seq_len"], dilation_rates: [1]}',
    )  # fmt: skip
    settled = False
    for stop in range(1, 9):
        driven = Driven(found).drive(fits(300), stop_after=stop)
        (answer,) = answers(driven.results().meta, driven.results().rows)
        again = Driven(found, list(driven.records), list(driven.proposals), []).drive(fits(300))
        settled = not again.made
        assert answer.settled is settled
    assert settled


def test_a_frontier_goes_on_along_another_axis() -> None:
    """The file was changed before it went on: what it no longer asks for is neither run, nor shown,
    nor an answer.
    """
    for axis in (
        "{low: 16, high: 128, step: 16}",
        "[48, 80, 208]",
        "{low: 16, high: 1024, step: 32}",
    ):
        driven = Driven(frontier()).drive(fits(200), stop_after=5)
        other = Driven(frontier(axis), driven.records, driven.proposals, []).drive(fits(200))
        values_ = frontier(axis).spec.listed("seq_len")
        assert largest(other) == [max(value for value in values_ if value <= 200)]
        assert {row.params["seq_len"] for row in other.results().rows} <= set(values_)
        assert all(row.outcome is not None for row in other.results().rows)
        assert other.results().all_ok


def test_a_frontier_goes_on_with_other_implementations_and_constants() -> None:
    """A label that is gone, and a constant that is another: their rows are no answers of the
    changed file.
    """
    driven = Driven(frontier(implementations="[standard, improved]")).drive(
        fits(200), stop_after=12
    )
    other = Driven(frontier(implementations="[improved]", constants="{segment_lengths: [8], dilation_rates: [1]}"),
                   driven.records, driven.proposals, [])  # fmt: skip
    other.drive(fits(100), rerun="stale")
    assert largest(other) == [96]
    assert {row.implementation for row in other.results().rows} == {"improved"}


def test_a_probe_that_was_disturbed_is_not_made_again() -> None:
    """Whether a length fits does not depend on how busy the machine was; a search, which asks for
    times, repeats it.
    """
    asked = {
        "frontier": frontier(),
        "search": frontier(frontier="{}", search="{strategy: random, samples: 4}"),
    }
    made = {name: list[int]() for name in asked}
    for name, found in asked.items():
        queue = AttemptQueue(found, "20261122_093000_abcd", "cpu")
        while (attempt := queue.next()) is not None:
            made[name].append(attempt.attempt)
            queue.finished(ended(attempt, Outcome.OK).model_copy(update={"flags": ("contended",)}))
    assert made["frontier"] == [1] * len(made["frontier"])
    assert max(made["search"]) > 1


def test_progress_is_counted_of_what_the_changed_file_asks_for(tmp_path) -> None:
    """Probes of the file as it was before are done with, and no part of what is done."""

    def made(attempt: Attempt, _: object) -> TrialRecord:
        return ended(attempt, *fits(200)(attempt.trial))

    seen = list[SweepMeta]()

    class Watched(SilentProgress):
        def start(self, meta: SweepMeta, records: object) -> None:
            seen.append(meta)

    for found in (frontier(), frontier("[80, 176, 208]")):
        run(
            found, output=tmp_path / "out", resume=bool(seen), device="cpu", progress=Watched(), tracker=MemoryTracker,
            executor=lambda _: InlineExecutor(made, environment={"match": HERE}),
        )  # fmt: skip
    assert [trial.params["seq_len"] for trial in seen[1].planned] == [208]
    assert (tmp_path / "out" / "summary.txt").read_text().count("✓") == 2


def test_a_probe_that_two_cells_share_is_run_once_and_answers_both() -> None:
    """Below a limit two patterns are one: the larger's answer may lie there."""
    patterns = '[["min(seq_len, 256)"], ["seq_len"]]'
    axes = f"{{batch: [1], heads: [4], segment_lengths: {patterns}, seq_len: {{low: 64, high: 1024, step: 64}}}}"
    found = sweep(
        axes=axes, implementations="[standard]", constants="{dilation_rates: [1]}", frontier="{axis: seq_len}",
        exclude="['seq_len % segment_lengths[0] != 0']",
    )  # fmt: skip

    def ends(trial: Trial) -> End:
        return (Outcome.OOM if trial.params["segment_lengths"][0] > 300 else Outcome.OK), 1.0

    driven = Driven(found).drive(ends)
    assert {answer.point["segment_lengths"][0]: answer.value for answer in driven.results().answers} == {
        "min(seq_len, 256)": 1024, "seq_len": 256,
    }  # fmt: skip
    ids = [attempt.trial.trial_id for attempt in driven.made]
    assert len(ids) == len(set(ids)) == len(driven.results().rows)
