"""From a trial back to what its file states: at which of its points it lies."""

from __future__ import annotations

from orchestrator.results.axis_values import AxisValues
from tests.support.sweeps import sweep

AXES = '{batch: [1, 2], heads: [4], segment_lengths: [["seq_len // 4"], ["seq_len"]], seq_len: [64, 128]}'
FIELDS = {
    "axes": AXES,
    "constants": "{dilation_rates: [1], head_dim: '4 * heads', causal: false, options.fast: true}",
    "implementations": "[standard, {use: improved, params: {dtype: bfloat16}, options: {block_m: 64}}]",
    "exclude": "['batch == 2 and segment_lengths[0] == 128']",
}


def test_every_trial_of_a_file_lies_where_it_was_stated() -> None:
    """Whatever is worked out, given by an entry, an option, or left to the model."""
    found = sweep(**FIELDS)
    statement = AxisValues(found.spec, "heads == 4")
    for trial in found.trials:
        whole = trial.params["segment_lengths"] == [trial.params["seq_len"]]
        point = statement.point(trial)
        assert point["segment_lengths"] == (["seq_len"] if whole else ["seq_len // 4"])
        assert (point["batch"], point["seq_len"]) == (
            trial.params["batch"],
            trial.params["seq_len"],
        )
