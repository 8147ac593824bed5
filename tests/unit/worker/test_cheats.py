"""Every cheat we know, in the worker: found out before anyone sees how fast it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.outcome import Outcome
from orchestrator.record import TrialRecord
from orchestrator.spec.models import MeasureProtocol
from tests.support.attempts import attention_attempt, recorded

CHEATS = Path(__file__).parents[2] / "integration" / "toys" / "cheats.py"
LONG = {"seq_len": 12_800, "dtype": "float16"}  # a hundred thousand rows
NAMES = [
    "remembers_its_first_answer",
    "remembers_answers_by_tensor",
    "remembers_answers_by_value",
    "remembers_answers_it_has_met_often",
    "is_wrong_while_garbage_is_not_collected",
    "is_wrong_every_third_time",
    "writes_into_its_input",
    "writes_into_its_input_once_it_is_timed",
    "returns_before_it_is_done",
    "leaves_nan",
    "swaps_batch_entries",
    "never_computes_the_last_head",
    "scales_by_two_thousandths_too_much",
    "one_wrong_row",
    "sees_the_future",
    "attends_across_heads",
    "averages_the_values",
]


def tried(name: str, **params: object) -> TrialRecord:
    """The record of a cheat at four heads and segments of 64."""
    given = attention_attempt(name, **{"heads": 4, "head_dim": 8, "causal": True, **params})
    trial = given.trial.model_copy(update={"use": f"{CHEATS}:{name}"})
    changes = {"trial": trial, "protocol": long_enough(name, given.protocol)}
    return recorded(given.model_copy(update=changes))


def long_enough(name: str, protocol: MeasureProtocol) -> MeasureProtocol:
    """The protocol with as many calls as it takes until the cheat gains by it."""
    if name != "remembers_answers_it_has_met_often":
        return protocol
    return protocol.model_copy(update={"min_repetitions": 80, "max_time_s": 20.0})


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_cheat_is_a_mismatch(name: str) -> None:
    """No metrics, no repetitions, and a reason."""
    record = tried(name, **(LONG if name == "one_wrong_row" else {"seq_len": 128}))
    assert record.outcome is Outcome.MISMATCH, record
    assert (record.metrics, record.values_ms) == (None, None)
    assert record.error is not None
    assert record.error.message


@pytest.mark.slow
@pytest.mark.parametrize("params", [{"seq_len": 128}, LONG])
def test_the_honest_one_is_ok(params: dict[str, object]) -> None:
    """At both shapes and precisions: what catches the others lets it pass."""
    record = tried("honest", **params)
    assert record.outcome is Outcome.OK, record.error


def test_no_cheat_is_left_out() -> None:
    """Whatever is added to the file is tried here and in the sweep."""
    text = CHEATS.read_text()
    assert [name for name in NAMES if f"def {name}(" not in text] == []
    assert text.count("\ndef ") == len(NAMES) + 1
