"""The commands as they are typed: what they print, where, and with which exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import api
from orchestrator.cli import options
from orchestrator.doctor import busy
from orchestrator.driver import preflight
from orchestrator.errors import RequestError, UnfitMachineError
from orchestrator.executors.inline import InlineExecutor
from orchestrator.outcome import Outcome, Phase
from orchestrator.plan.sweep import Sweep
from orchestrator.progress.live import SilentProgress
from orchestrator.record import ErrorInfo, TrialRecord, record_of
from orchestrator.trackers import sync
from orchestrator.trackers.in_memory import MemoryTracker
from orchestrator.trial import Attempt
from tests.support.sweeps import TOYS

Cli = Callable[..., Any]
TEXT = """\
name: toy
workload: ./matmul.py:WORKLOAD
implementations: [./matmul.py:right, "./matmul.py:raises"]
axes: {n: [16, 32]}
"""
HERE = {"device": "cpu"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sweep file and a copy of the implementations that it names, which a test may
    change.
    """
    (tmp_path / "matmul.py").write_text((TOYS / "matmul.py").read_text())
    (tmp_path / "toy.yaml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finished(attempt: Attempt, _on_phase: object) -> TrialRecord:
    """A record as a worker's, made up: `raises` failed, the others took a millisecond."""
    if attempt.trial.implementation.endswith("raises"):
        error = ErrorInfo.of("RuntimeError", "the tiles do not fit (matmul.py:46 in matmul)")
        return record_of(attempt, Outcome.FAILED, Phase.FIRST_CALL, "", HERE, error=error)
    return ok(attempt)


def ok(attempt: Attempt, _on_phase: object = None) -> TrialRecord:
    """A record that is ok."""
    metrics = {
        "latency_ms": 1.0,
        "latency_ci_low_ms": 0.99,
        "latency_ci_high_ms": 1.01,
        "peak_memory_mib": 1.0,
    }
    values = (0.99, 1.0, 1.01)
    environment = {"match": HERE, "know": {}}
    return record_of(
        attempt,
        Outcome.OK,
        Phase.DONE,
        "",
        HERE,
        metrics=metrics,
        values_ms=values,
        environment=environment,
    )


def swept(run: Callable[..., TrialRecord] = finished, **asked: Any) -> api.Results:
    """The sweep of the folder, run to its end without a worker."""
    return api.run(
        Sweep.load("toy.yaml"),
        executor=lambda _: InlineExecutor(run, {"match": HERE, "know": {}}),
        tracker=MemoryTracker,
        **asked,
    )


class Notes(SilentProgress):
    """Keeps what a person would be told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        """Keep it."""
        self.said.append(text)


@pytest.mark.usefixtures("folder")
def test_report_prints_the_answer_and_its_reasons(cli: Cli) -> None:
    """The table, the verdict, one reason for two rows, and the command that shows it again."""
    found = swept()
    said = cli("report", "last")
    assert said.code == 0
    assert "Failed: matmul:raises in 2 of 2." in said.out
    assert "matmul:raises n=16 and 1 more row: RuntimeError: the tiles do not fit" in said.out
    assert f"orchestrator try {found.rows[2].trial_id}" in said.out
    assert "orchestrator resume" in said.out
    assert "python -m orchestrator" not in said.out


@pytest.mark.usefixtures("folder")
def test_full_grid_and_txt_are_the_table_of_summary_txt(cli: Cli) -> None:
    """To the byte, for whoever reads it by program."""
    found = swept()
    summary = (found.directory / "summary.txt").read_text()  # type: ignore[operator]
    assert cli("report", "last", "--full-grid").out == summary
    assert cli("report", "last", "--format", "txt").out == summary


@pytest.mark.usefixtures("folder")
def test_errors_are_printed_whole(cli: Cli) -> None:
    """Every row that is not ok."""
    swept()
    said = cli("report", "toy", "--errors")
    assert said.out.startswith("✗ failed: matmul:raises: RuntimeError: the tiles do not fit")
    assert [line.split()[0] for line in said.out.splitlines()[1:3]] == ["n=16", "n=32"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["report", "last", "--columns", "tme"], "did you mean 'time'"),
        (["run", "toy.yaml", "--sort", "speed"], "did you mean 'speedup'"),
        (["run", "toy.yml"], "did you mean 'toy.yaml'"),
        (["report", "last", "--colums", "time"], "did you mean '--columns'"),
        (["sweeps", "a", "b"], "no option or argument 'b'"),
        (["run", "toy.yaml", "--device", "gpu"], "did you mean 'cuda'"),
        (["run", "toy.yaml", "--only", "n = 16"], "compare with =="),
        (
            ["run", "toy.yaml", "--only", "implementation == 'matmul:rihgt'"],
            "did you mean 'matmul:right'",
        ),
        (["run", "toy.yaml", "--rerun", "faild"], "did you mean 'failed'"),
        (["report", "last"], "no sweeps under ./mlruns/sweeps"),
        (["compare", "--duel", "a"], "compare takes BASE and CANDIDATE"),
        (["demo", "quik"], "did you mean 'quick'"),
        (["repro", "0123456789"], "no trial 0123456789 in any sweep: none was run under"),
        (["run", "matmul.py"], "matmul.py is Python, and a sweep file is YAML"),
        (["sweeps/full.yaml"], "`orchestrator demo full` runs the sweep of that name"),
        (["plan", "quick"], "`orchestrator demo quick` runs the sweep of that name"),
        (["compare", "--duel", "a", "b", "sweeps/full.yml"], "`orchestrator demo full`"),
        (["try", "sweeps/full.yaml"], "`orchestrator demo full`"),
        (["adopt", "nosuch"], "nosuch: there is no such file or folder"),
    ],
)
def test_a_slip_is_refused_at_once_with_what_was_meant(
    cli: Cli, typed: list[str], said: str
) -> None:
    """Exit code 2, before Ray starts."""
    answer = cli(*typed)
    assert answer.code == 2
    assert said in answer.err


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (["report", "last", "--plots", "toy.yaml/x"], 2, "--plots toy.yaml/x cannot be written ("),
        (["history", "--page", "toy.yaml/p.html"], 2, "--page toy.yaml/p.html cannot be written ("),
        (["report", "last~5"], 2, "last~5: 1 sweep under mlruns/sweeps, no more"),
        (["sweeps", "tyo"], 0, "no sweeps named 'tyo' under ./mlruns/sweeps (did you mean 'toy'?)"),
    ],
)
def test_a_slip_after_a_sweep_is_told_what_to_do(
    cli: Cli, typed: list[str], code: int, said: str
) -> None:
    """The option and the value, never an errno alone."""
    swept(ok)
    answer = cli(*typed)
    assert answer.code == code
    assert said in answer.out + answer.err


@pytest.mark.usefixtures("folder")
def test_a_sweep_that_was_run_is_no_sweep_file(cli: Cli) -> None:
    """`run last` is told of `resume last`."""
    found = swept()
    said = cli("run", "last")
    assert (said.code, said.out) == (2, "")
    assert f"a sweep that was run ({found.meta.sweep_id}): `orchestrator resume last`" in said.err


@pytest.mark.usefixtures("folder")
def test_try_without_the_gpu_that_it_is_to_use_is_refused(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `run` refuses it, and not by torch's traceback."""
    monkeypatch.setattr(preflight.nvml, "count", lambda: 0)
    said = cli("try", "./matmul.py:right", "n=16", "--device", "cuda")
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("error: --device cuda: no GPU is here")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["run", "toy.yaml", "--tracking-uri", "foo"], "'foo' is no tracking server and no store"),
        (["sync", "last", "--tracking-uri", "./mlruns"], "give http://HOST:PORT, or a file NAME"),
        (["doctor", "--tracking-uri", "10.0.0.1"], "'10.0.0.1' is no tracking server"),
        (["ui", "http://127.0.0.1:5000"], "is a server, which has a UI of its own"),
        (["ui", "nosuch.db"], "nosuch.db: a sweep makes it"),
        (["ui", "sqlite:////nosuch/runs.db"], "there is no store /nosuch/runs.db"),
    ],
)
def test_what_is_no_store_is_refused_before_a_sweep_runs(
    cli: Cli, typed: list[str], said: str
) -> None:
    """Not by MLflow's advice on its file store, nor in the middle of a sweep."""
    answer = cli(*typed)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_a_store_may_be_named_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `doctor` prints it; other addresses stay as they are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs.db").touch()
    assert options.store_uri("runs.db") == f"sqlite:///{tmp_path}/runs.db"
    assert options.tracking_uri("new.db") == f"sqlite:///{tmp_path}/new.db"
    for uri in ("http://10.0.0.1:5000", "postgresql://host/runs", "databricks"):
        assert options.tracking_uri(uri) == uri


def test_a_missing_argument_of_try_is_the_one_that_it_needs(cli: Cli) -> None:
    """Params are optional, and not asked for."""
    said = cli("try")
    assert said.err.rstrip().endswith("are required: IMPLEMENTATION|SWEEP|TRIAL_ID")


@pytest.mark.usefixtures("folder")
def test_compare_of_one_sweep_is_with_the_one_before_of_its_name(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before against this one; the first of its name has none."""
    ids = iter(["20261101_000000_aaaa", "20261102_000000_bbbb"])
    monkeypatch.setattr(api.sweep_directory, "new_sweep_id", lambda _now: next(ids))
    swept(ok)
    assert "is the first sweep named 'toy'" in cli("compare", "last").err
    swept(ok)
    said = cli("compare", "last", "--same-code")
    assert "20261102_000000_bbbb compared with 20261101_000000_aaaa" in said.out
    assert said.code == 0
    # single processes settle nothing
    assert cli("compare", "last", "--same-code", "--fail-unclear").code == 1


@pytest.mark.usefixtures("folder")
def test_sweeps_as_json(cli: Cli) -> None:
    """What a script reads."""
    swept()
    (found,) = json.loads(cli("sweeps", "--json").out)
    assert (found["name"], found["ok"], found["not_ok"]) == ("toy", 2, 2)


@pytest.mark.usefixtures("folder")
def test_try_and_repro_from_the_command_line(cli: Cli) -> None:
    """A wrong one is exit code 1, its reason on stdout; what it is, on stderr."""
    found = swept()
    said = cli("try", found.rows[2].trial_id[:8], "--check")
    assert said.code == 1
    assert "✗ failed: RuntimeError: the tiles do not fit" in said.out
    assert "without isolation" in said.err
    assert cli("repro", found.rows[0].trial_id[:8]).out.startswith("wrote repro_")


@pytest.mark.usefixtures("folder")
def test_what_is_complete_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Ray for a sweep of which nothing is left; the results are there, and it is said."""
    found = swept()
    monkeypatch.setattr(api, "ray_executor", lambda *_: pytest.fail("Ray was started"))
    notes = Notes()
    again = api.resume("last", progress=notes)
    assert [row.trial_id for row in again.rows] == [row.trial_id for row in found.rows]
    assert notes.said == [f"{found.meta.sweep_id} is complete: nothing is left to run"]


@pytest.mark.usefixtures("folder")
def test_a_sweep_keeps_the_server_that_it_was_tracked_to(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given by --tracking-uri: `sync` and `resume` go there without being told again, `sync` also
    elsewhere, and a complete sweep stays complete whichever is named.
    """
    asked: list[str | None] = []
    monkeypatch.setattr(sync, "sync", lambda _, uri: asked.append(uri) or sync.SyncReport())
    monkeypatch.setattr(api, "ray_executor", lambda *_: pytest.fail("Ray was started"))
    swept(tracking_uri="http://one:5000")
    assert cli("sync", "last").code == 0
    assert cli("sync", "last", "--tracking-uri", "http://two:5000").code == 0
    assert asked == ["http://one:5000", "http://two:5000"]
    assert api.resume("last").meta.spec.tracking.uri == "http://one:5000"
    api.resume("last", tracking_uri="http://two:5000")


def test_a_changed_file_is_named_before_anything_starts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By shape, with the command that goes on."""
    swept()
    monkeypatch.setattr(api, "ray_executor", lambda *_: pytest.fail("Ray was started"))
    with (folder / "matmul.py").open("a") as file:
        file.write("\n\nmended = True\n")
    with pytest.raises(
        RequestError, match=r"matmul:right n=16: source changed[\s\S]*orchestrator resume .* stale"
    ):
        api.resume("last")


def test_the_printed_repair_repairs(folder: Path) -> None:
    """A row failed, its file was mended: `--rerun failed` runs it and what the change made stale,
    in one command.
    """
    swept()
    text = (folder / "matmul.py").read_text()
    (folder / "matmul.py").write_text(
        text.replace('raise RuntimeError("the tiles do not fit")', "return a @ b")
    )
    (folder / "toy.yaml").write_text(TEXT.replace("./matmul.py:right, ", ""))
    notes = Notes()
    mended = swept(ok, resume=True, rerun="failed", progress=notes)
    assert [row.outcome for row in mended.rows] == [Outcome.OK, Outcome.OK]
    assert [row.attempts for row in mended.rows] == [2, 2]


def test_cuda_without_a_gpu_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what shows why."""
    monkeypatch.setattr(preflight.nvml, "count", lambda: 0)
    with pytest.raises(UnfitMachineError, match=r"no GPU is here[\s\S]*orchestrator doctor"):
        preflight.refuse_missing_gpu("cuda")
    preflight.refuse_missing_gpu("cpu")


def test_a_directory_that_cannot_be_made_is_refused_at_once(tmp_path: Path) -> None:
    """Below a file, or without the right."""
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="is a file; name another --output"):
        preflight.refuse_unwritable(tmp_path / "file" / "out")
    preflight.refuse_unwritable(tmp_path / "new" / "out")


@pytest.mark.usefixtures("folder")
def test_a_busy_machine_is_named_before_it_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Ray starts, whose processes would be the busiest."""
    monkeypatch.setattr(
        busy, "notices", lambda _device: ["this machine is busy: python (pid 1) 99 %"]
    )
    notes = Notes()

    def start(*_: object) -> InlineExecutor:
        assert notes.said == ["this machine is busy: python (pid 1) 99 %"]
        return InlineExecutor(ok, {"match": HERE, "know": {}})

    monkeypatch.setattr(api, "ray_executor", start)
    api.run(Sweep.load("toy.yaml"), tracker=MemoryTracker, progress=notes)
