"""A row is the last attempt of each round, pooled; a planned trial without a record is a row too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.outcome import Outcome
from orchestrator.results.rows import last_attempts, row_of
from tests.support import made

AXES = {"batch": [1], "seq_len": [1024, 2048], "heads": [8]}


def planned() -> list[made.Trial]:
    return made.trials(["standard"], AXES, dtype="float32")


def test_rows_stand_in_the_order_planned_whatever_finished_first() -> None:
    """The journal's order is that of finishing; the table's is the sweep's."""
    first, second = planned()
    found = made.results([first, second], [made.ok(second), made.ok(first)], axes=AXES).rows
    assert [row.trial_id for row in found] == [first.trial_id, second.trial_id]
    assert [row.metrics["latency_ms"] for row in found] == [1.0, 2.0]


def test_a_trial_without_a_record_was_not_run() -> None:
    """A stopped sweep shows what is missing instead of leaving it out."""
    first, second = planned()
    missing = made.results([first, second], [made.ok(first)], axes=AXES).rows[1]
    assert (missing.outcome, missing.metrics, missing.log, missing.attempts) == (None, {}, None, 0)


def test_the_last_attempt_of_a_round_counts() -> None:
    """A retry that went well replaces the crash before it, and both are counted."""
    trial, _ = planned()
    row = made.results(
        [trial], [made.bad(trial, Outcome.CRASHED), made.ok(trial, attempt=2)], axes=AXES
    ).rows[0]
    assert row.ok
    assert row.attempts == 2
    assert row.error is None


@pytest.mark.parametrize("ending", [Outcome.OOM, Outcome.TIMEOUT, Outcome.LOST])
def test_a_repeat_for_a_disturbance_takes_no_figure_away(ending: Outcome) -> None:
    """The contender that made the first attempt slow holds the memory that the second asks for."""
    trial, _ = planned()
    first = made.ok(trial, flags=("contended",))
    row = made.results([trial], [first, made.bad(trial, ending, attempt=2)], axes=AXES).rows[0]
    assert row.ok
    assert row.is_disturbed
    assert row.records == (first,)
    assert row.attempts == 2
    third = made.ok(trial, attempt=3)
    assert row_of(trial, [first, made.bad(trial, ending, attempt=2), third]).records == (third,)


@pytest.mark.parametrize("ending", [Outcome.MISMATCH, Outcome.IMPLAUSIBLE, Outcome.FAILED])
def test_a_repeat_that_shows_a_wrong_answer_counts(ending: Outcome) -> None:
    """It is wrong now and then; a busy machine is no excuse for that."""
    trial, _ = planned()
    records = [made.ok(trial, flags=("contended",)), made.bad(trial, ending, attempt=2)]
    assert row_of(trial, records).outcome is ending


def test_an_attempt_that_was_asked_for_anew_counts_however_it_ends() -> None:
    """Nothing disturbed the one before: it was run again for another reason."""
    trial, _ = planned()
    records = [made.ok(trial), made.bad(trial, Outcome.OOM, attempt=2)]
    assert row_of(trial, records).outcome is Outcome.OOM
    changed = made.bad(trial, Outcome.OOM, attempt=2)
    other = changed.fingerprint.model_copy(update={"source": "another"})
    records = [
        made.ok(trial, flags=("contended",)),
        changed.model_copy(update={"fingerprint": other}),
    ]
    assert row_of(trial, records).outcome is Outcome.OOM


def test_one_round_that_is_not_ok_decides_the_row() -> None:
    """A row that crashed in one process of three has no time."""
    trial, _ = planned()
    records = [made.ok(trial), made.bad(trial, Outcome.CRASHED, round=2), made.ok(trial, round=3)]
    row = made.results([trial], records, axes=AXES).rows[0]
    assert row.outcome is Outcome.CRASHED
    assert row.metrics == {}
    assert row.log == f"logs/{trial.trial_id}.log"


def test_rounds_are_pooled_and_rates_follow_the_pooled_latency() -> None:
    """Medians over rounds for time, the largest for memory and error, flags of any round."""
    trial, _ = planned()
    scales = {1: 1.0, 2: 1.1, 3: 1.3}
    records = [made.ok(trial, scale=scale, round=number) for number, scale in scales.items()]
    records[2] = records[2].model_copy(update={"flags": ("noisy",)})
    row = made.results([trial], records, axes=AXES).rows[0]
    latency = row.metrics["latency_ms"]
    assert latency == pytest.approx(1.1)
    assert row.metrics["latency_ci_low_ms"] < 1.05 < 1.2 < row.metrics["latency_ci_high_ms"]
    assert row.metrics["throughput_tokens_per_s"] == pytest.approx(1024 / (latency / 1000))
    assert row.metrics["repetitions"] == 27
    assert row.flags == ("noisy",)
    assert [len(values) for values in row.rounds] == [9, 9, 9]


def test_a_note_says_of_which_rounds_it_is() -> None:
    """Unless it is of all of them."""
    trial, _ = planned()
    notes = [("power_capped", "drift of 2 %"), ("power_capped",), ("power_capped", "drift of 2 %")]
    records = [
        made.ok(trial).model_copy(update={"round": at, "notes": own})
        for at, own in enumerate(notes, start=1)
    ]
    assert row_of(trial, records).notes == ("power_capped", "rounds 1, 3: drift of 2 %")
    assert row_of(trial, records[:1]).notes == ("power_capped", "drift of 2 %")


def test_rounds_that_differ_are_noisy_however_tight_each_is() -> None:
    """The interval over all of them is what is stated; by itself each round was fine."""
    trial, _ = planned()
    far = [
        made.ok(trial, scale=scale, round=number)
        for number, scale in enumerate((1.0, 2.0, 4.0), start=1)
    ]
    row = made.results([trial], far, axes=AXES).rows[0]
    assert row.flags == ("noisy",)
    (note,) = (note for note in row.notes if "over all rounds" in note)
    assert "wide, target_ci is " in note
    assert row_of(trial, far).flags == ()


def test_an_option_that_is_an_axis_is_a_value_of_the_row() -> None:
    """`options.block_m` reads the trial's options, a plain name its params."""
    trial = made.trials(["standard"], {**AXES, "options.block_m": [64]})[0]
    row = made.results([trial], [], axes=AXES).rows[0]
    assert (row.value("options.block_m"), row.value("batch"), row.value("nothing")) == (64, 1, None)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), max_size=20))
def test_one_record_is_kept_for_each_round_that_ran(keys: list[tuple[int, int]]) -> None:
    """Whatever the order of the journal, each round is there once, with its highest attempt."""
    trial, _ = planned()
    found = last_attempts(
        [made.ok(trial, round=number, attempt=attempt) for number, attempt in keys]
    )
    assert [record.round for record in found] == sorted({number for number, _ in keys})
    assert all(record.attempt == max(a for n, a in keys if n == record.round) for record in found)
