"""Other valid shapes: which are tried, and what they find."""

import random
from typing import Any

import pytest

from orchestrator.cheats.suite import attempt_of
from orchestrator.outcome import Outcome
from orchestrator.spec.models import VerifySpec
from orchestrator.verify.other_shapes import variations
from orchestrator.worker.run_attempt import run_attempt


def attempt(name: str, also: int) -> Any:
    return attempt_of(name, "cpu").model_copy(update={"verify": VerifySpec(also=also)})


@pytest.mark.slow
def test_right_code_is_right_at_other_shapes_too_and_the_row_says_at_which() -> None:
    """As many are tried as were asked for."""
    record = run_attempt(attempt("honest", 3)).record
    assert record.outcome is Outcome.OK, record.error
    (note,) = [note for note in record.notes if note.startswith("also verified at ")]
    assert note.count(";") == 2
    assert "rows=" in note or "width=" in note


@pytest.mark.slow
def test_a_shape_known_by_heart_is_found_at_another() -> None:
    """At its own shape alone it is right."""
    assert run_attempt(attempt("knows_its_shape", 0)).record.outcome is Outcome.OK
    record = run_attempt(attempt("knows_its_shape", 1)).record
    assert record.outcome is Outcome.MISMATCH
    assert record.error is not None
    assert record.error.message.startswith("at another shape, ")


def test_each_whole_number_is_changed_and_then_all_of_them() -> None:
    """Strings, floats and switches are left alone; entries of lists change together."""
    params = {"n": 64, "parts": [8, 16], "dtype": "float32", "causal": True, "eps": 0.5, "one": 1}
    found = list(variations(params, random.Random(0)))
    assert {"n": 32} in found
    assert {"parts": [4, 8]} in found
    assert {"n": 32, "parts": [4, 8]} in found
    changed = {name for change in found for name in change}
    assert changed == {"n", "parts"}


@pytest.mark.parametrize("params", [{}, {"causal": True}, {"one": 1}])
def test_without_whole_numbers_there_is_no_other_shape(params: dict[str, Any]) -> None:
    """Nothing is changed that is no size."""
    assert list(variations(params, random.Random(0))) == []
