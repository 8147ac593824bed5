"""Runs in MLflow: the only module that imports mlflow. Import it late: it takes seconds.

One experiment per sweep name, one parent run per sweep, one child run per trial. Runs are found
again by their tags (`sweep_id`, `trial_id`), so that any call may be repeated, by another process
too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",  # it disturbs timing
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # whoever calls tries again, and says so
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is the result's
    "GIT_PYTHON_REFRESH": "quiet",
}
for _name, _value in _SETTINGS.items():  # mlflow reads them when it is imported
    os.environ.setdefault(_name, _value)

# ruff: noqa: E402
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from orchestrator.credentials import redacted, without_credentials
from orchestrator.results import profiles
from orchestrator.results.answers import annotated
from orchestrator.results.meta import SweepMeta, Tracked
from orchestrator.results.results import Results
from orchestrator.results.rows import Row, row_of, target_ci
from orchestrator.trackers import content
from orchestrator.trackers.address import database_of, ui_command, view_url, with_login
from orchestrator.trackers.base import RejectedError, Status, TrackingError
from orchestrator.trackers.content import Environments, Frame
from orchestrator.trackers.run_content import Known, RunContent
from orchestrator.trackers.saved_view import OVER_TIME, outdated, saved_view, view_over_time
from orchestrator.trackers.saved_view import PREFIX as VIEW

PARENT = ""
FILES = (
    "sweep.yaml",
    "sweep.resolved.json",
    "environment.json",
    "summary.txt",
    "summary.md",
    "results.csv",
    "report.html",
)
REFUSALS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST"}
PAGE = 1000
BATCH = 100


class MlflowTracker:
    """Fulfils Tracker on any tracking URI; None: sqlite under mlruns/ of the current directory.

    Attributes:
        experiment_id: known once started.
        changes: how many calls created, updated or left unchanged a run.

    Raises:
        TrackingError: the store cannot be opened.
    """

    def __init__(self, uri: str | None = None) -> None:
        self.uri = with_login(uri)
        with _explained(self.uri):
            self._client = _connected(self.uri)
        self.experiment_id = ""
        self.changes: Counter[str] = Counter()
        self._known: dict[str, Known] = {}
        self._logged: dict[str, Row] = {}
        self._doubtful: set[str] = set()
        self._is_new = False
        self._origins: dict[str, dict[str, str]] = {}  # sweep_id -> trial_id -> run

    def start(self, meta: SweepMeta) -> None:
        """Open the sweep's run as running; mark as KILLED what a killed driver left running."""
        with _explained(self.uri):
            self._open(meta)
            parent = self._known[PARENT]
            if parent.content.status != "RUNNING":
                self._client.update_run(parent.run_id, status="RUNNING")
                self._known[PARENT] = replace(
                    parent, content=replace(parent.content, status="RUNNING")
                )
            self._end_zombies()

    def log(self, row: Row) -> None:
        """Write one trial's run."""
        with _explained(self.uri):
            self._put(self._content(row, {}, None), row.trial_id)
        self._logged[row.trial_id] = row

    def finish(self, status: Status, results: Results) -> None:
        """Write what is missing, end the sweep's run with totals and table, upload the files."""
        with _explained(self.uri):
            self._frame = Frame.of(results.meta)  # trials may have been proposed since the start
            found = self._pooled(results)
            refused = self._put_all(found, results.environments)
            self._end_zombies()
            self._finish_parent(status, results, found)
            if refused is not None:
                raise refused

    @property
    def tracked(self) -> Tracked | None:
        """The UI's table of this sweep's trials, and what serves it where there is no server."""
        if not self.experiment_id:
            return None
        return Tracked(
            view_url(self.uri, self.experiment_id, self._frame.meta.sweep_id), ui_command(self.uri)
        )

    def close(self) -> None:
        """Let go of connections."""
        _let_go(self._client)

    def open(self, meta: SweepMeta) -> None:
        """Find or make the experiment and the sweep's run; find its children without duplicates.

        Raises:
            TrackingError: the store does not answer, or refuses.
        """
        with _explained(self.uri):
            self._open(meta)

    def _open(self, meta: SweepMeta) -> None:
        self._frame = Frame.of(meta)
        self.experiment_id = _experiment(self._client, self.uri, meta)
        self._save_view()
        self._known, self._doubtful = {}, set()
        for run in self._search():
            key = run.content.tags.get("trial_id", PARENT)
            if self._known.setdefault(key, run) is not run:
                self._client.delete_run(run.run_id)
        self._is_new = PARENT not in self._known
        if self._is_new:
            self._known[PARENT] = self._create(content.parent(meta))
            self.changes["created"] += 1

    def _pooled(self, results: Results) -> list[Row]:
        """The rows of the results; unchanged rows are those logged before: pooling is slow."""
        mine = defaultdict(list)
        for record in results.records:
            mine[record.trial_id].append(record)
        held = self._logged
        found = [
            held[trial.trial_id]
            if trial.trial_id in held and held[trial.trial_id].attempts == len(mine[trial.trial_id])
            else row_of(trial, mine[trial.trial_id], target_ci(results.meta))
            for trial in results.meta.planned
        ]
        return annotated(results.meta, found)

    def _save_view(self) -> None:
        tags = self._client.get_experiment(self.experiment_id).tags
        key, value = view_over_time()
        if tags.get(key) != value:
            self._client.set_experiment_tag(self.experiment_id, key, value)
        key, value = saved_view(self._frame.meta, list(self._frame.axes))
        if tags.get(key) == value:
            return
        self._client.set_experiment_tag(self.experiment_id, key, value)
        for old in outdated(tags, self._frame.meta.sweep_id):
            self._client.delete_experiment_tag(self.experiment_id, old)

    @property
    def status(self) -> str:
        """What the server says of the sweep's own run."""
        return self._known[PARENT].content.status

    def _put_all(self, found: Sequence[Row], environments: Environments) -> MlflowException | None:
        """Write every row that ran; return those that the server refuses."""
        refused = None
        ratios = {} if self._frame.meta.spec.proposes else content.speedups(self._frame, found)
        for row in found:
            try:
                if row.outcome is not None:
                    wanted = self._content(row, environments, ratios.get(row.trial_id))
                    self._put(wanted, row.trial_id)
            except MlflowException as error:
                if error.error_code not in REFUSALS:
                    raise
                refused = error
        return refused

    def _content(self, row: Row, environments: Environments, speedup: float | None) -> RunContent:
        """What a row's run is to be: its figures, or a link to the run that has them."""
        if not row.reused_from:
            return content.child(self._frame, row, environments, speedup)
        if row.reused_from not in self._origins:
            query = f"tags.sweep_id = '{row.reused_from}'"
            self._origins[row.reused_from] = {
                run.content.tags.get("trial_id", PARENT): run.run_id for run in self._runs(query)
            }
        run_id = self._origins[row.reused_from].get(row.trial_id)
        address = None if run_id is None else f"#/experiments/{self.experiment_id}/runs/{run_id}"
        return content.link(self._frame, row, address)

    def _put(self, wanted: RunContent, key: str) -> None:
        """Make the run of the trial `key` what it should be, with as few calls as that takes."""
        wanted = replace(
            wanted, tags={**wanted.tags, "mlflow.parentRunId": self._known[PARENT].run_id}
        )
        known = self._known.get(key) if key not in self._doubtful else self._find(key)
        if known is not None and known.is_like(wanted):
            self.changes["unchanged"] += 1
            return
        self._doubtful.add(key)  # until all is written: a failed call may have been carried out
        self._known[key] = self._made(wanted, known)
        self._doubtful.discard(key)
        self.changes["created" if known is None else "updated"] += 1

    def _made(self, wanted: RunContent, known: Known | None) -> Known:
        if known is not None and known.can_become(wanted):
            try:
                return self._write(wanted, known)
            except MlflowException as error:
                if error.error_code not in REFUSALS:
                    raise  # else someone deleted or changed the run: a new one takes its place
        if known is not None:
            with suppress(MlflowException):
                self._client.delete_run(known.run_id)
        return self._write_new(wanted)

    def _write_new(self, wanted: RunContent) -> Known:
        created = self._create(wanted)
        try:
            return self._write(wanted, created)
        except MlflowException as error:
            if error.error_code in REFUSALS:
                self._client.delete_run(created.run_id)
            raise

    def _create(self, wanted: RunContent) -> Known:
        run = self._client.create_run(
            self.experiment_id, wanted.start_ms, dict(wanted.tags), wanted.name
        )
        return Known(
            run.info.run_id, replace(wanted, status="RUNNING", end_ms=0, params={}, metrics={})
        )

    def _write(self, wanted: RunContent, known: Known) -> Known:
        held = known.content
        at_ms = round(time.time() * 1000) if held.metrics else wanted.end_ms  # the later counts
        metrics = [
            Metric(name, value, at_ms, 0) for name, value in _new(wanted.metrics, held.metrics)
        ]
        params = [Param(name, value) for name, value in _new(wanted.params, held.params)]
        tags = [RunTag(name, value) for name, value in _new(wanted.tags, held.tags)]
        for start in range(0, max(len(metrics), len(params), len(tags)), BATCH):
            part = slice(start, start + BATCH)
            self._client.log_batch(known.run_id, metrics[part], params[part], tags[part])
        if (held.status, held.end_ms) != (wanted.status, wanted.end_ms):
            self._client.set_terminated(known.run_id, wanted.status, wanted.end_ms)
        return Known(known.run_id, replace(wanted, tags={**held.tags, **wanted.tags}))

    def _finish_parent(self, status: Status, results: Results, found: Sequence[Row]) -> None:
        known = self._known[PARENT]
        wanted = content.summary(status, results, self._frame, found)
        files = [
            path
            for name in FILES
            if results.directory and (path := results.directory / name).is_file()
        ]
        traces = [] if results.directory is None else profiles.traces(results.directory)
        digest = _digest([*files, *traces])
        same_files = known.content.tags.get("files", "") == digest
        if known.is_like(wanted) and same_files:
            self.changes["unchanged"] += 1
            return
        self.changes["updated"] += not self._is_new  # a new run was counted when made
        self._is_new = False
        self._known[PARENT] = known = self._write(wanted, known)
        if not same_files:
            for path in files:
                self._client.log_artifact(known.run_id, str(path))
            for path in traces:
                self._client.log_artifact(known.run_id, str(path), profiles.FOLDER)
            self._client.set_tag(known.run_id, "files", digest)
            self._known[PARENT] = replace(
                known, content=replace(known.content, tags={**known.content.tags, "files": digest})
            )

    def _end_zombies(self) -> None:
        for key, run in self._known.items():
            if run.content.status == "RUNNING" and key != PARENT:
                self._client.set_terminated(run.run_id, "KILLED")
                self._known[key] = replace(run, content=replace(run.content, status="KILLED"))

    def _find(self, trial_id: str) -> Known | None:
        """The trial's run as the server has it now, duplicates deleted."""
        found = self._search(f" and tags.trial_id = '{trial_id}'")
        for run in found[1:]:
            self._client.delete_run(run.run_id)
        return found[0] if found else None

    def _search(self, more: str = "") -> list[Known]:
        """The sweep's runs that are not deleted, oldest first."""
        return self._runs(f"tags.sweep_id = '{self._frame.meta.sweep_id}'{more}")

    def _runs(self, query: str) -> list[Known]:
        """The runs of the experiment that a query finds and that are not deleted, oldest first."""
        found: list[Known] = []
        page: str | None = None
        while True:
            answer = self._client.search_runs(
                [self.experiment_id],
                query,
                max_results=PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=page,
            )
            found += [_known(run) for run in answer]
            page = answer.token
            if not page:
                return found


def experiment_id(uri: str, name: str) -> str | None:
    """The id of the experiment of that name; None where there is none.

    Raises:
        TrackingError: the store does not answer.
    """
    with _explained(uri):
        found = _connected(uri).get_experiment_by_name(name)
    return None if found is None else str(found.experiment_id)


def saved_views(uri: str, base: str) -> list[tuple[str, str]]:
    """(name of the sweep and its id, address of its view) of every saved view, newest sweep first.

    After the newest stands the view of its name's sweeps over time.

    Raises:
        TrackingError: the store does not answer.
    """
    with _explained(uri):
        experiments = _connected(uri).search_experiments()
    found = []
    for experiment in experiments:
        views = [tag.removeprefix(VIEW) for tag in experiment.tags if tag.startswith(VIEW)]
        found += [(sweep_id, experiment) for sweep_id in views if sweep_id != OVER_TIME]
    newest_first = sorted(found, key=lambda pair: pair[0], reverse=True)
    if newest_first:
        newest_first.insert(1, (OVER_TIME, newest_first[0][1]))
    named = []
    for sweep_id, experiment in newest_first:
        address = view_url(base, experiment.experiment_id, sweep_id)
        named.append((f"{experiment.name} {sweep_id}", address))
    return named


def _connected(uri: str) -> MlflowClient:
    """A client of the store; an sqlite file that does not exist yet is made first."""
    database = database_of(uri)
    if database is None:
        return MlflowClient(tracking_uri=uri)
    database.parent.mkdir(parents=True, exist_ok=True)
    with (database.parent / f".{database.name}.lock").open(
        "w"
    ) as lock:  # two that make one store at once lose all runs
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.exists():
            _make(database)
        return MlflowClient(tracking_uri=uri)


def _make(database: Path) -> None:
    """Make a store under another name, then rename it: a killed driver must not leave half of one.

    Each try has a name of its own, for MLflow keeps its connections by name, also those to a file
    that is gone.
    """
    for rest in database.parent.glob(f".{database.name}.unfinished*"):
        rest.unlink()
    unfinished = database.with_name(f".{database.name}.unfinished-{secrets.token_hex(4)}")
    _prepare(unfinished)
    _let_go(MlflowClient(tracking_uri=f"sqlite:///{unfinished}"))
    unfinished.replace(database)


def _let_go(client: MlflowClient) -> None:
    """Close its connections; the last one takes the write-ahead log into the database."""
    engine = getattr(
        getattr(getattr(client, "_tracking_client", None), "store", None), "engine", None
    )
    if engine is not None:
        engine.dispose()


def _prepare(database: Path) -> None:
    """Use a write-ahead log: readers (the UI) do not block the writer, and commits cost less."""
    with closing(sqlite3.connect(database)) as connection, suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode=WAL")


def _experiment(client: MlflowClient, uri: str, meta: SweepMeta) -> str:
    """The id of the sweep's experiment, made or brought back where it is not there."""
    found = client.get_experiment_by_name(meta.name)
    if found is None:
        database = database_of(uri)
        place = None if database is None else (database.parent / "artifacts" / meta.name).as_uri()
        with suppress(MlflowException):  # another driver may have been faster
            client.create_experiment(meta.name, place, content.experiment_tags(meta))
        found = client.get_experiment_by_name(meta.name)
    if found is None:
        raise TrackingError(
            f"{redacted(uri)} has no experiment {meta.name!r} and makes none: make it there"
        )
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Whatever a store raises, as one of our errors that names the store and the reason."""
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:  # stores raise what their libraries do: SQL, HTTP, files
        refused = isinstance(error, MlflowException) and error.error_code in REFUSALS
        raise (RejectedError if refused else TrackingError)(
            f"{redacted(uri)}: {without_credentials(_reason(error), uri)}"
        ) from error


def _reason(error: Exception) -> str:
    """What went wrong, without the library's layers around it."""
    said = " ".join(str(error).split())
    nested = re.findall(r"\[Errno -?\d+\] [^'\")]+|(?:timed out|Read timed out)[^'\")]*", said)
    return nested[-1] if nested else said[:300] or type(error).__name__


def _known(run: Run) -> Known:
    """What a search found."""
    info, data = run.info, run.data
    times = (info.start_time or 0, info.end_time or 0)
    return Known(
        info.run_id,
        RunContent(info.run_name or "", info.status, *times, data.params, data.metrics, data.tags),
    )


def _digest(files: Sequence[Path]) -> str:
    parts = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16] if parts else ""


def _new(wanted: Mapping[str, Any], held: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in wanted.items() if held.get(name) != value]
