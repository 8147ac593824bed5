"""Cells that a smaller out-of-memory rules out are rows, flagged, and not run."""

from __future__ import annotations

import pytest

from orchestrator.outcome import Outcome
from orchestrator.report.layout import status
from orchestrator.search import oom_prediction
from orchestrator.trial import Trial
from tests.support.driven import Driven, End, values
from tests.support.sweeps import sweep

AXES = "{batch: [1, 2], seq_len: [64, 256, 128], heads: [4]}"
FULL = "{segment_lengths: [seq_len], dilation_rates: [1]}"


def grid(axes: str = AXES, **fields: str) -> Driven:
    fields = {"implementations": "[standard]", "constants": FULL, "predict": "true", **fields}
    return Driven(sweep(axes=axes, **fields))


def out_from(tokens: int, end: Outcome = Outcome.OOM) -> object:
    def ends(trial: Trial) -> End:
        held = trial.params["batch"] * trial.params["seq_len"]
        return (end if held >= tokens else Outcome.OK, 1.0)

    return ends


def test_larger_cells_are_out_of_memory_without_being_run() -> None:
    """Batch 1 at 256 does not fit: nor does batch 2 there. What is neither smaller nor larger is
    run.
    """
    driven = grid().drive(out_from(256))
    assert values(driven.made, "batch", "seq_len") == [
        (1, 64),
        (1, 128),
        (2, 64),
        (1, 256),
        (2, 128),
    ]
    rows = {(row.params["batch"], row.params["seq_len"]): row for row in driven.results().rows}
    predicted = rows[2, 256]
    assert (predicted.outcome, predicted.flags, status(predicted)) == (
        Outcome.OOM,
        ("predicted",),
        "✗ oom predicted",
    )
    assert predicted.error is not None
    assert predicted.error.kind == "Predicted"
    ruling = rows[1, 256] if rows[1, 256].trial_id in predicted.error.message else rows[2, 128]
    assert ruling.outcome is Outcome.OOM
    assert ruling.flags == ()
    assert predicted.error.message.startswith(f"not run: trial {ruling.trial_id} (batch=")


def test_the_table_keeps_its_order_and_loses_no_row() -> None:
    """Only the order of the work changes: the smallest first."""
    driven = grid().drive(out_from(10**9))
    assert values(driven.made, "batch", "seq_len")[0] == (1, 64)
    assert [row.params["seq_len"] for row in driven.results().rows] == [64, 256, 128] * 2
    assert len(driven.made) == 6


@pytest.mark.parametrize("end", [Outcome.TIMEOUT, Outcome.CRASHED, Outcome.MISMATCH])
def test_nothing_but_out_of_memory_rules_anything_out(end: Outcome) -> None:
    """A timeout is a verdict on the time that was given."""
    assert len(grid().drive(out_from(128, end)).made) == 6


def test_without_predict_everything_is_run() -> None:
    """It is asked for."""
    assert len(grid(predict="false").drive(out_from(64)).made) == 6


def test_an_implementation_rules_out_its_own_cells_only() -> None:
    """And only under the same options."""
    entries = "[standard, improved, {use: improved, label: other, options: {fast: true}}]"
    driven = grid("{batch: [1], seq_len: [64, 128], heads: [4]}", implementations=entries).drive(
        out_from(64)
    )
    assert [attempt.trial.implementation for attempt in driven.made] == [
        "standard",
        "improved",
        "other",
    ]
    assert [row.outcome for row in driven.results().rows] == [Outcome.OOM] * 6


def test_an_axis_that_moves_no_more_bytes_rules_nothing_out() -> None:
    """More blocks of a ring, or a causal mask, may need less memory: such cells are run."""
    axes = "{batch: [1], seq_len: [64, 128], heads: [4], ring_size: [1, 2]}"
    driven = grid(axes, implementations="[ring_v2]").drive(out_from(64))
    assert values(driven.made, "seq_len", "ring_size") == [(64, 1), (64, 2)]
    axes = "{batch: [1], seq_len: [64], heads: [4], causal: [false, true]}"
    assert len(grid(axes).drive(out_from(64)).made) == 2


def test_a_smaller_param_that_follows_from_a_larger_axis_rules_nothing_out() -> None:
    """Twice the sequence in segments of half the length: less may be held at once."""
    lengths = "{segment_lengths: ['max(16, 4096 // seq_len)'], dilation_rates: [1]}"
    driven = grid("{batch: [1], seq_len: [64, 128], heads: [4]}", constants=lengths).drive(
        out_from(64)
    )
    assert len(driven.made) == 2


def test_a_prediction_is_kept_when_the_sweep_goes_on() -> None:
    """It stands in the journal as any other record, and is not made again."""
    driven = grid().drive(out_from(64), stop_after=3)
    count = len(driven.made)
    driven.drive(out_from(64))
    assert len(driven.made) == count == 1
    assert len({record.key for record in driven.records}) == len(driven.records) == 6


def test_several_rounds_are_foretold_each() -> None:
    """A row is the last attempt of each round, and every round has one."""
    driven = grid("{batch: [1], seq_len: [64, 128], heads: [4]}", measure="{repeats: 2}").drive(
        out_from(64)
    )
    assert [len(row.records) for row in driven.results().rows] == [2, 2]
    assert all(attempt.trial.params["seq_len"] == 64 for attempt in driven.made)


def test_retries_of_out_of_memory_do_not_repeat_a_prediction() -> None:
    """What was not run cannot end otherwise the second time."""
    driven = grid("{batch: [1], seq_len: [64, 128], heads: [4]}", retries="{oom: 1}").drive(
        out_from(64)
    )
    assert values(driven.made, "seq_len") == [(64,), (64,)]
    assert len(driven.records) == 3


def test_what_is_run_again_is_foretold_anew() -> None:
    """The smallest that was out of memory is made again first; where it now fits, so may the larger
    ones.
    """
    driven = grid().drive(out_from(128))
    before = len(driven.made)
    driven.drive(out_from(10**9), rerun="failed")
    assert all(row.ok for row in driven.results().rows)
    assert len(driven.made) == before + 5


def test_a_cell_is_compared_with_its_own_kind_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another option, or another value of an axis that does not grow, was out of memory at is
    not gone through.
    """
    compared = list[str]()
    rules_out = oom_prediction._rules_out
    monkeypatch.setattr(
        oom_prediction,
        "_rules_out",
        lambda one, other: compared.append("") or rules_out(one, other),
    )
    axes = f"{{batch: [1], seq_len: [64, 128], heads: [4], options.block: {list(range(200))}}}"
    driven = grid(axes).drive(out_from(64))
    assert len(driven.made) == 200
    assert [row.outcome for row in driven.results().rows] == [Outcome.OOM] * 400
    assert len(compared) == 200


def test_what_is_to_be_run_again_rules_nothing_out_before_it_has() -> None:
    """On a larger card, with rounds: an old record of a smaller cell's second round is no verdict
    any more.
    """
    driven = grid(measure="{repeats: 2}").drive(out_from(256))
    assert any("predicted" in record.flags for record in driven.records)
    driven.drive(out_from(10**9), rerun="failed")
    assert {str(row.outcome) for row in driven.results().rows} == {"ok"}
