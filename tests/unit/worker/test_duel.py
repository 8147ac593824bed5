"""A duel in one process: both sides verified, both timed, each user_code for itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.attempt_result import AttemptResult
from orchestrator.outcome import Flag, Outcome, Phase
from orchestrator.record import TrialRecord
from orchestrator.spec.models import MeasureProtocol
from orchestrator.supervisor import interference
from orchestrator.trial import Attempt
from orchestrator.worker.run_attempt import run_attempt
from tests.support.attempts import attempt, recorded
from tests.unit.supervisor.test_interference import Told

PROTOCOL = MeasureProtocol(
    warmup_s=0, min_time_s=0, max_time_s=0.2, min_repetitions=4, target_ci=0.9
)


def duel_of(first: str, second: str, **fields: object) -> Attempt:
    """An attempt of `first` against `second`, both of tests/support/matmul.py."""
    own = attempt(first, protocol=PROTOCOL, **fields)
    return own.model_copy(update={"rival": attempt(second, **fields).trial})


def records(found: Attempt) -> tuple[TrialRecord, TrialRecord]:
    """What either side's record is when the attempt has been made."""
    first, second = run_attempt(found).records
    return first, second


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "forward_backward"])
def test_both_sides_are_ok_and_have_as_many_repetitions(direction: str) -> None:
    """Each in its own record, under its own name; memory is nobody's where two share a process."""
    own = duel_of("honest", "layer", direction=direction)
    first, second = records(own)
    assert own.rival is not None
    assert [first.trial_id, second.trial_id] == [own.trial.trial_id, own.rival.trial_id]
    for record in (first, second):
        assert (record.outcome, record.phase) == (Outcome.OK, Phase.DONE), record.error
        assert record.values_ms is not None
        assert record.metrics is not None
        assert len(record.values_ms) == len(first.values_ms or ()) >= 2
        assert record.metrics["peak_memory_mib"] is None
        assert record.metrics["tflops_per_s"] is not None
        assert set(record.environment) == {"match", "know"}
        assert record.fingerprint == first.fingerprint


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "outcome", "said"),
    [
        ("swaps_batch_entries", Outcome.MISMATCH, "relative error"),
        ("raises", Outcome.FAILED, "nothing doing"),
        ("not_for_this", Outcome.UNSUPPORTED, "needs CUDA"),
        ("no_such_name", Outcome.FAILED, "no attribute"),
    ],
)
@pytest.mark.parametrize("wrong_is_first", [True, False])
def test_a_side_that_ends_early_leaves_the_other_to_be_measured_alone(
    wrong: str, outcome: Outcome, said: str, wrong_is_first: bool
) -> None:
    """The row of the one says why; that of the other has its time, and a note."""
    names = (wrong, "honest") if wrong_is_first else ("honest", wrong)
    bad, good = sorted(records(duel_of(*names)), key=lambda record: record.implementation != wrong)
    assert bad.outcome is outcome
    assert bad.error is not None
    assert said in bad.error.message
    assert bad.values_ms is None
    assert (good.outcome, good.implementation) == (Outcome.OK, "honest")
    assert f"measured alone: {wrong} ended as {outcome}" in good.notes


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["cached_by_identity", "mutates_input_while_timed"])
def test_what_verification_after_timing_finds_is_that_side_s_alone(wrong: str) -> None:
    """The other was timed in turns with it, soundly."""
    good, bad = records(duel_of("honest", wrong))
    assert (good.outcome, bad.outcome) == (Outcome.OK, Outcome.MISMATCH)
    assert not any("alone" in note for note in good.notes)


@pytest.mark.slow
def test_a_side_that_raises_while_it_is_timed_ends_for_itself(tmp_path: Path) -> None:
    """Its fourteenth call is one of the timed ones."""
    (tmp_path / "late.py").write_text(
        "import torch\n"
        "def build(config):\n"
        "    made = []\n"
        "    def matmul(a, b):\n"
        "        made.append(1)\n"
        "        if len(made) > 13:\n"
        "            raise ValueError('worn out')\n"
        "        return a @ b\n"
        "    return matmul\n"
    )
    own = duel_of("honest", "honest")
    late = attempt("late", use=f"{tmp_path}/late.py:build").trial
    good, bad = records(own.model_copy(update={"rival": late}))
    assert (bad.outcome, bad.phase) == (Outcome.FAILED, Phase.MEASURE)
    assert bad.error is not None
    assert "worn out (late.py:7" in bad.error.message
    assert good.outcome is Outcome.OK
    assert "measured alone: late ended as failed" in good.notes


@pytest.mark.slow
def test_what_disturbed_the_machine_is_flagged_on_both_records() -> None:
    """The supervisor adds its findings to each; nothing else is shared."""
    own = run_attempt(duel_of("honest", "layer"))
    seen = interference.Findings((Flag.CONTENDED.value,), ("contended: by a neighbour",))
    flagged = interference.InterferenceMonitor(Told(seen)).applied(own)
    for before, after in zip(own.records, flagged.records, strict=True):
        assert after.flags == (*before.flags, Flag.CONTENDED.value)
        assert after.notes == (*before.notes, "contended: by a neighbour")


@pytest.mark.slow
def test_a_survivor_has_its_doubts_whichever_side_it_is() -> None:
    """The side that ended without figures has none; the other's may have been disturbed."""
    seen = interference.Findings((Flag.CONTENDED.value,), ("contended: by a neighbour",))
    for sides in (("honest", "raises"), ("raises", "honest")):
        monitor = interference.InterferenceMonitor(Told(seen))
        for record in monitor.applied(run_attempt(duel_of(*sides))).records:
            expected = record.implementation == "honest"
            assert (Flag.CONTENDED.value in record.flags) == expected
            assert ("contended: by a neighbour" in record.notes) == expected


@pytest.mark.slow
def test_a_process_that_died_ended_both() -> None:
    """Without an answer the supervisor makes one record; it stands for either side, under its own
    name and log.
    """
    own = duel_of("honest", "layer")
    assert own.rival is not None
    first = recorded(own.model_copy(update={"trial": attempt("raises").trial, "rival": None}))
    assert first.error is not None
    error = first.error.model_copy(update={"log": f"logs/{first.trial_id}.log"})
    died = first.model_copy(update={"error": error})
    one, other = AttemptResult.of_end(own, died).records
    assert (one.outcome, other.outcome) == (Outcome.FAILED, Outcome.FAILED)
    assert other.trial_id == own.rival.trial_id
    assert other.error is not None
    assert other.error.log == f"logs/{own.rival.trial_id}.log"


@pytest.mark.slow
def test_the_energy_and_the_imported_code_are_no_part_of_an_environment() -> None:
    """They are fields of the result, and survive its way as JSON text."""
    result = run_attempt(attempt("honest"))
    assert set(result.record.environment) == {"match", "know"}
    assert result.imported is not None
    assert result.energy is None  # a CPU has no counter
    assert AttemptResult.model_validate_json(result.model_dump_json()) == result


@pytest.mark.slow
def test_rotated_inputs_that_take_a_side_s_memory_are_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the harness's: a side that has no room beside them is timed on one set."""
    (tmp_path / "tight.py").write_text(
        "import weakref\n"
        "def build(config):\n"
        "    alive = {}\n"
        "    def matmul(a, b):\n"
        "        alive[id(a)] = weakref.ref(a, lambda _, key=id(a): alive.pop(key, None))\n"
        "        if len({one().data_ptr() for one in list(alive.values())}) > 3:\n"
        '            raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory")\n'
        "        return a @ b\n"
        "    return matmul\n"
    )
    monkeypatch.setattr("orchestrator.worker.calls.input_sets", lambda size, device: 4)
    own = duel_of("honest", "honest")
    tight = attempt("tight", use=f"{tmp_path}/tight.py:build").trial
    for record in records(own.model_copy(update={"rival": tight})):
        assert record.outcome is Outcome.OK, record.error
