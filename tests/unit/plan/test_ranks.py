"""How many processes and GPUs the trials of a sweep take."""

from __future__ import annotations

import pytest

from orchestrator.errors import RequestError
from orchestrator.plan.sweep import Sweep

SWEEP = (
    "name: r\nworkload: dilated_attention\nimplementations: [ring_v2]\naxes: {world_size: [1, 2]}\n"
    "constants: {batch: 1, seq_len: 64, heads: 4, segment_lengths: [64], dilation_rates: [1]}\n"
)


def test_a_workload_that_shards_its_inputs_says_how_many_ranks_a_trial_has() -> None:
    """A process each; on a CPU no GPU."""
    sweep = Sweep.parse(SWEEP)
    assert [(sweep.ranks(trial), sweep.gpus(trial)) for trial in sweep.trials] == [(1, 1), (2, 2)]
    assert [sweep.resources(trial, "cpu").ranks for trial in sweep.trials] == [1, 2]
    assert [sweep.resources(trial, "cpu").gpus for trial in sweep.trials] == [0, 0]


def test_fewer_gpus_than_ranks_are_refused() -> None:
    """By name, with what would do."""
    sweep = Sweep.parse(SWEEP + "resources: {gpus: 1}\n")
    first, second = sweep.trials
    assert sweep.gpus(first) == 1
    with pytest.raises(
        RequestError, match=r"resources.gpus: 1 where a trial of dilated_attention has 2 ranks"
    ):
        sweep.gpus(second)
