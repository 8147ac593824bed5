"""summary.txt is the seed's table, and says what happened and what to do next."""

from __future__ import annotations

from orchestrator.outcome import Outcome
from orchestrator.report import render
from orchestrator.report.layout import Layout
from orchestrator.report.table import footer, grid
from orchestrator.results.results import Results
from tests.support import made
from tests.support.golden import same_as_golden

ONE = {"batch": [1], "seq_len": [1024], "heads": [8]}


def test_the_table_of_a_sweep_where_all_is_well(all_ok: Results) -> None:
    """Title, device, the workload's header, grid and footer, to the byte."""
    same_as_golden("all_ok.txt", render(all_ok))


def test_the_table_of_a_sweep_with_some_of_everything(mixed: Results) -> None:
    """Flags beside the tick, N/A without a time, the reasons below."""
    same_as_golden("mixed.txt", render(mixed))


def test_axes_beyond_the_workloads_columns_get_a_column_only_if_they_vary() -> None:
    """Dtype varies and is shown, head_dim is an axis of one value and is not."""
    axes = {**ONE, "head_dim": [64], "dtype": ["float32", "float16"], "options.block_m": [64, 128]}
    planned = made.trials(["standard"], axes)
    text = grid(Layout.of(made.results(planned, [made.ok(trial) for trial in planned], axes=axes)))
    heading = [cell.strip() for cell in text.splitlines()[1].strip("|").split("|")]
    assert heading[:6] == ["Implementation", "Batch", "Seq Len", "Heads", "Dtype", "Block M"]
    assert "float16" in text


def test_the_dtypes_of_all_rows_stand_above_the_table() -> None:
    """An axis of dtypes is named whole in the second line."""
    axes = {**ONE, "dtype": ["float32", "bfloat16"]}
    layout = Layout.of(made.results(made.trials(["standard"], axes), [], axes=axes))
    assert layout.lines[0] == "Device: cuda, Dtype: torch.float32, torch.bfloat16"


def test_a_label_cannot_break_the_table() -> None:
    """Control and bidirectional characters of a journal edited by hand are shown as escapes."""
    planned = made.trials(["standard"], ONE)
    evil = planned[0].model_copy(update={"implementation": "a\x1b[31m\u202eb\nc"})
    spec = {"implementations": ("standard",)}
    text = render(made.results([evil], [], axes=ONE, **spec))
    assert r"a\x1b[31m\u202eb c" in text
    assert "\x1b" not in text


def test_an_allowed_outcome_is_no_reason_to_run_again() -> None:
    """allow_outcomes counts as ok: the footer says so and proposes no --rerun."""
    planned = made.trials(["standard"], ONE, dtype="float32")
    records = [made.bad(planned[0], Outcome.UNSUPPORTED)]
    results = made.results(
        planned,
        records,
        axes=ONE,
        allow_outcomes=("unsupported",),
        directory=made.HERE / made.SWEEP_ID,
    )
    lines = "\n".join(footer(Layout.of(results)))
    assert "1 unsupported (allowed)" in lines
    assert "--rerun" not in lines


def test_many_failures_are_counted_and_ten_are_told() -> None:
    """The footer stays short."""
    planned = made.trials([f"impl_{letter}" for letter in "abcdefghijklmn"], ONE)
    results = made.results(
        planned, [made.bad(trial, Outcome.FAILED) for trial in planned], axes=ONE
    )
    lines = footer(Layout.of(results))
    assert lines[0].endswith("14 failed")
    assert f"  ... and 4 more rows: orchestrator report {made.SWEEP_ID} --errors" in lines
    assert sum(line.startswith("  ✗") for line in lines) == 10


def test_pauses_between_a_stop_and_a_resume_are_not_counted_as_running() -> None:
    """Two spells of ten minutes a day apart are twenty minutes."""
    first, second = made.trials(["standard"], {**ONE, "batch": [1, 2]})
    spells = [
        ("2026-11-22T09:00:00+00:00", "2026-11-22T09:10:00+00:00"),
        ("2026-11-23T09:00:00+00:00", "2026-11-23T09:10:00+00:00"),
    ]
    records = [
        made.ok(trial, started_at=start, finished_at=end)
        for trial, (start, end) in zip((first, second), spells, strict=True)
    ]
    assert Layout.of(made.results([first, second], records)).busy_s == 1200


def test_results_can_be_shown_where_their_workload_is_not(all_ok: Results) -> None:
    """A journal copied to another machine still has a table: its axes are the columns."""
    lost = all_ok.meta.model_copy(update={"base_dir": "/nowhere", "shown": None})
    layout = Layout.of(Results(lost, all_ok.records, all_ok.environments))
    assert list(layout.columns.values()) == ["Batch", "Seq Len", "Heads"]
    assert "standard" in grid(layout)
