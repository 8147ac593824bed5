"""A trial's id is the hash of what its entry says and its params: nothing else changes it, and each
of these does.
"""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.trial import Trial, content_hash
from tests.support import strategies
from tests.support.golden import same_as_golden
from tests.support.sweeps import sweep


def ids(**fields: str) -> list[str]:
    return [trial.trial_id for trial in sweep(**fields).trials]


def test_ids_are_the_same_everywhere_and_for_ever() -> None:
    """Journals of earlier versions are resumed by them."""
    found = sweep(
        implementations="[standard, {use: improved, label: tf32, options: {block_m: 64, list: [1, null]}}]"
    )
    shown = [
        {"trial_id": trial.trial_id, "label": trial.implementation, **trial.params}
        for trial in found.trials
    ]
    same_as_golden("trial_ids.json", json.dumps(shown, indent=1) + "\n")


def test_label_options_and_params_are_part_of_the_id() -> None:
    """So is what the entry uses."""
    entries = [
        "standard",
        "improved",
        "{use: standard, label: other}",
        "{use: standard, options: {x: 1}}",
        "{use: standard, options: {x: 1.0}}",
        "{use: standard, options: {x: '1'}}",
        "{use: standard, options: {x: true}}",
        "{use: standard, params: {ring_size: 2}}",
        "{use: improved, label: standard}",
    ]
    found = [ids(implementations=f"[{entry}]")[0] for entry in entries]
    assert len(set(found)) == len(entries)


def test_how_a_value_is_written_is_no_part_of_the_id() -> None:
    """A default stated, a value worked out, an axis of one value or a constant: the same trial."""
    plain = ids()
    pattern = "segment_lengths: ['seq_len / 4', seq_len], dilation_rates: [1, 2]"
    assert ids(constants=f"{{{pattern}}}") == plain
    assert ids(constants=f"{{{pattern}, head_dim: 64, causal: false}}") == plain
    assert (
        ids(constants=f"{{{pattern}, heads: 4}}", axes="{batch: [1, 2], seq_len: [64, 128]}")
        == plain
    )
    assert ids(seed="7", name="other", measure="{repeats: 3}", description="more") == plain


def test_an_option_of_the_whole_sweep_is_an_option_of_each_trial() -> None:
    """On an axis, among the constants, or in the entry: the same trial."""
    axes = "{batch: [1, 2], seq_len: [64, 128], heads: [4]"
    one = ids(implementations="[{use: standard, options: {x: 3}}]")
    assert ids(implementations="[standard]", axes=f"{axes}, options.x: [3]}}") == one


@given(st.dictionaries(strategies.text, strategies.values, max_size=6))
def test_the_order_of_keys_is_no_part_of_a_hash(content: dict[str, object]) -> None:
    """Nor is a copy another thing."""
    turned = dict(reversed(content.items()))
    assert (
        content_hash(content)
        == content_hash(turned)
        == content_hash(json.loads(json.dumps(content)))
    )


@given(
    st.lists(
        st.dictionaries(strategies.slugs, strategies.values, max_size=3), min_size=2, max_size=2
    )
)
def test_what_differs_has_another_hash(contents: list[dict[str, object]]) -> None:
    """1, 1.0, true and "1" differ."""
    one, other = contents
    assert (content_hash(one) == content_hash(other)) is (
        json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    )


@given(st.dictionaries(strategies.slugs, strategies.values, max_size=3), strategies.text)
def test_a_trial_survives_a_round_trip(params: dict[str, object], label: str) -> None:
    """As sweep.resolved.json keeps it."""
    trial = Trial.of(implementation=label, use="standard", params=params, options={})
    assert Trial.model_validate_json(trial.model_dump_json()) == trial
