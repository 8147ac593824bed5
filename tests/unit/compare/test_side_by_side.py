"""Several sweeps in one table: what belongs together stands in a line, what differs is said."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import sweeps
from orchestrator.compare.side_by_side import side_by_side
from orchestrator.errors import RequestError
from orchestrator.report.across.side_page import side_page
from orchestrator.report.across.side_text import as_object, csv_text, markdown_page, text
from tests.support.swept import Store, prepare

Cli = Callable[..., Any]
A100, H200 = "NVIDIA A100", "NVIDIA H200"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty results folder, and what runs sweeps into it."""
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return Store(monkeypatch)


def on(store: Store, model: str, factor: float, *overrides: str) -> Any:
    """A sweep on a device that takes so many times n milliseconds."""
    return store.sweep(
        *overrides,
        latency=lambda attempt: factor * attempt.trial.params["n"],
        device={"model": model},
    )


def test_two_devices_stand_side_by_side_without_force(store: Store) -> None:
    """Ratios to the first, the geometric mean of each implementation, and what is not alike."""
    found = side_by_side([on(store, A100, 1.0), on(store, H200, 0.5)], by="device")
    assert [column.label for column in found.columns] == [A100, H200]
    assert [line.ratios[1].value for line in found.lines if line.ratios[1]] == pytest.approx(
        [0.5, 0.5]
    )
    (mean,) = found.means.values()
    assert mean[1] is not None
    assert mean[1][0] == pytest.approx(0.5)
    assert found.columns[1].unlike == (f"model: {A100}, {H200}",)
    assert f"{H200} differs in: model: {A100}, {H200}" in text(found)


def test_another_column_may_be_the_one_that_ratios_are_to(store: Store) -> None:
    """By the beginning of its label."""
    sweeps = [on(store, A100, 1.0), on(store, H200, 0.5)]
    found = side_by_side(sweeps, by="device", against="NVIDIA H")
    assert found.against == 1
    assert [line.ratios[0].value for line in found.lines if line.ratios[0]] == pytest.approx(
        [2.0, 2.0]
    )
    with pytest.raises(RequestError, match="several columns begin so"):
        side_by_side(sweeps, by="device", against="NVIDIA")
    with pytest.raises(RequestError, match="no such column"):
        side_by_side(sweeps, by="device", against="TPU")


def test_of_two_sweeps_of_a_device_the_newer_counts(store: Store) -> None:
    """But a row that failed there hides no time of the older."""
    sweeps = [on(store, A100, 1.0), on(store, A100, 1.1), on(store, H200, 0.5)]
    sweeps.append(store.sweep("axes.n=[16]", latency=lambda _: None, device={"model": H200}))
    found = side_by_side(sweeps, by="device")
    assert [line.cells[0].metrics["latency_ms"] for line in found.lines if line.cells[0]] == (
        pytest.approx([17.6, 35.2])
    )
    assert [line.cells[1].ok for line in found.lines if line.cells[1]] == [True, True]


def test_what_was_only_screened_has_no_ratio_and_hides_no_time(store: Store) -> None:
    """Neither one beside a measured row, nor a newer one of the same device."""
    older, base = on(store, H200, 1.0), on(store, A100, 1.0)
    newer = store.sweep(
        latency=lambda attempt: 0.1 * attempt.trial.params["n"],
        flags=("screened",),
        device={"model": H200},
    )
    found = side_by_side([base, newer], by="device")
    assert [line.ratios[1] for line in found.lines] == [None, None]
    found = side_by_side([older, base, newer], by="device")
    assert [line.ratios[1] is not None for line in found.lines] == [True, True]
    assert [line.cells[0].is_screened for line in found.lines if line.cells[0]] == [False, False]


def test_a_row_that_one_sweep_lacks_is_a_gap(store: Store) -> None:
    """No ratio, and no line is left out."""
    found = side_by_side([on(store, A100, 1.0), on(store, A100, 1.0, "axes.n=[16, 64]")])
    assert [row.params["n"] for line in found.lines for row in [line.row]] == [16, 32, 64]
    assert [line.ratios[1] is None for line in found.lines] == [False, True, True]
    dashes = [line.split().count("-") for line in text(found).splitlines()[4:7]]
    assert dashes == [0, 1, 1]


def test_every_format_has_every_row(store: Store) -> None:
    """Text, Markdown, CSV, JSON and the page."""
    found = side_by_side([on(store, A100, 1.0), on(store, H200, 0.5)])
    lines = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert [float(line["ratio"]) for line in lines[:2]] == pytest.approx([1.0, 0.5])
    assert as_object(found)["geometric_means"] == {"matmul:right": [1.0, pytest.approx(0.5)]}
    assert markdown_page(found).count("\n| matmul:right ") == 3
    page = side_page(found)
    assert page.count("matmul:right") == 3
    assert "<script" not in page


def test_a_figure_named_like_a_column_does_not_get_into_it(store: Store) -> None:
    """A workload's own metric `outcome` or `ratio` is none of the table's."""
    own = {"outcome": 7.0, "ratio": 7.0, "trial_id": 7.0}
    first = store.sweep(metrics=own, device={"model": A100})
    second = store.sweep("axes.n=[16, 64]", metrics=own, device={"model": A100})
    found = side_by_side([first, second])
    lines = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert {line["outcome"] for line in lines} == {"ok"}
    assert "7.0" not in {line["ratio"] for line in lines}
    assert all(len(line["trial_id"]) == 16 for line in lines)


def test_one_column_is_no_table(store: Store) -> None:
    """What would give two is said."""
    with pytest.raises(RequestError, match="wants two columns or more, and by device there is"):
        side_by_side([on(store, A100, 1.0)], by="device")


def test_report_takes_several_sweeps_or_a_name(store: Store, cli: Cli) -> None:
    """`report A B`, and `report toy --by device` for every sweep of that name."""
    first, second = on(store, A100, 1.0), on(store, H200, 0.5)
    said = cli("report", first.meta.sweep_id, "last", "--format", "json")
    assert json.loads(said.out)["against"] == first.meta.sweep_id
    said = cli("report", "toy", "--by", "device")
    assert said.out.startswith(f"2 rows by device: {A100}, {H200}")
    assert cli("report", "last", "last~1", "--errors").code == 2
    assert cli("report", second.meta.sweep_id).code == 0


def test_columns_by_commit(store: Store) -> None:
    """The first digits of what the code was at."""
    environment = {"match": {"device": "cpu"}, "know": {"git_commit": "a" * 40}}
    store.environment = environment
    first = store.sweep()
    environment["know"] = {"git_commit": "b" * 40}
    second = store.sweep()
    found = side_by_side([first, second], by="commit")
    assert [column.label for column in found.columns] == ["a" * 10, "b" * 10]


def test_a_commit_with_changed_files_is_a_column_of_its_own(store: Store) -> None:
    """It is not the commit's code; the user's checkout counts before the harness's."""
    know: dict[str, Any] = {"git_commit": "c" * 40, "git_dirty": True}
    store.environment = {"match": {"device": "cpu"}, "know": know}
    know |= {"code_git_commit": "a" * 40, "code_git_dirty": False}
    first = store.sweep()
    store.environment = {"match": {"device": "cpu"}, "know": {**know, "code_git_dirty": True}}
    second = store.sweep()
    found = side_by_side([first, second], by="commit")
    assert [column.label for column in found.columns] == ["a" * 10, f"{'a' * 10}+"]
    assert [item["commit"] for item in sweeps.as_objects()] == [f"{'a' * 7}+", "a" * 7]


def test_the_newer_row_counts_whatever_order_the_sweeps_are_given_in(store: Store) -> None:
    """By when it was measured; a folder may have any name, and the columns' order is the user's."""
    older, newer, other = on(store, A100, 1.0), on(store, A100, 1.1), on(store, H200, 0.5)
    for order in ([older, newer, other], [newer, older, other]):
        found = side_by_side(order, by="device")
        times = [line.cells[0].metrics["latency_ms"] for line in found.lines if line.cells[0]]
        assert times == pytest.approx([17.6, 35.2])


def test_a_row_that_was_reused_counts_once(store: Store) -> None:
    """A ratio of a measurement to itself says nothing, and would draw the mean towards one."""
    first = store.sweep("axes.n=[16]")
    second = store.sweep(
        "reuse=true",
        latency=lambda attempt: 2.0 * attempt.trial.params["n"],
    )
    assert [bool(row.reused_from) for row in second.rows] == [True, False]
    found = side_by_side([first, second])
    assert [cell.ok for line in found.lines[:1] for cell in line.cells if cell] == [True, True]
    assert found.lines[0].ratios[1] is None
    third = on(store, H200, 0.5)
    found = side_by_side([first, second, third], by="device")
    here = found.lines[0].cells[0]
    assert here is not None
    assert not here.reused_from
