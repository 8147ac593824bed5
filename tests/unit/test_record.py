"""A record is a line of JSON, capped and whole; its fingerprint names what must be the same in one
table.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.record import MAX_MESSAGE, ErrorInfo, TrialRecord, capped, fingerprint
from orchestrator.spec.models import VerifySpec
from tests.support import strategies
from tests.support.attempts import BRIEF, attempt


@pytest.mark.slow
@given(strategies.records())
def test_a_record_survives_its_line(record: TrialRecord) -> None:
    """All but the environment, which is kept once a sweep; one line, and strict JSON."""
    line = record.to_line()
    assert "\n" not in line
    assert json.loads(line, parse_constant=pytest.fail)["schema_version"] == 1
    assert TrialRecord.model_validate_json(line) == record.model_copy(update={"environment": {}})


@pytest.mark.slow
@pytest.mark.parametrize("field", ["metrics", "values_ms"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@given(strategies.records())
def test_no_nan_or_infinity_gets_into_a_record(
    field: str, value: float, record: TrialRecord
) -> None:
    """JSON has none, and neither have means."""
    with pytest.raises(ValidationError, match="finite"):
        TrialRecord.model_validate(
            {**record.model_dump(), field: {"x": value} if field == "metrics" else (value,)}
        )


@given(st.text(st.characters(), max_size=300), st.integers(100, 200))
def test_a_capped_text_says_that_it_is(text: str, limit: int) -> None:
    """Short ones stay as they are; of long ones the end is kept, where the reason stands."""
    found = capped(text, limit)
    size = len(text.encode("utf-8", "backslashreplace"))
    if size <= limit:
        assert found == text.encode("utf-8", "backslashreplace").decode()
    else:
        assert (
            f"[... {size} bytes, the last {limit // 2} and the first {limit // 4} shown ...]"
            in found
        )
        assert len(found.encode()) < limit + 100


def test_an_errors_message_is_capped() -> None:
    """At 10 kB, with the log to open beside it."""
    error = ErrorInfo.of("ValueError", "x" * 10**6 + "the reason", "logs/a.log")
    assert len(error.message) <= MAX_MESSAGE
    assert error.message.endswith("the reason")
    assert error.log == "logs/a.log"


def test_a_fingerprint_changes_with_source_environment_and_protocol_each_in_its_own_field() -> None:
    """So that a stale row can say what changed."""
    plain = fingerprint(attempt("honest"), {"torch": "2.13"})
    assert fingerprint(attempt("honest"), {"torch": "2.13"}) == plain
    changed = {
        "source": fingerprint(attempt("honest", source="other"), {"torch": "2.13"}),
        "environment": fingerprint(attempt("honest"), {"torch": "2.14"}),
        "protocol": fingerprint(
            attempt("honest", protocol=BRIEF.model_copy(update={"target_ci": 0.5})),
            {"torch": "2.13"},
        ),
    }
    for name, found in changed.items():
        assert {field for field, value in found if value != getattr(plain, field)} == {name}
    for other in (attempt("honest", verify=VerifySpec(tolerance=0.1)), attempt("honest", seed=8)):
        assert fingerprint(other, {"torch": "2.13"}).protocol != plain.protocol
