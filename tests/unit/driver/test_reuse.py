"""A row that an earlier sweep measured alike is not measured again, and is said to be of it."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import api
from orchestrator.driver.reuse import Reuse, environments_here
from orchestrator.driver.stale import KnownSources
from orchestrator.errors import RequestError
from orchestrator.history.index import FILE_NAME, Index
from orchestrator.plan.sweep import Sweep
from orchestrator.results.rows import Row
from orchestrator.results.sweep_directory import SWEEPS
from orchestrator.trackers.in_memory import MemoryTracker
from tests.support.swept import Store, prepare

Cli = Callable[..., Any]
REUSE = "reuse=true"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty results folder, and what runs sweeps into it."""
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return Store(monkeypatch)


def origins(rows: list[Row]) -> list[str]:
    """The sweep that each row comes from."""
    return [row.reused_from for row in rows]


def test_what_is_known_is_not_measured_again(store: Store) -> None:
    """Of three shapes the two that an earlier sweep has; their figures are its own."""
    first = store.sweep()
    store.made.clear()
    second = store.sweep(REUSE, "axes.n=[16, 32, 48]")
    assert [attempt.trial.params["n"] for attempt in store.made] == [48]
    assert origins(second.rows) == [first.meta.sweep_id, first.meta.sweep_id, ""]
    assert [dict(row.metrics) for row in second.rows[:2]] == [
        dict(row.metrics) for row in first.rows
    ]


def test_without_asking_everything_is_measured(store: Store) -> None:
    """Reuse is never a surprise."""
    store.sweep()
    store.made.clear()
    second = store.sweep()
    assert len(store.made) == 2
    assert origins(second.rows) == ["", ""]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("measure.min_repetitions=7", "measure.min_repetitions: 5, now 7"),
        ("measure.cold_cache=false", "measure.cold_cache: True, now False"),
        ("measure.profile=true", "measure.profile: False, now True"),
        ("measure.repeats=2", "measure.repeats: 1, now 2"),
        ("verify.tolerance=0.1", "verify.tolerance: none, now 0.1"),
        ("resources.host_memory_gib=3", "resources.host_memory_gib: none, now 3.0"),
        ("resources.cpus=1", "threads: "),
        ("seed=1", "seed: 0, now 1"),
        ("constants={dtype: float64}", "dtype: float32, now float64"),
    ],
)
def test_a_row_measured_otherwise_is_not_the_same(store: Store, change: str, why: str) -> None:
    """And `plan --why` says in what."""
    if change == "resources.cpus=1":
        cores = environments_here(Sweep.load("toy.yaml"), "cpu")[0]["match"]["threads"]
        if cores == 1:
            pytest.skip("one core is all that there is")
    store.sweep()
    sweep = Sweep.load("toy.yaml", ["implementations=[./matmul.py:right]", change])
    known = Reuse(sweep, "cpu", environments_here(sweep, "cpu"), KnownSources(sweep))
    assert known.hit(sweep.trials[0]) is None
    assert why in known.why_not(sweep.trials[0]).why
    known.close()


@pytest.mark.parametrize(
    ("fact", "value"), [("model", "another card"), ("driver", "1.2"), ("clocks", "900 MHz")]
)
def test_a_row_of_another_machine_is_not_the_same(store: Store, fact: str, value: str) -> None:
    """One table never mixes two."""
    store.sweep(device={fact: value})
    store.made.clear()
    assert origins(store.sweep(REUSE).rows) == ["", ""]


def test_a_row_of_another_card_of_the_model_is_not_the_same(store: Store) -> None:
    """Two cards of one model differ by some per cent."""
    environment = environments_here(Sweep.load("toy.yaml"), "cpu")[0]
    environment["know"] = {**environment["know"], "gpu_uuid": "GPU-b"}
    store.environment, store.card = environment, "GPU-a"
    store.sweep()
    assert origins(store.sweep(REUSE).rows) == ["", ""]
    store.environment["know"]["gpu_uuid"] = "GPU-a"
    assert "" not in origins(store.sweep(REUSE).rows)


def test_a_row_of_another_version_of_the_harness_is_not_the_same(store: Store) -> None:
    """It may have measured or judged otherwise."""
    environment = environments_here(Sweep.load("toy.yaml"), "cpu")[0]
    environment["know"] = {**environment["know"], "orchestrator": "0.0.1"}
    store.environment = environment
    store.sweep()
    sweep = Sweep.load("toy.yaml", ["implementations=[./matmul.py:right]"])
    known = Reuse(sweep, "cpu", environments_here(sweep, "cpu"), KnownSources(sweep))
    assert known.hit(sweep.trials[0]) is None
    assert "orchestrator: 0.0.1, now " in known.why_not(sweep.trials[0]).why
    known.close()


def test_of_several_rows_that_are_the_same_the_newest_counts(store: Store) -> None:
    """Also where the index read the older one last, as its journal was touched since."""
    older, newer = store.sweep(), store.sweep()
    assert older.directory is not None
    Index().close()
    os.utime(older.directory / "results.jsonl", ns=(1, 1))
    assert set(origins(store.sweep(REUSE).rows)) == {newer.meta.sweep_id}


def test_an_index_that_is_damaged_meanwhile_is_made_anew(store: Store) -> None:
    """A sweep under way goes on with what is known."""
    first = store.sweep()
    sweep = Sweep.load("toy.yaml", ["implementations=[./matmul.py:right]"])
    Index().close()
    with contextlib.closing(sqlite3.connect(SWEEPS / FILE_NAME)) as held:
        pages = held.execute("SELECT rootpage FROM sqlite_master WHERE name LIKE 'row%'").fetchall()
        (size,) = held.execute("PRAGMA page_size").fetchone()
    with (SWEEPS / FILE_NAME).open("r+b") as file:
        for (page,) in pages:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)
    known = Reuse(sweep, "cpu", environments_here(sweep, "cpu"), KnownSources(sweep))
    found = known.hit(sweep.trials[0])
    known.close()
    assert found is not None
    assert found.sweep_id == first.meta.sweep_id


def test_what_a_frontier_probes_may_be_known(store: Store) -> None:
    """Its answer is the same, with fewer probes made."""
    asked = ("axes.n=[16, 32, 48, 64]", "frontier.axis=n")
    first = store.sweep(*asked)
    made = len(store.made)
    second = store.sweep(*asked, REUSE)
    assert made > 0
    assert len(store.made) == made
    assert [answer.value for answer in second.answers] == [answer.value for answer in first.answers]


def test_resume_goes_on_with_what_it_began(store: Store) -> None:
    """A round that was measured here is not completed by rounds of another sweep."""
    begun = store.sweep(REUSE, "measure.repeats=2")
    assert begun.directory is not None
    journal = begun.directory / "results.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    store.sweep("measure.repeats=2")
    journal.write_bytes(b"".join(lines[:2]))  # the first round of both
    again = store.sweep(REUSE, "measure.repeats=2", output=begun.directory, resume=True)
    assert origins(again.rows) == ["", ""]
    assert all(not record.reused_from for row in again.rows for record in row.records)


def test_a_row_of_other_code_is_not_the_same(store: Store) -> None:
    """Not even where the change is in what it imports."""
    Path("matmul.py").write_text(Path("matmul.py").read_text() + "\nimport tables\n")
    Path("tables.py").write_text("SIZE = 1\n")
    store.sweep()
    Path("tables.py").write_text("SIZE = 2\n")
    sweep = Sweep.load("toy.yaml", ["implementations=[./matmul.py:right]"])
    known = Reuse(sweep, "cpu", environments_here(sweep, "cpu"), KnownSources(sweep))
    assert known.hit(sweep.trials[0]) is None
    assert "source: tables.py changed" in known.why_not(sweep.trials[0]).why
    known.close()


@pytest.mark.parametrize("flag", ["noisy", "contended", "throttled", "unproven", "cut"])
def test_a_row_with_a_doubt_is_measured_again(store: Store, flag: str) -> None:
    """Whatever the flag is."""
    store.sweep(flags=(flag,), rerun=None)
    assert origins(store.sweep(REUSE).rows) == ["", ""]


def test_a_row_that_failed_is_tried_again(store: Store) -> None:
    """Only what is ok is known."""
    bad = "implementations=[./matmul.py:raises]"
    store.sweep(bad)
    store.made.clear()
    store.sweep(bad, REUSE)
    assert len(store.made) == 2


def test_rounds_come_from_one_sweep(store: Store) -> None:
    """Three of five rounds are no row of two rounds more: all five are measured."""
    store.sweep("measure.repeats=3")
    store.made.clear()
    five = store.sweep(REUSE, "measure.repeats=5")
    assert len(store.made) == 10
    two = store.sweep(REUSE, "measure.repeats=2")
    assert origins(two.rows) == [five.meta.sweep_id] * 2
    assert [len(row.records) for row in two.rows] == [2, 2]


def test_a_row_that_was_reused_names_who_measured_it(store: Store) -> None:
    """Not who reused it last."""
    first = store.sweep()
    store.sweep(REUSE)
    third = store.sweep(REUSE)
    assert origins(third.rows) == [first.meta.sweep_id] * 2


def test_rerun_measures_again_whatever_is_known(store: Store) -> None:
    """The two wishes contradict each other, and the later one is meant."""
    store.sweep()
    second = store.sweep(REUSE)
    store.made.clear()
    again = store.sweep(REUSE, rerun="all", output=second.directory)
    assert len(store.made) == 2
    assert origins(again.rows) == ["", ""]


def test_it_is_said_where_rows_come_from(store: Store, cli: Cli) -> None:
    """In the footer, the CSV, the page, Markdown and JSON."""
    first = store.sweep()
    second = store.sweep(REUSE, "axes.n=[16, 48]")
    origin = first.meta.sweep_id
    assert second.directory is not None
    for name in ("summary.txt", "summary.md", "report.html"):
        said = (second.directory / name).read_text().replace("\\", "")
        assert f"1 of 2 rows, measured by {origin} (2026-11-01" in said
    with (second.directory / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["reused_from"] for line in lines] == [origin, ""]
    assert lines[0]["reused_at"].startswith("2026-11-01")
    assert f"measured by {origin}" in cli("report", "last").out


def test_a_sweep_that_is_wholly_known_starts_no_executor(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its table is told before MLflow is imported."""
    first = store.sweep()
    monkeypatch.setattr(api, "ray_executor", lambda *_: pytest.fail("Ray was started"))
    told: list[api.Results] = []

    def tracker() -> MemoryTracker:
        assert told, "MLflow came first"
        return MemoryTracker()

    store._days += 1
    sweep = Sweep.load("toy.yaml", ["implementations=[./matmul.py:right]", REUSE])
    found = api.run(sweep, device="cpu", tracker=tracker, on_results=told.append)
    assert origins(found.rows) == [first.meta.sweep_id] * 2
    assert [one.meta.sweep_id for one in told] == [found.meta.sweep_id]
    assert found.directory is not None
    assert json.loads((found.directory / "environment.json").read_text())


WITHOUT = """
import sys
from orchestrator.cli.main import main
code = main(sys.argv[1:])
print({"torch", "ray", "mlflow"} & set(sys.modules))
sys.exit(code)
"""


@pytest.mark.slow
def test_plan_says_what_is_known_without_the_heavy_libraries(store: Store) -> None:
    """`plan --reuse` and `--why` import neither torch nor ray nor mlflow."""
    first = store.sweep()
    narrowed = ["-S", "implementations=[./matmul.py:right]", "-S", "axes.n=[16, 64]"]
    typed = ["plan", "toy.yaml", "--device", "cpu", "--why", *narrowed]
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT, *typed], capture_output=True, text=True, timeout=280
    )
    assert said.returncode == 0, said.stderr
    *_, counted, origin, missing, imported = said.stdout.splitlines()
    assert counted == "Reuse: 1 of 2 rows known, 1 to be measured"
    assert origin.startswith(f"  1 from {first.meta.sweep_id} (2026-11-01")
    assert missing == "  matmul:right n=64: n: 16, now 64"
    assert imported == "set()"


def test_of_a_search_nothing_is_known_before(store: Store, cli: Cli) -> None:
    """Which trials it will have depends on what it measures: no figure would be right."""
    store.sweep("axes.n=[16]")
    searching = ("-S", "search.strategy=random", "-S", "search.over=[n]", "-S", "search.samples=2")
    typed = ("plan", "toy.yaml", "--device", "cpu", "--why", *searching)
    assert "Reuse: not known before: a search proposes" in cli(*typed).out
    found = json.loads(cli(*typed, "--json").out)["reuse"]
    assert (found["hits"], found["misses"]) == ([], [])
    assert found["note"].startswith("not known before")


def test_plan_as_json_names_hits_and_misses(store: Store, cli: Cli) -> None:
    """Each by its trial."""
    first = store.sweep("axes.n=[16]")
    said = cli("plan", "toy.yaml", "--device", "cpu", "--why", "--json")
    found = json.loads(said.out)["reuse"]
    assert [hit["sweep_id"] for hit in found["hits"]] == [first.meta.sweep_id]
    assert [miss["why"] for miss in found["misses"]][1] == (
        "implementation: no sweep here has matmul:raises"
    )


def test_rerun_and_reuse_in_one_call_are_refused(store: Store, cli: Cli) -> None:
    """One measures again, the other never twice."""
    said = cli("run", "toy.yaml", "--reuse", "--rerun", "all")
    assert said.code == 2
    assert "give one" in said.err


def test_a_duel_reuses_nothing(store: Store) -> None:
    """Its sides are measured in turns."""
    from orchestrator.compare import duel

    sweep = duel.prepare(Sweep.load("toy.yaml", [REUSE]), "matmul:right", "matmul:raises")
    with pytest.raises(RequestError, match="in turns"):
        api.run(sweep, device="cpu")
