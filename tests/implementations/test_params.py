"""Params: what is refused, and that the refusal says which field, which rule and what was found."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from implementations import DilatedAttentionParams
from tests.implementations.problems import params


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"segment_lengths": [12, 36]},
            "segment_lengths must each divide seq_len: 36 does not divide 48",
        ),
        (
            {"segment_lengths": [96, 48]},
            "segment_lengths must each divide seq_len: 96 does not divide 48",
        ),
        ({"dilation_rates": [13, 1]}, "rate 13 with segment length 12"),
        ({"dilation_rates": [1]}, "one rate per segment length: 1 rates"),
        (
            {"heads": 1},
            "heads must be at least the number of segment_lengths with mixing head_groups: 1 heads for 2",
        ),
        ({"segment_lengths": []}, "segment_lengths"),
        ({"heads": True}, "heads"),
        ({"segment_lengths": [True, 48]}, "segment_lengths"),
        ({"batch": 0}, "batch"),
        ({"dtype": "float8"}, "dtype"),
        ({"ring_size": 0}, "ring_size"),
        ({"device": "tpu"}, "device"),
        ({"heads_dim": 8}, "heads_dim"),
    ],
)
def test_refusals_name_field_rule_and_value(changes, said):
    """Each contradiction is refused with words of its own."""
    with pytest.raises(ValidationError) as refusal:
        params(**changes)
    assert said in str(refusal.value)


def test_a_wrong_segment_length_comes_with_the_nearest_right_one():
    """The message says what to do next."""
    with pytest.raises(ValidationError, match="the nearest shorter length that does is 24"):
        params(segment_lengths=[12, 36])


def test_huge_lengths_are_refused_quickly():
    """No search for a divisor runs through 10^15 candidates."""
    with pytest.raises(ValidationError, match="does not divide"):
        params(seq_len=10**15 + 37, segment_lengths=[10**15, 1], dilation_rates=[1, 1])


def test_only_five_params_have_no_default():
    """The others default as documented."""
    required = [
        name for name, field in DilatedAttentionParams.model_fields.items() if field.is_required()
    ]
    assert required == ["batch", "seq_len", "heads", "segment_lengths", "dilation_rates"]
    least = DilatedAttentionParams(
        batch=1, seq_len=4, heads=1, segment_lengths=[4], dilation_rates=[1]
    )
    assert least.model_dump(mode="json") == {
        "batch": 1,
        "seq_len": 4,
        "heads": 1,
        "segment_lengths": [4],
        "dilation_rates": [1],
        "head_dim": 64,
        "dtype": "float32",
        "causal": False,
        "mixing": "head_groups",
        "direction": "forward",
        "matmul_precision": "ieee",
        "world_size": 1,
        "ring_size": 1,
        "device": None,
    }


def test_lse_needs_no_head_per_branch():
    """Under lse every head takes every branch."""
    assert params(heads=1, mixing="lse").heads == 1


def test_json_round_trip():
    """Params survive the journal."""
    given = params(causal=True)
    assert DilatedAttentionParams.model_validate_json(given.model_dump_json()) == given
