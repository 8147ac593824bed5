"""What a sweep still has to do: rounds in order, retries, what a journal holds, what is stale, what
to rerun.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.driver.attempts import input_seed
from orchestrator.driver.queue import AttemptQueue
from orchestrator.driver.stale import KnownSources, refuse_stale
from orchestrator.errors import RequestError
from orchestrator.outcome import Outcome, Phase
from orchestrator.plan.sources import sources
from orchestrator.plan.sweep import Sweep
from orchestrator.record import ErrorInfo, TrialRecord, record_of
from orchestrator.trial import Attempt
from tests.support.sweeps import sweep, text

HERE = {"device": "cpu", "torch": "2.13"}
SMALL = {"axes": "{batch: [1, 2, 3], seq_len: [64], heads: [4]}", "implementations": "[standard]"}


def ended(
    attempt: Attempt, outcome: Outcome = Outcome.OK, environment: dict[str, str] = HERE
) -> TrialRecord:
    """A record of this attempt."""
    error = None if outcome is Outcome.OK else ErrorInfo(kind="Error", message="it did")
    return record_of(attempt, outcome, Phase.DONE, "", environment, error=error)


def drained(queue: AttemptQueue, outcome: Outcome = Outcome.OK) -> list[TrialRecord]:
    """The records of making every attempt, all ending alike."""
    made = []
    while queue:
        made.append(ended(queue.next(), outcome))
        queue.finished(made[-1])
    return made


def agenda_of(
    found: Sweep, records: list[TrialRecord] | tuple[TrialRecord, ...] = ()
) -> AttemptQueue:
    return AttemptQueue(found, "20261122_093000_abcd", "cpu", records)


def keys(records: list[TrialRecord]) -> list[tuple[int, int, int]]:
    """(batch, round, attempt) of each."""
    return [(record.params["batch"], record.round, record.attempt) for record in records]


def test_one_round_goes_in_the_order_of_the_table() -> None:
    """Nothing is shuffled where nothing is repeated."""
    queue = agenda_of(sweep(**SMALL))
    assert len(queue) == 3
    assert keys(drained(queue)) == [(1, 1, 1), (2, 1, 1), (3, 1, 1)]
    assert len(queue) == 0


def test_an_attempt_knows_how_many_wait_after_it() -> None:
    """What a search asks for next depends on what is found: nobody knows."""
    queue = agenda_of(sweep(**SMALL))
    left = [queue.next(), queue.next(), queue.next()]
    assert [found and found.left for found in left] == [2, 1, 0]
    found = agenda_of(sweep(**SMALL, frontier="{axis: batch}")).next()
    assert found is not None
    assert found.left is None


def test_rounds_come_one_after_another_each_in_its_own_order() -> None:
    """Every trial once a round; the seed gives the orders, and gives them again."""
    fields = {**SMALL, "axes": "{batch: [1, 2, 3, 4, 5, 6, 7, 8], seq_len: [64], heads: [4]}"}
    made = keys(drained(agenda_of(sweep(**fields, measure="{repeats: 3}"))))
    assert [number for _, number, _ in made] == [1] * 8 + [2] * 8 + [3] * 8
    orders = [[batch for batch, at, _ in made if at == number] for number in (1, 2, 3)]
    assert all(sorted(order) == list(range(1, 9)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert keys(drained(agenda_of(sweep(**fields, measure="{repeats: 3}")))) == made
    assert keys(drained(agenda_of(sweep(**fields, measure="{repeats: 3}", seed="1")))) != made


def test_an_attempt_carries_all_that_a_worker_must_know() -> None:
    """Protocol, resources, source, and inputs that every implementation at one point shares."""
    found = sweep(
        measure="{max_time_s: 2}", resources="{timeout_s: 9, host_memory_gib: 2, gpu_memory_gib: 8}"
    )
    queue = agenda_of(found)
    attempts = [queue.next() for _ in range(len(queue))]
    first = attempts[0]
    assert (first.device, first.workload, first.base_dir) == (
        "cpu",
        "dilated_attention",
        found.base_dir,
    )
    assert (first.protocol.max_time_s, first.protocol.target_ci) == (2, 0.03)
    assert first.resources.model_dump() == {
        "gpus": 0, "cpus": None, "gpu_memory_gib": None, "host_memory_gib": 2, "timeout_s": 9, "ranks": 1,
    }  # fmt: skip
    assert first.source == sources(found)["standard"].hash != sources(found)["improved"].hash
    seeds = {
        (attempt.trial.params["batch"], attempt.trial.params["seq_len"], attempt.seed)
        for attempt in attempts
    }
    assert len(seeds) == 4
    another = found.spec.model_copy(update={"seed": found.spec.seed + 1})
    assert (
        input_seed(another, first.trial, 1)
        != input_seed(found.spec, first.trial, 1)
        == first.seed
        != input_seed(found.spec, first.trial, 2)
    )


@pytest.mark.parametrize(
    ("retries", "ends", "attempts"),
    [
        ("{}", ["lost", "lost", "lost", "lost"], 4),
        ("{}", ["lost", "ok"], 2),
        ("{}", ["crashed"], 1),
        ("{}", ["oom"], 1),
        ("{lost: 0}", ["lost"], 1),
        ("{crashed: 1}", ["lost", "lost", "crashed", "crashed"], 4),
        ("{crashed: 1, failed: 1}", ["crashed", "failed", "failed"], 3),
        ("{mismatch: 2}", ["mismatch", "mismatch", "ok"], 3),
    ],
)
def test_an_attempt_is_made_again_as_often_as_retries_says_for_its_outcome(
    retries: str, ends: list[str], attempts: int
) -> None:
    """Each outcome has its own count; the attempts are numbered through."""
    queue = agenda_of(
        sweep(**{**SMALL, "axes": "{batch: [1], seq_len: [64], heads: [4]}"}, retries=retries)
    )
    made = []
    for end in ends:
        made.append(queue.next().attempt)
        again = queue.finished(ended_with(queue, made[-1], end))
    assert made == list(range(1, attempts + 1))
    assert not again
    assert len(queue) == 0


def ended_with(queue: AttemptQueue, number: int, outcome: str) -> TrialRecord:
    """A record of the queue's only trial."""
    (trial,) = queue.sweep.trials
    fresh = agenda_of(queue.sweep).next()
    assert fresh.trial == trial
    return ended(fresh.model_copy(update={"attempt": number}), Outcome(outcome))


def test_a_retry_waits_until_the_others_had_their_turn() -> None:
    """A node that is coming back is given time."""
    queue = agenda_of(sweep(**SMALL))
    queue.finished(ended(queue.next(), Outcome.LOST))
    assert keys(drained(queue)) == [(2, 1, 1), (3, 1, 1), (1, 1, 2)]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.data())
def test_a_sweep_that_was_stopped_anywhere_makes_what_is_left_once(
    repeats: int, data: st.DataObject
) -> None:
    """Nothing finished is made again, nothing is forgotten; retries that were owed are made."""
    found = sweep(**SMALL, measure=f"{{repeats: {repeats}}}", retries="{crashed: 1}")
    queue = agenda_of(found)
    before: list[TrialRecord] = []
    for _ in range(data.draw(st.integers(0, 3 * repeats))):
        if queue:
            before.append(
                ended(
                    queue.next(),
                    data.draw(st.sampled_from([Outcome.OK, Outcome.CRASHED, Outcome.OOM])),
                )
            )
            queue.finished(before[-1])
    made = [*before, *drained(agenda_of(found, before))]
    assert len({record.key for record in made}) == len(made)
    last = {(record.trial_id, record.round): record for record in made}
    assert len(last) == 3 * repeats
    crashes = Counter(
        (record.trial_id, record.round) for record in made if record.outcome is Outcome.CRASHED
    )
    for key, record in last.items():
        attempts = [each for each in made if (each.trial_id, each.round) == key]
        assert len(attempts) == 1 + min(1, crashes[key])
        assert record.attempt == len(attempts)


def test_a_changed_sweep_keeps_what_still_exists_and_makes_what_is_new() -> None:
    """By content: an axis that grew, an implementation that went."""
    done = drained(agenda_of(sweep(implementations="[standard, improved]")))
    grown = sweep(
        implementations="[standard, ring_v2]",
        axes="{batch: [1, 2, 3], seq_len: [64, 128], heads: [4]}",
    )
    left = drained(agenda_of(grown, done))
    assert Counter(record.implementation for record in left) == {"standard": 2, "ring_v2": 6}
    assert {record.params["batch"] for record in left if record.implementation == "standard"} == {3}


@pytest.mark.parametrize(
    ("fields", "environment", "changed"),
    [
        ({}, HERE, None),
        ({}, {**HERE, "torch": "2.14"}, ("environment",)),
        ({"measure": "{target_ci: 0.01}"}, HERE, ("protocol",)),
        ({"verify": "{tolerance: 0.01}"}, HERE, ("protocol",)),
        ({"seed": "1"}, {**HERE, "torch": "2.14"}, ("environment", "protocol")),
        ({"description": "other words", "max_failures": "3"}, HERE, None),
    ],
)
def test_what_no_longer_holds_is_stale_and_says_why(
    fields: dict[str, str], environment: dict[str, str], changed: tuple[str, ...] | None
) -> None:
    """Source, environment, protocol: each on its own."""
    done = drained(agenda_of(sweep(**SMALL)))
    found = agenda_of(sweep(**SMALL, **fields), done).stale([environment])
    assert [stale.changed for stale in found] == ([] if changed is None else [changed] * 3)
    if changed:
        assert (
            str(found[0]) == f"standard batch=1 seq_len=64 heads=4: {' and '.join(changed)} changed"
        )


def test_a_changed_file_makes_its_rows_stale_and_no_others(tmp_path: Path) -> None:
    """The user edited one implementation of two."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text("def build(config): ...\n")
    found = Sweep.parse(
        text(implementations="['./one.py:build', './two.py:build']"), base_dir=tmp_path
    )
    done = drained(agenda_of(found))
    (tmp_path / "two.py").write_text("def build(config): ...  # faster\n")
    stale = agenda_of(found, done).stale([HERE])
    assert {record.record.implementation for record in stale} == {"two"}
    assert {record.changed for record in stale} == {("source",)}


def test_a_row_holds_if_it_holds_on_any_slot() -> None:
    """A cluster may have two kinds of nodes; which one made a row is in its fingerprint."""
    done = drained(agenda_of(sweep(**SMALL)))
    assert agenda_of(sweep(**SMALL), done).stale([{"device": "other"}, HERE]) == []


def test_lost_rows_are_never_stale() -> None:
    """They say nothing about the code."""
    done = drained(agenda_of(sweep(**SMALL, retries="{lost: 0}")), Outcome.LOST)
    assert agenda_of(sweep(**SMALL, retries="{lost: 0}"), done).stale([{"device": "other"}]) == []


def test_stale_rows_are_named_and_refused_with_the_way_on() -> None:
    """One table never mixes two; the first ten are named, the rest counted."""
    many = sweep(
        implementations="[standard]",
        axes="{batch: [1,2,3,4,5,6,7,8,9,10,11,12], seq_len: [64], heads: [4]}",
    )
    stale = agenda_of(many, drained(agenda_of(many))).stale([{}])
    with pytest.raises(RequestError) as caught:
        refuse_stale(stale, "orchestrator resume last")
    first, *named, more, last = str(caught.value).splitlines()
    assert first == "12 finished rows no longer hold:"
    assert len(named) == 10
    assert all("environment changed" in line for line in named)
    assert more == "  and 2 more"
    assert last == "run them again: orchestrator resume last --rerun stale"
    refuse_stale([], "")


@pytest.mark.parametrize(
    ("rule", "chosen"),
    [
        ("failed", [2, 3]),
        ("all", [1, 2, 3]),
        ("stale", []),
        ("outcome == 'oom'", [2]),
        ("batch > 1 and implementation == 'standard'", [2, 3]),
        ("outcome in ['ok', 'oom'] and heads == 4", [1, 2]),
    ],
)
def test_finished_rows_are_made_again_as_asked(rule: str, chosen: list[int]) -> None:
    """As the next attempt of their round, in the order of the sweep."""
    outcomes = {1: Outcome.OK, 2: Outcome.OOM, 3: Outcome.MISMATCH}
    queue = agenda_of(sweep(**SMALL))
    done = [
        ended(attempt, outcomes[attempt.trial.params["batch"]])
        for attempt in (queue.next() for _ in range(3))
    ]
    again = agenda_of(sweep(**SMALL), done)
    again.rerun(rule, [HERE])
    assert keys(drained(again)) == [(batch, 1, 2) for batch in chosen]


def test_stale_rows_are_made_again_on_request_and_then_hold() -> None:
    """What is to be made again is not named as stale any more."""
    done = drained(agenda_of(sweep(**SMALL)))
    changed = sweep(**SMALL, measure="{target_ci: 0.01}")
    queue = agenda_of(changed, done)
    queue.rerun("stale", [HERE])
    assert queue.stale([HERE]) == []
    again = drained(queue)
    assert keys(again) == [(1, 1, 2), (2, 1, 2), (3, 1, 2)]
    assert agenda_of(changed, [*done, *again]).stale([HERE]) == []


def test_failed_rows_that_are_made_again_need_not_hold() -> None:
    """The usual case: the user mended the code that failed; rows that were ok and hold no more are
    still named.
    """
    queue = agenda_of(sweep(**SMALL))
    done = [
        ended(queue.next(), outcome) for outcome in (Outcome.FAILED, Outcome.FAILED, Outcome.OK)
    ]
    changed = agenda_of(sweep(**SMALL, seed="5"), done)
    changed.rerun("failed", [HERE])
    assert [stale.record.outcome for stale in changed.stale([HERE])] == [Outcome.OK]


def test_what_failed_is_repeated_with_what_its_mended_file_made_stale() -> None:
    """Nobody repeats a failed row without having changed the file: one command repairs the sweep,
    and says so.
    """
    two = {**SMALL, "implementations": "[standard, improved]"}
    queue = agenda_of(sweep(**two))
    done = [
        ended(queue.next(), outcome)
        for outcome in (Outcome.FAILED, *(Outcome.OK for _ in range(5)))
    ]
    known = KnownSources(sweep(**two))
    known.now["standard"] = "mended"
    again = AttemptQueue(sweep(**two), "20261122_093000_abcd", "cpu", done, known=known)
    said = again.rerun("failed", [HERE])
    assert said == "2 finished rows of standard run again, too: the source changed"
    assert again.stale([HERE]) == []
    assert [record.implementation for record in drained(again)] == ["standard"] * 3


def test_what_stands_in_the_mended_file_is_repeated_too() -> None:
    """One file with a workload and two implementations, as README's: after the one that failed was
    mended the other's rows hold no more, and one command brings the table back.
    """
    two = {**SMALL, "implementations": "[standard, improved]"}
    queue = agenda_of(sweep(**two))
    done = [
        ended(queue.next(), outcome)
        for outcome in (*(Outcome.FAILED for _ in range(3)), *(Outcome.OK for _ in range(3)))
    ]
    known = KnownSources(sweep(**two))
    known.now["standard"] = known.now["improved"] = "mended"
    again = AttemptQueue(sweep(**two), "20261122_093000_abcd", "cpu", done, known=known)
    said = again.rerun("failed", [HERE])
    assert said == "3 finished rows of improved run again, too: the source changed"
    assert again.stale([HERE]) == []
    assert len(drained(again)) == 6


def test_a_rule_that_chooses_nothing_says_so() -> None:
    """Not only that nothing happens."""
    queue = agenda_of(sweep(**SMALL), drained(agenda_of(sweep(**SMALL))))
    assert "nothing is run again" in queue.rerun("batch == 99", [HERE])
    assert queue.rerun("failed", [HERE]) == ""


def test_stale_rows_are_named_by_their_shape() -> None:
    """A hash tells nobody which row it is."""
    done = drained(agenda_of(sweep(**SMALL)))
    (first, *_) = agenda_of(sweep(**SMALL, seed="5"), done).stale([HERE])
    assert str(first) == "standard batch=1 seq_len=64 heads=4: protocol changed"


def test_who_asks_again_is_given_every_retry_again() -> None:
    """A rerun is not the end of an old count."""
    found = sweep(
        **{**SMALL, "axes": "{batch: [1], seq_len: [64], heads: [4]}"}, retries="{crashed: 1}"
    )
    done = drained(agenda_of(found), Outcome.CRASHED)
    assert keys(done) == [(1, 1, 1), (1, 1, 2)]
    queue = agenda_of(found, done)
    queue.rerun("failed", [HERE])
    assert keys(drained(queue, Outcome.CRASHED)) == [(1, 1, 3), (1, 1, 4)]


@pytest.mark.parametrize("rule", ["faild", "batch", "outcom == 'ok'", "", "batch ="])
def test_a_rule_that_is_none_is_refused(rule: str) -> None:
    """A slip must not rerun everything, or nothing."""
    queue = agenda_of(sweep(**SMALL), drained(agenda_of(sweep(**SMALL))))
    with pytest.raises(RequestError):
        queue.rerun(rule, [HERE])


def test_an_option_that_a_trial_has_not_is_null_to_a_rule() -> None:
    """As it is to --only."""
    found = sweep(implementations="[standard, {use: improved, options: {block_m: 64}}]")
    queue = agenda_of(found, drained(agenda_of(found)))
    queue.rerun("options.block_m == 64", [HERE])
    assert {record.implementation for record in drained(queue)} == {"improved"}


def disturbed(attempt: Attempt, flags: tuple[str, ...] = ("contended",)) -> TrialRecord:
    """A record of this attempt that is ok and doubtful."""
    return ended(attempt).model_copy(update={"flags": flags})


def test_what_was_disturbed_is_measured_again_after_a_pause_and_at_most_so_often() -> None:
    """Up to `remeasure` times more, as long as some of the repeats come out undisturbed; a noisy
    row is not.
    """
    queue = agenda_of(sweep(**SMALL, measure="{remeasure: 2}"))
    first, second, third = (queue.next() for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    assert queue.finished(disturbed(first, ("throttled",)))
    assert not queue.finished(disturbed(second, ("noisy",)))
    assert not queue.finished(ended(third))
    again = queue.next()
    assert again is not None
    assert (again.trial, again.attempt) == (first.trial, 2)
    assert again.pause_s > 0
    assert queue.finished(disturbed(again))
    last = queue.next()
    assert last is not None
    assert not queue.finished(disturbed(last))
    assert queue.next() is None


def test_repeats_end_where_they_do_not_help() -> None:
    """On a machine that is never still, three repeats in vain are enough: not three for each of the
    rows.
    """
    many = sweep(
        axes="{batch: [1, 2, 3, 4, 5, 6, 7, 8], seq_len: [64], heads: [4]}",
        implementations="[standard]",
    )
    queue, records = agenda_of(many), list[TrialRecord]()
    while (attempt := queue.next()) is not None:
        records.append(disturbed(attempt) if records else ended(attempt))
        queue.finished(records[-1])
    assert len(records) == 8 + 3
    assert agenda_of(many, records).next() is None
    half_way = agenda_of(many, records[:9])
    left = 0
    while (attempt := half_way.next()) is not None:
        half_way.finished(disturbed(attempt))
        left += 1
    assert left == 2


def test_nothing_is_repeated_where_the_first_three_were_disturbed() -> None:
    """A machine that is busy from the start is busy for good: the first row waits for no pause."""
    many = sweep(
        axes="{batch: [1, 2, 3, 4, 5, 6, 7, 8], seq_len: [64], heads: [4]}",
        implementations="[standard]",
    )
    queue, records = agenda_of(many), list[TrialRecord]()
    while (attempt := queue.next()) is not None:
        records.append(disturbed(attempt))
        queue.finished(records[-1])
    assert len(records) == 8
    assert agenda_of(many, records).next() is None
    quiet_again = agenda_of(many, records[:4])
    undisturbed, later = quiet_again.next(), quiet_again.next()
    assert undisturbed is not None
    assert later is not None
    quiet_again.finished(ended(undisturbed))
    assert quiet_again.finished(disturbed(later))


def test_rows_that_are_asked_for_again_are_made_however_busy_the_machine_is() -> None:
    """What gives up on repeats drops repeats alone, also when all are disturbed once more."""
    found = sweep(**{**SMALL, "axes": "{batch: [1, 2, 3, 4, 5, 6], seq_len: [64], heads: [4]}"})
    queue = agenda_of(found)
    done = []
    while (attempt := queue.next()) is not None:
        done.append(disturbed(attempt))
        queue.finished(done[-1])
    again = agenda_of(found, done)
    again.rerun("all", [HERE])
    made = set()
    while (attempt := again.next()) is not None:
        made.add(attempt.trial.params["batch"])
        again.finished(disturbed(attempt))
    assert made == {1, 2, 3, 4, 5, 6}
