"""Every row says what it was: what changed is named, what is secret stays so, and looking at
results runs nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator import api
from orchestrator.compare.comparison import compare
from orchestrator.errors import RequestError
from orchestrator.executors.base import Event, Finished
from orchestrator.executors.inline import InlineExecutor
from orchestrator.history.importing import import_sweeps
from orchestrator.history.index import Index
from orchestrator.history.timeline import history
from orchestrator.plan.sweep import Sweep
from orchestrator.progress.live import SilentProgress
from orchestrator.report import write_reports
from orchestrator.report.across.history_page import history_page
from orchestrator.results import sweep_directory
from orchestrator.results.results import Results
from orchestrator.trackers.content import Frame
from orchestrator.trackers.in_memory import MemoryTracker
from tests.support.forgetful import users_files_forgotten

PROBLEM = """
import torch
from pydantic import BaseModel, ConfigDict
from orchestrator.workload import Work, Workload


class Params(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    rows: int
    dtype: str = "float32"


def inputs(config, form, seed):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(config.rows, 16, generator=generator).to(config.device, config.dtype),)


def reference(problem):
    return 3 * problem.inputs[0].to(problem.dtype)


WORKLOAD = Workload(
    name="tripled", params=Params, inputs=inputs, reference=reference,
    work=lambda params, form: Work(flops=params.rows, bytes=params.rows), columns={"rows": "How Many"},
    header=lambda constants: ["Said by the workload"],
)
"""
SWEEP = """
name: identity
workload: ./problem.py:WORKLOAD
implementations: [{use: "./mine.py:build", label: mine, files: [table.dat]}]
axes: {rows: [8]}
measure: {max_time_s: 0.02, min_time_s: 0, warmup_s: 0, remeasure: 0, min_repetitions: 3, ceilings: false}
"""
MINE = """
import importlib
from helper import FACTOR
importlib.import_module("la" + "te")


def build(config):
    return lambda x: FACTOR * x
"""


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """The process is left as it was found."""
    with users_files_forgotten():
        yield


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A sweep over one small file, which imports one neighbour plainly and one by a name that no
    reading shows.
    """
    folder = tmp_path / "project"
    folder.mkdir()
    for name, text in {
        "problem.py": PROBLEM,
        "sweep.yaml": SWEEP,
        "mine.py": MINE,
        "helper.py": "FACTOR = 3\n",
        "late.py": "X = 1\n",
        "table.dat": "1",
    }.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def run(project: Path, tmp_path: Path) -> Callable[..., Results]:
    """Runs the sweep in this process, or goes on with it."""

    def made(
        output: str = "out",
        rerun: str | None = None,
        resume: bool = False,
        tracker: str = "",
        uri: str | None = None,
    ) -> Results:
        return api.run(
            Sweep.load(project / "sweep.yaml", [f"tracking.uri={tracker}"] if tracker else []),
            output=tmp_path / output,
            tracking_uri=uri,
            resume=resume,
            rerun=rerun,
            executor=lambda _: InlineExecutor(),
            tracker=MemoryTracker,
        )

    return made


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("helper.py", "FACTOR = 3.0\n", "helper.py changed"),
        ("table.dat", "2", "table.dat changed"),
        ("late.py", "X = 2\n", "late.py changed"),
        ("sweep.yaml", f"{SWEEP}verify: {{tolerance: 0.1}}\n", "verify.tolerance: None, 0.1"),
        (
            "sweep.yaml",
            SWEEP.replace("max_time_s: 0.02", "max_time_s: 0.03"),
            "measure.max_time_s: 0.02, 0.03",
        ),
    ],
)
def test_resume_names_what_changed_and_runs_it_again_when_asked(
    project: Path, run: Callable[..., Results], name: str, text: str, said: str
) -> None:
    """Also a module that only running the code showed."""
    assert run().all_ok
    assert run(resume=True).all_ok
    (project / name).write_text(text)
    with pytest.raises(RequestError, match="no longer hold") as caught:
        run(resume=True)
    assert said in str(caught.value)
    assert len(run(rerun="stale").records) == 2
    assert len(run(resume=True).records) == 2


def test_the_driver_keeps_no_environment_with_each_record(project: Path, tmp_path: Path) -> None:
    """It is kept once, in environment.json: a record of many thousands takes a third less memory."""
    seen: list[Finished] = []

    class Listening(SilentProgress):
        def event(self, event: Event) -> None:
            seen.extend([event] if isinstance(event, Finished) else [])

    results = api.run(
        Sweep.load(project / "sweep.yaml"),
        output=tmp_path / "out",
        progress=Listening(),
        executor=lambda _: InlineExecutor(),
        tracker=MemoryTracker,
    )
    assert [event.record.environment for event in seen] == [{}]
    assert [record.environment for record in results.records] == [{}]
    assert len(results.environments) == 1


def test_compare_names_the_files_that_differ(project: Path, run: Callable[..., Results]) -> None:
    """Of two sweeps, one after a change."""
    base = run("base")
    assert compare(base, run("same")).same_code
    (project / "helper.py").write_text("FACTOR = 3.0\n")
    found = compare(base, run("candidate"))
    assert not found.same_code
    assert found.code_differences == ("helper.py changed",)


@pytest.mark.parametrize(
    ("uri", "secret"),
    [
        ("postgresql://bob:hunter2@db/runs", "hunter2"),
        ("postgresql://bob:hun@ter2@db/runs", "hun@ter2"),
        ("postgresql://db/runs?password=hunter2", "hunter2"),
    ],
)
@pytest.mark.parametrize("stated", ["file", "-S", "option"])
def test_no_file_of_a_sweep_holds_the_password_of_its_tracking_address(
    project: Path,
    tmp_path: Path,
    run: Callable[..., Results],
    uri: str,
    secret: str,
    stated: str,
) -> None:
    """In the sweep file, by -S or --tracking-uri: the folder is handed to others, and to the
    tracking server itself.
    """
    if stated == "file":
        (project / "sweep.yaml").write_text(f"{SWEEP}tracking: {{uri: '{uri}'}}\n")
    results = run(tracker=uri if stated == "-S" else "", uri=uri if stated == "option" else None)
    assert results.meta.spec.tracking.uri == uri
    write_reports(results)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {"report.html", "sweep.yaml", "sweep.resolved.json"} <= {path.name for path in files}
    assert [path.name for path in files if secret in path.read_text(errors="replace")] == []


def test_who_looks_at_results_runs_nothing_that_they_name(
    project: Path, tmp_path: Path, run: Callable[..., Results]
) -> None:
    """Columns and heading are kept with them; a stranger's folder may name any file."""
    run()
    (project / "problem.py").write_text("open('was_run', 'w')\nraise SystemExit\n")
    results = api.load(tmp_path / "out")
    write_reports(results)
    assert compare(results, results).rows
    assert dict(Frame.of(results.meta).axes) == {"rows": "How Many"}
    text = (tmp_path / "out" / "summary.txt").read_text()
    assert "How Many" in text
    assert "Said by the workload" in text
    folder = tmp_path / "mlruns" / "sweeps"
    (taken,) = import_sweeps([tmp_path / "out"], folder).new
    with Index(folder) as index:
        found = history(index)
    assert [row.series.params["rows"] for row in found.rows] == [8]
    assert "Too few sweeps to tell" in history_page(found)
    write_reports(sweep_directory.load(taken))
    assert not Path("was_run").exists()


def test_results_of_earlier_versions_are_shown_by_their_axes(
    project: Path, tmp_path: Path, run: Callable[..., Results]
) -> None:
    """They do not say how, and whoever shows them runs nothing for it."""
    run()
    meta = tmp_path / "out" / "sweep.resolved.json"
    held = json.loads(meta.read_text())
    del held["shown"]
    meta.write_text(json.dumps(held))
    shutil.rmtree(project)
    table = api.load(tmp_path / "out").table()
    assert "Rows" in table
    assert "How Many" not in table
