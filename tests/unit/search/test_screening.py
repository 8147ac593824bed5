"""A search that screens: shared processes first, the best by themselves, and only those answer."""

from __future__ import annotations

import itertools

import pytest

from orchestrator.driver.queue import LEAST_SCREENED, AttemptQueue
from orchestrator.outcome import Outcome
from orchestrator.plan.sweep import Sweep
from orchestrator.report import render
from orchestrator.report.layout import Layout
from orchestrator.report.ranking import Ranking
from orchestrator.results.answers import answers
from orchestrator.trial import Attempt, Trial
from tests.support.driven import HERE, Driven, End
from tests.support.sweeps import problems, sweep, text

SPACE = "options.block: {low: 1, high: 60}"
HOW = "strategy: random, samples: 36, screen: true"


def search(how: str = HOW, axes: str = SPACE, **fields: str) -> Sweep:
    return sweep(
        axes=f"{{batch: [1], seq_len: [64], heads: [4], {axes}}}",
        search=f"{{{how}}}",
        **{"implementations": "[improved]", **fields},
    )


def block(trial: Trial) -> int:
    return int(trial.options.get("block", 70))


def by_block(trial: Trial) -> End:
    """The smaller, the faster."""
    return Outcome.OK, float(block(trial))


def test_the_best_of_the_screened_are_measured_by_themselves_and_one_of_them_answers() -> None:
    """Two processes for 36 trials, then three by themselves: those of the least time."""
    driven = Driven(search()).drive(by_block)
    batches = [attempt for attempt in driven.made if attempt.screened]
    alone = [attempt for attempt in driven.made if not attempt.screened]
    assert [len(attempt.screened) for attempt in batches] == [LEAST_SCREENED, 36 - LEAST_SCREENED]
    screened = sorted(block(trial) for attempt in batches for trial in attempt.screened)
    assert [block(attempt.trial) for attempt in alone] == screened[:3]
    (answer,) = answers(driven.results().meta, driven.results().rows)
    assert answer.best is not None
    assert block(answer.best.trial) == screened[0]
    assert not answer.best.is_screened
    assert len(answer.rows) == 36
    assert sum(row.is_screened for row in answer.rows) == 33


def test_a_long_search_screens_a_third_of_its_samples_in_a_process() -> None:
    """More share what a process costs, and what was found tells twice where to look."""
    long = search(
        "strategy: random, samples: 150, screen: true", "options.block: {low: 1, high: 999}"
    )
    made = Driven(long).drive(by_block).made
    assert [len(attempt.screened) for attempt in made if attempt.screened] == [50, 50, 50]


def test_the_next_process_compares_with_the_best_so_far() -> None:
    """The first has no incumbent; the second is given the best of the first, and its time."""
    first, second = [a for a in Driven(search()).drive(by_block).made if a.screened]
    assert first.incumbent is None
    best = min(first.screened, key=block)
    assert second.incumbent == best
    assert second.incumbent_ms == block(best)


def test_a_screened_row_is_no_answer_however_fast() -> None:
    """What looks best in a shared process and fails by itself leaves its place to the next."""

    def ends(trial: Trial) -> End:
        return Outcome.OK, float(block(trial))

    driven = Driven(search(f"{HOW}, finalists: 1")).drive(ends, stop_after=36)
    assert answers(driven.results().meta, driven.results().rows)[0].best is None
    best, second = sorted(block(record_trial) for record_trial in _trials(driven))[:2]
    driven.drive(lambda trial: (Outcome.CRASHED, 1.0) if block(trial) == best else by_block(trial))
    (answer,) = answers(driven.results().meta, driven.results().rows)
    assert answer.best is not None
    assert block(answer.best.trial) == second


def _trials(driven: Driven) -> list[Trial]:
    return [trial for attempt in driven.made for trial in attempt.screened]


def test_a_candidate_that_breaks_its_process_costs_that_process_alone() -> None:
    """Its fault is its row, the rest goes on in a new one, and nothing is screened twice."""
    broken = {7, 8, 20}

    def ends(trial: Trial) -> End:
        return (Outcome.CRASHED, 1.0) if block(trial) in broken else by_block(trial)

    driven = Driven(search("strategy: random, samples: 40, screen: true")).drive(ends)
    screened = [record for record in driven.records if record.attempt == 1]
    assert len({record.trial_id for record in screened}) == len(screened) == 40
    crashed = [record for record in screened if record.outcome is Outcome.CRASHED]
    assert {record.options["block"] for record in crashed} == broken
    assert len([attempt for attempt in driven.made if attempt.screened]) > 3


@pytest.mark.parametrize("stop_after", [1, 10, 32, 34, 36, 37, 38])
def test_a_search_that_screens_goes_on_where_it_stopped(stop_after: int) -> None:
    """Killed anywhere, it makes what is left, and answers as if it had never stopped."""
    whole = Driven(search()).drive(by_block)
    halves = Driven(search()).drive(by_block, stop_after=stop_after).drive(by_block)
    assert len({(r.trial_id, r.attempt) for r in halves.records}) == len(halves.records)
    found = [answers(one.results().meta, one.results().rows)[0] for one in (whole, halves)]
    assert found[0].best is not None
    assert found[1].best is not None
    assert found[0].best.trial_id == found[1].best.trial_id
    assert len(halves.records) == len(whole.records)


def test_the_first_point_is_measured_by_itself_too() -> None:
    """The answer is compared with it, and a screened time is none to compare with."""
    driven = Driven(search(f"{HOW}, first: [{{}}], finalists: 2")).drive(by_block)
    alone = [block(attempt.trial) for attempt in driven.made if not attempt.screened]
    assert alone[0] == 70
    assert len(alone) == 3


def test_each_search_has_processes_of_its_own() -> None:
    """Candidates of two shapes are never in one process."""
    axes = f"batch: [1], seq_len: [64, 128], heads: [4], {SPACE}"
    found = sweep(axes=f"{{{axes}}}", search=f"{{{HOW}}}", implementations="[improved, standard]")
    for attempt in Driven(found).drive(by_block, slots=2).made:
        places = {(t.implementation, t.params["seq_len"]) for t in attempt.screened}
        assert len(places) <= 1


def test_what_other_searches_screen_next_is_known_ahead() -> None:
    """So that it can be compiled meanwhile; a search waits for what it has under way itself."""
    axes = f"{{batch: [1], seq_len: [64, 128], heads: [4], {SPACE}}}"
    two = sweep(axes=axes, search=f"{{{HOW}}}", implementations="[improved]")
    made = Driven(two).drive(by_block).made
    batches = [attempt for attempt in made if attempt.screened]
    lengths = [attempt.trial.params["seq_len"] for attempt in batches]
    assert lengths == [64, 128, 64, 128]
    for attempt in batches:
        own = attempt.trial.params["seq_len"]
        assert own not in {trial.params["seq_len"] for trial in attempt.screened_next}
    for attempt, following in itertools.pairwise(batches):
        assert attempt.screened_next == following.screened
    assert batches[-1].screened_next == ()
    assert all(attempt.screened_next == () for attempt in made if not attempt.screened)
    alone = Driven(search()).drive(by_block).made
    assert all(attempt.screened_next == () for attempt in alone)


def test_no_more_of_another_search_is_proposed_ahead_than_is_screened_at_once() -> None:
    """Though more of one that was begun wait than a process takes: what the first find tells where
    the others look.
    """
    space = "options.block: {low: 1, high: 999}"
    begun = search("strategy: random, samples: 150, screen: true", space)
    stopped = Driven(begun).drive(by_block, stop_after=1)
    axes = f"{{batch: [1], seq_len: [64, 128], heads: [4], {space}}}"
    how = "{strategy: random, samples: 60, screen: true}"
    wider = sweep(axes=axes, search=how, implementations="[improved]")
    driven = Driven(wider, list(stopped.records), list(stopped.proposals)).drive(by_block)
    first = driven.made[0]
    assert first.trial.params["seq_len"] == 64
    assert len(first.screened) == LEAST_SCREENED
    for attempt in driven.made:
        others = [trial for trial in attempt.screened_next if trial.params["seq_len"] == 128]
        assert len(others) <= LEAST_SCREENED


def test_finalists_are_measured_in_every_round() -> None:
    """Screened once, the best in as many fresh processes as the file asks for."""
    driven = Driven(search(measure="{repeats: 3}")).drive(by_block)
    assert len(_trials(driven)) == 36
    alone = [attempt.round for attempt in driven.made if not attempt.screened]
    assert sorted(alone) == sorted([1, 2, 3] * 3)


def test_a_disturbed_finalist_is_measured_again_as_often_as_any_row() -> None:
    """That it was screened is no measurement of it; another row was measured in peace before."""

    def times_made(driven: Driven) -> int:
        def is_disturbed(attempt: Attempt) -> bool:
            return not attempt.screened and block(attempt.trial) != 70

        driven.drive(by_block, disturbed=is_disturbed)
        return sum(is_disturbed(attempt) for attempt in driven.made)

    measure = "{remeasure: 2}"
    how = f"{HOW}, first: [{{}}], finalists: 1"
    axes = "{batch: [1], seq_len: [64], heads: [4], options.block: [70, 7]}"
    grid = sweep(axes=axes, implementations="[improved]", measure=measure)
    assert times_made(Driven(search(how, measure=measure))) == times_made(Driven(grid)) == 3


def test_what_is_to_be_run_again_is_no_incumbent() -> None:
    """Its time is of code that is no longer there."""
    driven = Driven(search()).drive(by_block)
    again = Driven(driven.sweep, list(driven.records), list(driven.proposals))
    again.drive(by_block, rerun="all", stop_after=len(driven.records) + 1)
    assert again.made[0].incumbent is None


def test_rows_of_other_sweeps_are_not_taken_for_screened_ones() -> None:
    """They were not timed beside these."""
    found = problems(text(axes=f"{{batch: [1], {SPACE}}}", search=f"{{{HOW}}}", reuse="true"))
    assert "leave reuse or search.screen out" in str(found)


def test_a_budget_ends_a_search_and_says_so() -> None:
    """Each record of these tests lasted a second: after ten nothing more is proposed."""
    how = "strategy: random, samples: 36, budget_s: 10"
    driven = Driven(search(how)).drive(by_block)
    assert 10 <= len(driven.records) <= 11
    assert "10 s" in driven.said[0]
    assert "36 samples" in driven.said[0]
    again = Driven(driven.sweep, list(driven.records), list(driven.proposals)).drive(by_block)
    assert len(again.records) == len(driven.records)


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("screen: true", "search.screen"),
        ("budget_s: 3", "search.budget_s"),
        ("strategy: random, screen: true, metric: peak_memory_mib", "search.screen"),
        ("strategy: random, budget_s: 0", "search.budget_s"),
        ("strategy: random, finalists: 0", "search.finalists"),
    ],
)
def test_what_cannot_be_screened_is_refused_by_name(how: str, named: str) -> None:
    """Screening is of a search, and by time."""
    axes = f"{{batch: [1], seq_len: [64], heads: [4], {'options.block: [1, 2]'}}}"
    assert named in str(problems(text(axes=axes, search=f"{{{how}}}")))


def test_reports_say_what_was_only_screened() -> None:
    """In the row's status and beside the answer; a screened row wins nothing."""
    results = Driven(search()).drive(by_block).results()
    text_of = render(results, "txt")
    assert "✓ screened" in text_of
    assert "36, 33 only screened" in text_of
    assert all(not winner.row.is_screened for winner in Ranking.of(Layout.of(results)).winners)


def test_rows_hold_by_the_protocol_that_each_was_measured_by() -> None:
    """Neither a screened row nor a finalist is stale when nothing has changed."""
    driven = Driven(search()).drive(by_block)
    sweep_id = driven.records[0].sweep_id
    queue = AttemptQueue(driven.sweep, sweep_id, "cpu", tuple(driven.records), driven.proposals)
    assert queue.stale([HERE]) == []
    assert queue.next() is None
