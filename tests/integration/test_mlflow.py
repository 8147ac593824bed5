"""Runs in a real MLflow: an sqlite store, a server, and a server that goes away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from orchestrator.outcome import Outcome
from orchestrator.record import TrialRecord
from orchestrator.results.results import Results
from orchestrator.results.rows import rows
from orchestrator.trackers.address import view_url
from orchestrator.trackers.background import BackgroundTracker
from orchestrator.trackers.base import RejectedError, TrackingError
from orchestrator.trackers.saved_view import LONGEST
from orchestrator.trackers.sync import SyncReport, sync, url
from orchestrator.trackers.ui import command
from tests.support import made

pytestmark = pytest.mark.slow

FILES = {
    "sweep.yaml": "name: full\n",
    "summary.txt": "the table\n",
    "results.csv": "a,b\n",
    "report.html": "<p>page",
}
START_S = 180


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An sqlite store of this module's own, made by the first tracker that opens it."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlruns' / 'mlflow.db'}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tracking server that proxies artifacts, on a loopback port of its own."""
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    store = f"sqlite:///{folder / 'mlflow.db'}"
    line = command(store, port=port)
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    log = (folder / "server.log").open("wb")
    process = subprocess.Popen(
        line, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(address), START_S)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
        return bool(answer.status == 200)
    return False


def wait_for(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


class Door:
    """A TCP relay to a server: can be shut (refuses), made slow, or made to swallow one answer."""

    def __init__(self, address: str) -> None:
        self._target = ("127.0.0.1", int(address.rsplit(":", 1)[1]))
        self._port = free_port()
        self._listener: socket.socket | None = None
        self.delay_s = 0.0
        self.swallow = 0
        self.address = f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        """Let clients in."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        """Refuse them, and drop those inside."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._target) as upstream:
            threading.Thread(target=self._pump, args=(upstream, client, True), daemon=True).start()
            self._pump(client, upstream, False)

    def _pump(self, source: socket.socket, sink: socket.socket, answering: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self._listener is None:
                    break
                if answering and self.swallow > 0:
                    self.swallow -= 1
                    break
                if answering:
                    time.sleep(self.delay_s)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def door(server: str) -> Iterator[Door]:
    door = Door(server)
    yield door
    door.shut()


@dataclass
class Made:
    """A sweep of a name of its own, with files to hand over."""

    name: str
    folder: Path
    axes: Mapping[str, list[Any]] = field(default_factory=lambda: made.AXES)

    def trials(self, **constants: Any) -> list[made.Trial]:
        """Two implementations at every point."""
        return made.trials(["standard", "improved"], self.axes, dtype="float32", **constants)

    def results(
        self, records: list[TrialRecord], planned: list[made.Trial] | None = None, **spec: Any
    ) -> Results:
        """As a runner has them: each record with the environment it was made in."""
        for name, text in FILES.items():
            (self.folder / name).write_text(text)
        found = made.results(
            planned or self.trials(),
            records,
            axes=self.axes,
            directory=self.folder,
            **{"name": self.name, **spec},
        )
        meta = found.meta.model_copy(
            update={"sweep_id": f"20261122_093000_{self.name}", "name": self.name}
        )
        told = [
            record.model_copy(update={"environment": made.ENVIRONMENT}) for record in found.records
        ]
        return Results(meta, tuple(told), found.environments, found.directory)

    def whole(self) -> Results:
        """Eight trials; one out of memory, one of two rounds and noisy."""
        planned = self.trials()
        records = [made.ok(trial) for trial in planned]
        records[5] = made.bad(
            planned[5], Outcome.OOM, "OutOfMemoryError", "tried to allocate 4.4 GiB"
        )
        again = made.ok(
            planned[2],
            round=2,
            scale=1.02,
            flags=("noisy",),
            finished_at="2026-11-22T09:50:00+00:00",
        )
        return self.results([*records, again])


@pytest.fixture
def sweep(tmp_path: Path, request: pytest.FixtureRequest) -> Made:
    return Made(request.node.name.removeprefix("test_")[:40], tmp_path)


def client(uri: str) -> Any:
    from orchestrator.trackers.mlflow_store import MlflowClient

    return MlflowClient(tracking_uri=uri)


def runs(uri: str, results: Results) -> tuple[Any, list[Any]]:
    """The sweep's run and its trials' runs, those alone that are not deleted."""
    api = client(uri)
    experiment = api.get_experiment_by_name(results.meta.name)
    found = api.search_runs([experiment.experiment_id], max_results=1000, order_by=["tags.row ASC"])
    parents = [run for run in found if run.data.tags["kind"] == "sweep"]
    assert len(parents) == 1
    return parents[0], [run for run in found if run.data.tags["kind"] == "trial"]


def live(uri: str, results: Results) -> None:
    """What a runner does, without the thread."""
    from orchestrator.trackers.mlflow import MlflowTracker

    tracker = MlflowTracker(uri)
    tracker.start(results.meta)
    for row in rows(results.meta, results.records):
        tracker.log(row)
    tracker.finish("FINISHED", results)
    tracker.close()


def contents(uri: str, results: Results) -> list[Any]:
    """All that the runs of a sweep hold, but what a server makes up itself: ids."""
    parent, children = runs(uri, results)
    found = []
    for run in [parent, *children]:
        tags = {
            name: value for name, value in run.data.tags.items() if name != "mlflow.parentRunId"
        }
        info = run.info
        found.append(
            (
                info.run_name,
                info.status,
                info.start_time,
                info.end_time,
                run.data.params,
                run.data.metrics,
                tags,
            )
        )
    assert all(child.data.tags["mlflow.parentRunId"] == parent.info.run_id for child in children)
    return found


def test_a_sweep_is_one_parent_run_and_a_child_run_per_trial(store: str, sweep: Made) -> None:
    """On sqlite, with what the UI's table, search and compare views need."""
    results = sweep.whole()
    live(store, results)
    parent, children = runs(store, results)
    best = children[4]
    assert (len(children), parent.info.status) == (8, "FINISHED")
    assert best.info.run_name == "improved b1 sl1024 h8"
    assert (best.data.params["seq_len"], best.data.metrics["latency_ms"]) == ("1024", 0.4)
    assert (best.data.tags["outcome"], best.data.tags["torch"]) == ("ok", "2.11.0")
    assert [child.info.status for child in children].count("FAILED") == 1
    assert children[2].data.tags["flags"] == "noisy"
    assert (parent.data.metrics["trials_ok"], parent.data.metrics["attempts"]) == (7, 9)
    assert "|improved|1|1024|8|0.4|" in parent.data.tags["mlflow.note.content"]


def test_each_implementation_has_a_run_whose_metrics_are_its_curves(
    store: str, sweep: Made
) -> None:
    """A point is never taken back: where a row was measured again, the run is made anew."""
    results = sweep.whole()
    live(store, results)
    api = client(store)
    experiment = api.get_experiment_by_name(results.meta.name).experiment_id

    def drawn() -> tuple[Any, list[tuple[float, float]]]:
        query = "tags.kind = 'implementation'"
        found = api.search_runs([experiment], query, order_by=["tags.row ASC"])
        assert [run.info.run_name for run in found] == ["standard", "improved"]
        run_id = found[1].info.run_id
        at = {point.step: point.value for point in api.get_metric_history(run_id, "seq_len")}
        times = api.get_metric_history(run_id, "latency_ms batch:1")
        return found[1], sorted((at[point.step], point.value) for point in times)

    run, points = drawn()
    assert points[0] == (1024, 0.4)
    assert run.info.status == "FAILED"
    assert run.data.tags["outcome"] == "3 of 4 ok"
    trial = next(trial for trial in results.meta.planned if trial.implementation == "improved")
    slower = made.ok(trial, scale=2.0, attempt=9, finished_at="2026-11-22T11:00:00+00:00")
    again = replace(results, records=(*results.records, slower))
    assert sync(again, store).updated > 0
    assert [place for place, _ in drawn()[1]] == [place for place, _ in points]
    assert sync(again, store) == SyncReport(unchanged=11)


def test_a_reused_row_is_a_link_to_the_run_that_has_its_figures(store: str, sweep: Made) -> None:
    """In the experiment of its name, and every call may be repeated."""
    first = sweep.whole()
    live(store, first)
    _, measured = runs(store, first)
    origin = {run.data.tags["trial_id"]: run.info.run_id for run in measured}
    records = [
        record.model_copy(update={"reused_from": first.meta.sweep_id})
        for record in first.records
        if record.outcome is Outcome.OK
    ]
    known = {record.trial_id for record in records}
    planned = tuple(trial for trial in first.meta.planned if trial.trial_id in known)
    later = first.meta.model_copy(update={"sweep_id": "20261123_093000_abcd", "planned": planned})
    second = Results(later, tuple(records), first.environments, first.directory)
    live(store, second)
    live(store, second)
    experiment = client(store).get_experiment_by_name(first.meta.name)
    links = client(store).search_runs([experiment.experiment_id], "tags.kind = 'link'")
    assert len(links) == 7
    assert all(link.data.metrics == {} for link in links)
    for link in links:
        run_id = origin[link.data.tags["trial_id"]]
        assert f"/runs/{run_id})" in link.data.tags["mlflow.note.content"]


def test_the_files_of_a_sweep_are_artifacts_of_its_run(
    store: str, server: str, sweep: Made
) -> None:
    """Beside the sqlite file, and through a server that proxies them."""
    results = sweep.whole()
    for uri in (store, server):
        live(uri, results)
        parent, _ = runs(uri, results)
        assert {file.path for file in client(uri).list_artifacts(parent.info.run_id)} == set(FILES)
    assert parent.info.artifact_uri.startswith("mlflow-artifacts:")


def test_finished_trials_show_up_while_the_sweep_runs(server: str, sweep: Made) -> None:
    """Before `finish`, the parent runs and the trial's run is whole."""
    from orchestrator.trackers.mlflow import MlflowTracker

    results = sweep.whole()
    tracker = MlflowTracker(server)
    tracker.start(results.meta)
    tracker.log(rows(results.meta, results.records)[0])
    parent, children = runs(server, results)
    assert (parent.info.status, [child.info.status for child in children]) == (
        "RUNNING",
        ["FINISHED"],
    )
    assert children[0].data.metrics["latency_ms"] == 1.0
    tracker.finish("KILLED", results)
    assert runs(server, results)[0].info.status == "KILLED"


def test_sync_leaves_any_server_as_a_live_run_would_have(
    store: str, server: str, sweep: Made, capfd: pytest.CaptureFixture[str]
) -> None:
    """Live on sqlite, synced to a server: the same runs, to the last tag, in silence; a second sync
    does nothing.
    """
    results = sweep.whole()
    live(store, results)
    assert sync(results, server) == SyncReport(created=11)
    assert contents(server, results) == contents(store, results)
    assert sync(results, server) == SyncReport(unchanged=11)
    assert sync(results, store) == SyncReport(unchanged=11)
    assert capfd.readouterr().out == ""


def test_a_killed_driver_leaves_no_zombie_and_no_duplicate(store: str, sweep: Made) -> None:
    """Killed in the middle of writing a trial; what follows is a resumed driver, then sync."""
    from orchestrator.trackers.mlflow import MlflowTracker

    results = sweep.whole()
    found = rows(results.meta, results.records)
    killed = MlflowTracker(store)
    killed.start(results.meta)
    killed.log(found[0])
    half = {"sweep_id": results.meta.sweep_id, "trial_id": found[1].trial_id, "kind": "trial"}
    client(store).create_run(killed.experiment_id, tags=half, run_name="half")

    resumed = MlflowTracker(store)
    resumed.start(results.meta)
    parent, children = runs(store, results)
    assert (parent.info.status, {child.info.status for child in children}) == (
        "RUNNING",
        {"FINISHED", "KILLED"},
    )

    # updated: the sweep's run, half of a trial's, and speed-up of the one logged live
    report = sync(results, store)
    assert report == SyncReport(created=8, updated=3)
    assert sync(results, store) == SyncReport(unchanged=11)
    parent, children = runs(store, results)
    assert (parent.info.status, len(children)) == ("FINISHED", 8)
    assert {child.info.status for child in children} == {"FINISHED", "FAILED"}
    assert {child.data.params["implementation"] for child in children} == {"standard", "improved"}


def test_sync_of_a_sweep_that_was_stopped_says_killed(store: str, sweep: Made) -> None:
    """Its driver could not say so; the trials that did not run have no run."""
    planned = sweep.trials()
    results = sweep.results([made.ok(planned[0])])
    sync(results, store)
    parent, children = runs(store, results)
    assert (parent.info.status, len(children), parent.data.metrics["trials_not_run"]) == (
        "KILLED",
        1,
        7,
    )


def test_duplicates_that_others_left_are_removed(store: str, sweep: Made) -> None:
    """Two drivers once wrote one sweep."""
    results = sweep.whole()
    live(store, results)
    api, (_, children) = client(store), runs(store, results)
    twin = children[3].data.tags
    api.create_run(
        children[3].info.experiment_id, tags=twin, start_time=children[3].info.start_time + 5
    )
    assert sync(results, store) == SyncReport(unchanged=11)
    assert len(runs(store, results)[1]) == 8


def test_a_retry_updates_the_run_and_a_worse_rerun_replaces_it(store: str, sweep: Made) -> None:
    """A metric cannot be taken back: a trial whose numbers no longer hold gets a run without any."""
    trial = sweep.trials()[0]
    crashed = made.bad(trial, Outcome.CRASHED, finished_at="2026-11-22T09:30:05+00:00")
    well = made.ok(trial, attempt=2, finished_at="2026-11-22T09:31:00+00:00")
    wrong = made.bad(trial, Outcome.MISMATCH, attempt=3, finished_at="2026-11-22T09:32:00+00:00")
    seen = []
    for records in ([crashed], [crashed, well], [crashed, well, wrong]):
        results = sweep.results(records, [trial])
        sync(results, store)
        (run,) = runs(store, results)[1]
        seen.append(
            (run.info.run_id, run.info.status, run.data.tags["attempts"], bool(run.data.metrics))
        )
    assert [entry[1:] for entry in seen] == [
        ("FAILED", "1", False),
        ("FINISHED", "2", True),
        ("FAILED", "3", False),
    ]
    assert seen[0][0] == seen[1][0]


def test_a_run_that_someone_deleted_comes_back(store: str, sweep: Made) -> None:
    """In the middle of a sweep, by hand."""
    from orchestrator.trackers.mlflow import MlflowTracker

    trial = sweep.trials()[0]
    first = made.ok(trial)
    second = made.ok(trial, round=2, scale=1.1, finished_at="2026-11-22T09:50:00+00:00")
    one, two = (sweep.results(records, [trial]) for records in ([first], [first, second]))
    tracker = MlflowTracker(store)
    tracker.start(one.meta)
    tracker.log(rows(one.meta, one.records)[0])
    client(store).delete_run(runs(store, one)[1][0].info.run_id)
    tracker.log(rows(two.meta, two.records)[0])
    (run,) = runs(store, two)[1]
    assert (run.info.status, run.data.tags["rounds"]) == ("FINISHED", "2")


def test_an_experiment_that_someone_deleted_comes_back(store: str, sweep: Made) -> None:
    """MLflow keeps deleted names reserved."""
    results = sweep.whole()
    live(store, results)
    client(store).delete_experiment(
        client(store).get_experiment_by_name(results.meta.name).experiment_id
    )
    sync(results, store)
    assert len(runs(store, results)[1]) == 8


def test_a_trial_that_the_server_refuses_does_not_hold_up_the_rest(
    store: str, sweep: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store refuses more than ours does: the others are written, the sweep's run ends, and it is
    said.
    """
    from orchestrator.trackers import content
    from orchestrator.trackers.mlflow import MlflowTracker

    results = sweep.whole()
    refused = results.meta.planned[1].trial_id
    child = content.child

    def odd(frame: Any, row: Any, *more: Any) -> Any:
        run = child(frame, row, *more)
        return replace(run, params={"no/../name": "1"}) if row.trial_id == refused else run

    monkeypatch.setattr(content, "child", odd)
    tracker = MlflowTracker(store)
    tracker.start(results.meta)
    with pytest.raises(RejectedError, match="name"):
        tracker.log(rows(results.meta, results.records)[1])
    with pytest.raises(RejectedError, match="name"):
        tracker.finish("FINISHED", results)
    parent, children = runs(store, results)
    assert (parent.info.status, len(children)) == ("FINISHED", 7)


def test_params_and_metrics_that_servers_refuse_are_sent_as_they_may_be(
    server: str, sweep: Made
) -> None:
    """NaN is left out, long params are cut, odd names are changed, more than 100 params are sent in
    parts.
    """
    many = {f"p{number}": number for number in range(150)}
    trial = sweep.trials(**many, huge="x" * 7000, none=None, **{"odd (name) %": 1})[0]
    record = made.ok(trial)
    odd = {**(record.metrics or {}), "share (%)": 1.0, "nothing": None}
    results = sweep.results(
        [record.model_copy(update={"metrics": {**odd, "nan": float("nan")}})], [trial]
    )
    sync(results, server)
    (run,) = runs(server, results)[1]
    assert run.data.metrics["share ___"] == 1.0
    assert not {"nan", "nothing"} & run.data.metrics.keys()
    assert len(run.data.params["huge"]) == 6000
    assert run.data.params["none"] == ""
    assert (run.data.params["p149"], run.data.params["odd _name_ _"]) == ("149", "1")


def test_a_server_that_is_down_slows_nothing_and_gets_all_when_it_is_back(
    door: Door, server: str, sweep: Made
) -> None:
    """Down when the sweep starts, back before it ends; it is said once."""
    from orchestrator.trackers.mlflow import MlflowTracker

    results, notes = sweep.whole(), []
    mirror = BackgroundTracker(
        lambda: MlflowTracker(door.address), notes.append, first_wait_s=0.2, longest_wait_s=0.5
    )
    begun = time.monotonic()
    mirror.start(results.meta)
    for row in rows(results.meta, results.records):
        mirror.log(row)
    mirror.finish("FINISHED", results)
    assert time.monotonic() - begun < 1
    wait_for(lambda: bool(notes), 30)
    door.open()
    assert mirror.flush(60)
    mirror.close()
    assert len(runs(server, results)[1]) == 8
    assert len(notes) == 1
    assert "Connection refused" in notes[0]


def test_answers_that_are_lost_make_no_duplicates(door: Door, server: str, sweep: Made) -> None:
    """The server made the run and the answer did not arrive: the mirror asks before it makes
    another.
    """
    from orchestrator.trackers.mlflow import MlflowTracker

    results, notes = sweep.whole(), []
    door.open()
    mirror = BackgroundTracker(
        lambda: MlflowTracker(door.address), notes.append, first_wait_s=0.1, longest_wait_s=0.2
    )
    mirror.start(results.meta)
    assert mirror.ready(60)
    for row in rows(results.meta, results.records):
        door.swallow = 2  # as often as mlflow itself tries
        mirror.log(row)
        wait_for(lambda: door.swallow == 0, 30)
    door.swallow = 2
    mirror.finish("FINISHED", results)
    assert mirror.flush(60)
    mirror.close()
    assert len(notes) == 1
    assert sync(results, server) == SyncReport(unchanged=11)


def test_a_slow_server_does_not_hold_up_the_end_and_sync_completes_it(
    door: Door, server: str, sweep: Made
) -> None:
    """Five seconds an answer: the end is bounded, and what is missing is added later."""
    from orchestrator.trackers.mlflow import MlflowTracker

    results, notes = sweep.whole(), []
    door.open()
    mirror = BackgroundTracker(lambda: MlflowTracker(door.address), notes.append)
    mirror.start(results.meta)
    assert mirror.ready(60)
    door.delay_s = 5
    begun = time.monotonic()
    for row in rows(results.meta, results.records):
        mirror.log(row)
    mirror.finish("FINISHED", results)
    assert not mirror.flush(1)
    mirror.close()
    assert time.monotonic() - begun < 4
    assert "orchestrator sync" in notes[0]
    door.shut()
    sync(results, server)
    assert len(runs(server, results)[1]) == 8


def test_a_server_that_does_not_answer_is_an_error_without_a_traceback(sweep: Made) -> None:
    """What `sync` shows a person: where, and why."""
    with pytest.raises(TrackingError, match=r"http://127.0.0.1:\d+: .*Connection refused"):
        sync(sweep.whole(), f"http://name:secret@127.0.0.1:{free_port()}")


def test_a_store_that_mlflow_gave_up_is_refused_with_its_own_words(
    tmp_path: Path, sweep: Made
) -> None:
    """File stores raise since MLflow 3."""
    with pytest.raises((TrackingError, RejectedError), match="mlruns"):
        sync(sweep.whole(), (tmp_path / "mlruns").as_uri())


def test_the_address_shown_opens_the_sweeps_view(store: str, sweep: Made) -> None:
    """The view is a tag of the experiment that the UI looks up by its key."""
    results = sweep.whole()
    sync(results, store)
    experiment = client(store).get_experiment_by_name(results.meta.name)
    assert url(results.meta, store) == view_url(
        store, experiment.experiment_id, results.meta.sweep_id
    )
    assert f"mlflow.sharedViewState.{results.meta.sweep_id}" in experiment.tags


def test_a_server_that_takes_no_long_tag_has_the_runs_all_the_same(
    store: str, sweep: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What MLflow's own limit is has its own test: this is a server with another."""
    limit = "mlflow.utils.validation.MAX_EXPERIMENT_TAG_VAL_LENGTH"
    assert LONGEST <= import_module("mlflow.utils.validation").MAX_EXPERIMENT_TAG_VAL_LENGTH
    monkeypatch.setattr(limit, 5_000)
    results = sweep.whole()
    assert sync(results, store)
    experiment = client(store).get_experiment_by_name(results.meta.name)
    assert f"mlflow.sharedViewState.{results.meta.sweep_id}" not in experiment.tags
    found = client(store).search_runs([experiment.experiment_id])
    assert sum(run.data.tags.get("kind") == "trial" for run in found) == len(results.meta.planned)


def test_the_ui_names_the_sweeps_view_and_ends_quietly_on_interrupt(
    store: str, sweep: Made, tmp_path: Path
) -> None:
    """Its output is ours alone: which store, which views, how to end it; no log of a server, no
    traceback.
    """
    results = sweep.whole()
    sync(results, store)
    port = free_port()
    line = [
        sys.executable,
        "-m",
        "orchestrator.trackers.ui",
        store,
        "--port",
        str(port),
        "--no-browser",
    ]
    log = tmp_path / "ui.log"
    with log.open("wb") as output:
        process = subprocess.Popen(line, stdout=output, stderr=output, start_new_session=True)
        try:
            wait_for(lambda: b"is up" in log.read_bytes(), START_S)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    first, *views, last = log.read_text().splitlines()
    assert first.startswith("starting the MLflow UI of sqlite:///")
    assert any(
        results.meta.sweep_id in view and f"http://127.0.0.1:{port}/#/" in view for view in views
    )
    assert last == f"http://127.0.0.1:{port} is up; Ctrl-C ends it"
    assert not answers(f"http://127.0.0.1:{port}")


def test_a_hundred_trials_are_written_in_little_time(
    store: str, sweep: Made, record_property: Any
) -> None:
    """Some 40 ms of CPU a run is what the store itself takes; the bound leaves room for a busy
    machine.
    """
    axes = {"batch": list(range(1, 61)), "seq_len": [1024], "heads": [8]}
    sweep.axes = axes
    results = sweep.results([made.ok(trial) for trial in sweep.trials()])
    begun = time.monotonic()
    live(store, results)
    seconds = time.monotonic() - begun
    record_property("runs_per_s", len(results.records) / seconds)
    assert len(runs(store, results)[1]) == 120
    assert seconds < 60


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from orchestrator.results.rows import rows
from tests.integration.test_mlflow import Made, live
sweep = Made(sys.argv[1], Path(sys.argv[2]))
live(None, sweep.whole())
"""


def test_two_processes_make_one_fresh_store_and_print_nothing(tmp_path: Path) -> None:
    """Both at once, in one directory: every run of both is there, and the terminal stays clean."""
    script = SCRIPT.format(root=str(Path(__file__).parents[2]))
    processes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        line = [sys.executable, "-c", script, name, str(tmp_path / name)]
        processes.append(
            subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        )
    said = [process.communicate(timeout=200)[0].decode() for process in processes]
    assert said == ["", ""]
    uri = f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}"
    for name in ("one", "two"):
        assert len(runs(uri, Made(name, tmp_path / name).whole())[1]) == 8
