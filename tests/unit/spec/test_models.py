"""The models of the sweep file: frozen, strict, with sound defaults for each device."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.outcome import Outcome
from orchestrator.spec.models import (
    MAX_LABEL,
    PROTOCOL_DEFAULTS,
    ImplementationSpec,
    MeasureSpec,
    RetrySpec,
    SweepSpec,
    default_label,
)


@pytest.mark.parametrize(
    ("device", "protocol"),
    [
        (
            "cuda",
            {
                "warmup_s": 0.3,
                "min_time_s": 0.1,
                "max_time_s": 10.0,
                "min_repetitions": 20,
                "target_ci": 0.005,
            },
        ),
        ("cpu", {"min_time_s": 0.1, "max_time_s": 3.0, "min_repetitions": 5, "target_ci": 0.03}),
    ],
)
def test_the_defaults_are_those_of_the_protocol(device: str, protocol: dict[str, float]) -> None:
    """As the measuring protocol states them for each device."""
    assert protocol.items() <= MeasureSpec().for_device(device).model_dump().items()


@given(
    st.none() | st.floats(0, 100),
    st.none() | st.floats(0.001, 100),
    st.sampled_from(["cpu", "cuda"]),
)
def test_the_longest_time_is_never_below_the_shortest(
    shortest: float | None, longest: float | None, device: str
) -> None:
    """What is stated holds; what is not moves out of its way; both stated the wrong way round are
    refused.
    """
    if shortest is not None and longest is not None and shortest > longest:
        with pytest.raises(ValidationError, match="must not exceed"):
            MeasureSpec(min_time_s=shortest, max_time_s=longest)
        return
    protocol = MeasureSpec(min_time_s=shortest, max_time_s=longest).for_device(device)
    assert protocol.min_time_s <= protocol.max_time_s
    assert protocol.min_time_s == shortest or shortest is None
    assert protocol.max_time_s == longest or longest is None
    if shortest is None and longest is None:
        assert protocol.max_time_s == PROTOCOL_DEFAULTS[device]["max_time_s"]


@pytest.mark.parametrize(
    ("use", "label"),
    [
        ("improved", "improved"),
        ("./my_attention.py:build", "my_attention"),
        ("/somewhere/else/my_attention.py:build", "my_attention"),
        ("my_attention.py:build_fast", "my_attention:build_fast"),
        ("package.module:build", "module"),
        ("package.module:Attention", "module:Attention"),
        ("x" * 100, "x" * MAX_LABEL),
    ],
)
def test_an_entry_is_labelled_by_what_it_uses(use: str, label: str) -> None:
    """Short enough for a table, and without the path."""
    assert default_label(use) == label
    assert ImplementationSpec.model_validate(use).label == label


@pytest.mark.parametrize("label", ["x" * 65, "a\nb", "\x1b[31m", "\u200b"])
def test_a_label_is_printable_and_short(label: str) -> None:
    """It heads rows, names runs and stands in pages."""
    with pytest.raises(ValidationError, match="1 to 64 printable characters"):
        ImplementationSpec(use="improved", label=label)


def test_every_outcome_but_ok_and_unsupported_may_be_retried() -> None:
    """Trying again is no use where an implementation says that it cannot."""
    assert set(RetrySpec.model_fields) == {str(outcome) for outcome in Outcome} - {
        "ok",
        "unsupported",
    }
    assert RetrySpec() == RetrySpec(lost=3, crashed=0)


def test_a_spec_cannot_be_changed() -> None:
    """Nothing after reading it doubts it."""
    spec = SweepSpec(name="a", workload="b", implementations=(ImplementationSpec(use="c"),))
    with pytest.raises(ValidationError, match="frozen"):
        spec.name = "other"  # type: ignore[misc]
