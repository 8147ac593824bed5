"""What regressed, by how much and since when; and what only looks like it."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ExpressionError, RequestError
from orchestrator.history import series
from orchestrator.history.index import Index
from orchestrator.history.series import Series, axes
from orchestrator.history.timeline import History, history
from orchestrator.report.across.history_page import history_page
from orchestrator.report.across.history_text import as_object, csv_text, text
from orchestrator.trial import Attempt
from tests.support.swept import Store

Cli = Callable[..., Any]
EVIL = "</title><script>alert(1)</script>"


def seen(**asked: Any) -> History:
    """The history of the current folder."""
    with Index() as index:
        return history(index, **asked)


def changed_source() -> None:
    """From here on the code is another."""
    Path("matmul.py").write_text(Path("matmul.py").read_text() + "\n# changed\n")


def around(level: float) -> Callable[[Attempt], float]:
    """A latency within a per cent of so many times n; n 32 is left as it is."""
    draw = random.Random(str(level))

    def latency(attempt: Attempt) -> float:
        n = attempt.trial.params["n"]
        return n * (level if n == 16 else 1.0) * draw.gauss(1, 0.002)

    return latency


@pytest.fixture
def stepped(store: Store) -> Store:
    """Ten sweeps, then six in which n 16 takes 20 % longer, by other code."""
    before, after = around(1.0), around(1.2)
    for _ in range(10):
        store.sweep(latency=before)
    changed_source()
    for _ in range(6):
        store.sweep(latency=after)
    return store


@pytest.mark.slow
def test_a_regression_is_found_with_its_size_and_the_first_sweep_that_has_it(
    stepped: Store,
) -> None:
    """And the row beside it, which did not change, has none."""
    ((row, step),) = seen().regressions
    assert row.series.params["n"] == 16
    assert step.ratio == pytest.approx(1.2, rel=0.01)
    assert step.before.sweep.sweep_id == "20261110_093000_000a"
    assert step.after.sweep.sweep_id == "20261111_093000_000b"
    assert step.cause == "code"


@pytest.mark.slow
def test_the_answer_stands_first_in_every_format(stepped: Store, cli: Cli) -> None:
    """Text, JSON and the page's heading; CSV has a line for each point."""
    found = seen()
    assert "Worse: matmul:right n=16: 20" in text(found).splitlines()[1]
    assert "since " in text(found).splitlines()[1]
    assert as_object(found)["regressions"][0]["params"]["n"] == 16
    assert "<h1>1 row regressed</h1>" in history_page(found)
    lines = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert len(lines) == 32
    assert {line["params.n"] for line in lines} == {"16", "32"}
    assert cli("history", "--fail").code == 1
    assert cli("history", "--where", "n == 32", "--fail").code == 0
    assert json.loads(cli("history", "--json").out)["sweeps"] == 16


@pytest.mark.slow
def test_a_step_without_other_code_is_no_regression(store: Store) -> None:
    """It is named, with what is known of its cause."""
    for level in (*[1.0] * 10, *[1.2] * 6):
        store.sweep(latency=around(level))
    found = seen()
    assert found.regressions == []
    ((_, step),) = found.others
    assert step.cause == "unknown"
    assert "the source is the same" in text(found)


@pytest.mark.slow
def test_another_environment_is_a_line_and_no_regression(store: Store) -> None:
    """A new driver, from which on everything takes longer."""
    for _ in range(8):
        store.sweep(latency=around(1.0), device={"driver": "550"})
    changed_source()
    for _ in range(8):
        store.sweep(latency=around(1.3), device={"driver": "560"})
    found = seen()
    assert (found.regressions, found.others) == ([], [])
    assert [change.facts for change in found.rows[0].environments] == [("driver: 550, now 560",)]
    assert "driver: 550, now 560" in history_page(found)


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["contended", "screened"])
def test_a_row_that_is_not_ranked_is_a_point_of_no_level(store: Store, flag: str) -> None:
    """Six contended, or only screened, sweeps in which it takes twice as long are no step."""
    for _ in range(10):
        store.sweep(latency=around(1.0))
    for _ in range(6):
        store.sweep(latency=around(2.0), flags=(flag,))
    assert [row.steps for row in seen().rows] == [(), ()]


def test_a_row_that_fails_from_now_on_is_said(store: Store, cli: Cli) -> None:
    """It has no figure that could be worse; one that never was ok is no news."""
    store.sweep("axes.n=[16]")
    store.sweep(latency=lambda _: None)
    found = seen()
    assert [row.newly_failing for row in found.rows] == [True, False]
    assert (
        "Failing: matmul:right n=16: failed since 2026-11-02, sweep 20261102_093000_0002"
        in text(found)
    )
    assert "<h1>1 row newly fails</h1>" in history_page(found)
    assert cli("history", "--fail").code == 1


def test_a_row_fails_since_the_first_sweep_in_which_it_did(store: Store, cli: Cli) -> None:
    """Not since the newest; one that is ok again fails no more."""
    store.sweep("axes.n=[16]")
    store.sweep("axes.n=[16]", latency=lambda _: None)
    store.sweep("axes.n=[16]")
    assert seen().rows[0].failing_since is None
    for _ in range(3):
        store.sweep("axes.n=[16]", latency=lambda _: None)
    (row,) = seen().rows
    assert row.failing_since is not None
    assert row.failing_since.sweep.sweep_id == "20261104_093000_0004"
    assert "failed since 2026-11-04, sweep 20261104_093000_0004" in text(seen())
    (told,) = json.loads(cli("history", "--json").out)["rows"]
    assert told["newly_failing"]
    assert told["failing_since"]["sweep_id"] == "20261104_093000_0004"


def test_what_never_was_ok_on_a_smaller_device_fails_since_nothing(store: Store) -> None:
    """It runs out of memory there; where it was ok before on that model, it fails."""
    store.sweep("axes.n=[16]", device={"model": "large"})
    store.sweep("axes.n=[16]", device={"model": "small"}, latency=lambda _: None)
    assert not seen().rows[0].newly_failing
    store.sweep("axes.n=[16]", device={"model": "large"}, latency=lambda _: None)
    (row,) = seen().rows
    assert row.failing_since is not None
    assert row.failing_since.model == "large"


def test_too_few_sweeps_are_no_good_news(store: Store) -> None:
    """With five nothing can be told; with six undisturbed ones nothing is worse."""
    for _ in range(5):
        store.sweep("axes.n=[16]")
    store.sweep("axes.n=[16]", flags=("contended",))
    assert text(seen()).splitlines()[1].startswith("Too few sweeps to tell")
    assert "<h1>Too few sweeps to tell</h1>" in history_page(seen())
    store.sweep("axes.n=[16]")
    assert text(seen()).splitlines()[1].startswith("No regression")
    assert "<h1>Nothing regressed</h1>" in history_page(seen())


def test_a_row_that_is_ok_without_the_figure_does_not_fail(store: Store, cli: Cli) -> None:
    """The newest sweep did not measure it: that says nothing of the row."""
    store.sweep("axes.n=[16]", metrics={"kernels": 3.0})
    store.sweep("axes.n=[16]")
    found = seen(metric="kernels")
    assert [point.value for point in found.rows[0].series.points] == [3.0, None]
    assert not found.rows[0].newly_failing
    assert "✗" not in text(found)
    assert cli("history", "--metric", "kernels", "--fail").code == 0


def test_a_row_that_was_reused_counts_once(store: Store) -> None:
    """Where it was measured."""
    store.sweep()
    store.sweep("reuse=true")
    assert [len(row.series.points) for row in seen().rows] == [1, 1]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"implementation": "matmul:rihgt"}, "did you mean 'matmul:right'"),
        ({"metric": "latency"}, "did you mean 'latency_ms'"),
        ({"where": "m == 3"}, "'m'"),
        ({"where": "n == 3"}, "no row of 2 is so"),
    ],
)
def test_what_is_not_there_is_refused(store: Store, asked: dict[str, str], said: str) -> None:
    """With what was meant."""
    store.sweep()
    with pytest.raises((RequestError, ExpressionError), match=said):
        seen(**asked)


def test_rows_are_told_apart_by_as_little_as_suffices() -> None:
    """A list that follows from a length says nothing more."""
    both = [Series("a", "x", {"n": 1, "parts": [1]}), Series("b", "x", {"n": 2, "parts": [2]})]
    assert axes(both) == ["n"]
    assert axes([*both, Series("c", "x", {"n": 2, "parts": [1, 1]})]) == ["n", "parts"]


def test_a_row_without_a_param_meets_no_condition_on_it() -> None:
    """Not even that it is another value."""
    rows = {1: ("a", "mine", {"n": 16}), 2: ("b", "mine", {"m": 16}), 3: ("c", "mine", {"n": 5})}
    assert set(series._chosen(rows, "n != 5", ["mine"])) == {1}
    assert set(series._chosen(rows, "implementation == 'mine'", ["mine"])) == {1, 2, 3}


def test_an_empty_folder_says_where_it_looked(store: Store, cli: Cli) -> None:
    """Exit code 2, no traceback."""
    said = cli("history")
    assert said.code == 2
    assert "no sweeps under mlruns/sweeps" in said.err
    assert store.made == []


def test_another_metric_has_its_own_steps(store: Store) -> None:
    """Memory did not change."""
    store.sweep()
    found = seen(metric="peak_memory_mib")
    assert [point.value for row in found.rows for point in row.series.points] == [1.0, 1.0]


def test_names_that_others_chose_stay_text(store: Store) -> None:
    """A label cannot leave its place in the page."""
    store.sweep(f'implementations=[{{use: "./matmul.py:right", label: "{EVIL}"}}]')
    page = history_page(seen())
    assert EVIL not in page
    assert "&lt;/title&gt;" in page
    assert "<script" not in page


@pytest.mark.slow
def test_history_starts_without_the_heavy_libraries(store: Store, bare_python: Cli) -> None:
    """It works where torch, ray and mlflow cannot be imported."""
    store.sweep()
    said = bare_python("history")
    assert said.code == 0, said.err
    assert "Time (ms) of 2 rows in 1 sweep" in said.out
