"""From a trial back to what its file states: nothing of the file's own is left out, nothing of another's is kept."""

from __future__ import annotations

import pytest

from orchestrator.stated import Statement
from tests.sweeps import sweep

AXES = '{batch: [1, 2], heads: [4], segment_lengths: [["seq_len // 4"], ["seq_len"]], seq_len: [64, 128]}'
FIELDS = {
    "axes": AXES,
    "constants": "{dilation_rates: [1], head_dim: '4 * heads', causal: false, options.fast: true}",
    "implementations": "[standard, {use: improved, params: {dtype: bfloat16}, options: {block_m: 64}}]",
    "exclude": "['batch == 2 and segment_lengths[0] == 128']",
}


def test_every_trial_of_a_file_is_its_own_and_lies_where_it_was_stated() -> None:
    """Whatever is worked out, given by an entry, an option, or left to the model."""
    found = sweep(**FIELDS)
    statement = Statement(found.spec, "heads == 4")
    assert statement.current(found.trials) == list(found.trials)
    for trial in found.trials:
        whole = trial.params["segment_lengths"] == [trial.params["seq_len"]]
        point = statement.point(trial)
        assert point["segment_lengths"] == (["seq_len"] if whole else ["seq_len // 4"])
        assert (point["batch"], point["seq_len"]) == (trial.params["batch"], trial.params["seq_len"])


@pytest.mark.parametrize(
    "other",
    [
        {"axes": AXES.replace("64, 128", "64, 256")},
        {"axes": AXES.replace("seq_len // 4", "seq_len // 2")},
        {"constants": "{dilation_rates: [1], head_dim: '2 * heads', causal: false, options.fast: true}"},
        {"constants": "{dilation_rates: [1], head_dim: '4 * heads', causal: false}"},
        {"implementations": "[standard]"},
        {"implementations": "[standard, {use: improved, params: {dtype: float16}, options: {block_m: 64}}]"},
        {"implementations": "[standard, {use: improved, params: {dtype: bfloat16}, options: {block_m: 32}}]"},
        {"exclude": "['batch == 2']"},
    ],
)
def test_of_two_states_of_a_file_the_trials_of_the_later_are_kept(other: dict[str, str]) -> None:
    """One thing was changed: of all trials of both, those of the file as it is now."""
    was, now = sweep(**FIELDS), sweep(**{**FIELDS, **other})
    every = {trial.trial_id: trial for trial in (*was.trials, *now.trials)}
    kept = Statement(now.spec).current(every.values())
    assert {trial.trial_id for trial in kept} == {trial.trial_id for trial in now.trials}


def test_a_value_that_the_model_writes_in_its_own_way_is_not_judged() -> None:
    """No trial has it as stated: that says nothing against any of them."""
    found = sweep(**FIELDS)
    strange = [trial.model_copy(update={"params": {**trial.params, "causal": "no"}}) for trial in found.trials]
    assert Statement(found.spec).current(strange) == strange
