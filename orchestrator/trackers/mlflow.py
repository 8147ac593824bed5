"""Writes runs to MLflow. Import it late: mlflow takes seconds.

One experiment per sweep name, one parent run per sweep, one child run per trial and one per
implementation. Runs are found again by their tags (`sweep_id`, `trial_id`, `implementation`), so
that any call may be repeated, by another process too.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

# first, since it sets what mlflow reads when it is imported
from orchestrator.trackers.mlflow_store import (  # isort: skip
    REFUSALS,
    connected,
    experiment,
    explained,
    let_go,
)

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from orchestrator.results import profiles
from orchestrator.results.answers import annotated
from orchestrator.results.meta import SweepMeta, Tracked
from orchestrator.results.results import Results
from orchestrator.results.rows import Row, row_of, target_ci
from orchestrator.trackers import content
from orchestrator.trackers.address import ui_command, view_url, with_login
from orchestrator.trackers.base import Status
from orchestrator.trackers.content import Environments, Frame
from orchestrator.trackers.curves import IMPLEMENTATION, Curve, curves
from orchestrator.trackers.run_content import Known, RunContent
from orchestrator.trackers.saved_view import outdated, saved_view, view_over_time
from orchestrator.util.files import digest_of

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
        with explained(self.uri):
            self._client = connected(self.uri)
        self.experiment_id = ""
        self.changes: Counter[str] = Counter()
        self._known: dict[str, Known] = {}
        self._logged: dict[str, Row] = {}
        self._unsure: set[str] = set()
        self._is_new = False
        self._origins: dict[str, dict[str, str]] = {}  # sweep_id -> trial_id -> run

    def start(self, meta: SweepMeta) -> None:
        """Open the sweep's run as running; mark as KILLED what a killed driver left running."""
        with explained(self.uri):
            self._open(meta)
            parent = self._known[PARENT]
            if parent.content.status != "RUNNING":
                self._client.update_run(parent.run_id, status="RUNNING")
                running = replace(parent.content, status="RUNNING")
                self._known[PARENT] = replace(parent, content=running)
            self._end_killed()

    def log(self, row: Row) -> None:
        """Write one trial's run."""
        with explained(self.uri):
            self._put(self._content(row, {}, None), row.trial_id)
        self._logged[row.trial_id] = row

    def finish(self, status: Status, results: Results) -> None:
        """Write what is missing, end the sweep's run with totals and table, upload the files."""
        with explained(self.uri):
            self._frame = Frame.of(results.meta)  # trials may have been proposed since the start
            found = self._pooled(results)
            refused = self._put_all(found, results.environments)
            self._end_killed()
            self._finish_parent(status, results, found)
            if refused is not None:
                raise refused

    @property
    def tracked(self) -> Tracked | None:
        """The UI's table of this sweep's trials, and what serves it where there is no server."""
        if not self.experiment_id:
            return None
        address = view_url(self.uri, self.experiment_id, self._frame.meta.sweep_id)
        return Tracked(address, ui_command(self.uri))

    def close(self) -> None:
        """Let go of connections."""
        let_go(self._client)

    def open(self, meta: SweepMeta) -> None:
        """Find or make the experiment and the sweep's run; find its children without duplicates.

        Raises:
            TrackingError: the store does not answer, or refuses.
        """
        with explained(self.uri):
            self._open(meta)

    def _open(self, meta: SweepMeta) -> None:
        self._frame = Frame.of(meta)
        self.experiment_id = experiment(self._client, self.uri, meta)
        self._save_view()
        self._known, self._unsure = {}, set()
        for run in self._search():
            key = _key(run.content)
            if key in self._known:  # of duplicates the oldest stays
                self._client.delete_run(run.run_id)
            else:
                self._known[key] = run
        self._is_new = PARENT not in self._known
        if self._is_new:
            self._known[PARENT] = self._create(content.parent(meta))
            self.changes["created"] += 1

    def _pooled(self, results: Results) -> list[Row]:
        """The rows of the results; unchanged rows are those logged before: pooling is slow."""
        mine = defaultdict(list)
        for record in results.records:
            mine[record.trial_id].append(record)
        found = []
        for trial in results.meta.planned:
            records = mine[trial.trial_id]
            row = self._logged.get(trial.trial_id)
            if row is None or row.attempts != len(records):
                row = row_of(trial, records, target_ci(results.meta))
            found.append(row)
        return annotated(results.meta, found)

    def _save_view(self) -> None:
        """Save the views of this sweep and of all; none on a server that takes no tag so long."""
        try:
            self._write_views()
        except MlflowException as error:
            if error.error_code not in REFUSALS:
                raise

    def _write_views(self) -> None:
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
        ratios: dict[str, float] = {}
        if not self._frame.meta.spec.proposes:
            ratios = content.speedups(self._frame, found)
        for row in found:
            if row.outcome is None:
                continue
            try:
                wanted = self._content(row, environments, ratios.get(row.trial_id))
                self._put(wanted, row.trial_id)
            except MlflowException as error:
                if error.error_code not in REFUSALS:
                    raise
                refused = error
        for curve in curves(self._frame, found, ratios):
            try:
                self._put_curve(curve)
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
            runs = self._runs(f"tags.sweep_id = '{row.reused_from}'")
            self._origins[row.reused_from] = {_key(run.content): run.run_id for run in runs}
        run_id = self._origins[row.reused_from].get(row.trial_id)
        address = None
        if run_id is not None:
            address = f"#/experiments/{self.experiment_id}/runs/{run_id}"
        return content.link(self._frame, row, address)

    def _put(self, wanted: RunContent, key: str) -> None:
        """Make the run of the trial `key` what it should be, with as few calls as that takes."""
        tags = {**wanted.tags, "mlflow.parentRunId": self._known[PARENT].run_id}
        wanted = replace(wanted, tags=tags)
        known = self._held(key)
        if known is not None and known.is_like(wanted):
            self.changes["unchanged"] += 1
            return
        self._unsure.add(key)  # until all is written: a failed call may have been carried out
        self._known[key] = self._made(wanted, known)
        self._unsure.discard(key)
        self.changes["created" if known is None else "updated"] += 1

    def _put_curve(self, curve: Curve) -> None:
        """Make an implementation's run anew when a point changed: a point is never taken back."""
        tags = {**curve.content.tags, "mlflow.parentRunId": self._known[PARENT].run_id}
        wanted = replace(curve.content, tags=tags)
        key = _key(wanted)
        known = self._held(key)
        if known is not None:
            drawn = replace(wanted, metrics=known.content.metrics)
            if known.is_like(drawn):  # the tag `points` stands for the figures
                self.changes["unchanged"] += 1
                return
            with suppress(MlflowException):
                self._client.delete_run(known.run_id)
        self._unsure.add(key)
        created = self._create(wanted)
        points = [Metric(name, value, wanted.end_ms, step) for name, value, step in curve.points]
        for start in range(0, len(points), PAGE):
            self._client.log_batch(created.run_id, points[start : start + PAGE])
        self._known[key] = self._write(wanted, created)
        self._unsure.discard(key)
        self.changes["created" if known is None else "updated"] += 1

    def _made(self, wanted: RunContent, known: Known | None) -> Known:
        """The run `known` with what it lacks; a new one where additions do not suffice."""
        if known is not None and known.can_become(wanted):
            try:
                return self._write(wanted, known)
            except MlflowException as error:
                if error.error_code not in REFUSALS:
                    raise  # else someone deleted or changed the run: a new one takes its place
        if known is not None:
            with suppress(MlflowException):
                self._client.delete_run(known.run_id)
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
        begun = replace(wanted, status="RUNNING", end_ms=0, params={}, metrics={})
        return Known(run.info.run_id, begun)

    def _write(self, wanted: RunContent, known: Known) -> Known:
        held = known.content
        at_ms = wanted.end_ms
        if held.metrics:
            at_ms = round(time.time() * 1000)  # of two values of a metric the later counts
        new = _new(wanted.metrics, held.metrics)
        metrics = [Metric(name, value, at_ms, 0) for name, value in new]
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
        files, traces = [], []
        if results.directory is not None:
            places = [results.directory / name for name in FILES]
            files = [path for path in places if path.is_file()]
            traces = profiles.traces(results.directory)
        digest = digest_of(files + traces)
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
            # last: where an upload fails the next call uploads them all again
            self._client.set_tag(known.run_id, "files", digest)
            tags = {**known.content.tags, "files": digest}
            self._known[PARENT] = replace(known, content=replace(known.content, tags=tags))

    def _end_killed(self) -> None:
        """End the trials' runs that a killed driver left running."""
        for key, run in self._known.items():
            if run.content.status == "RUNNING" and key != PARENT:
                self._client.set_terminated(run.run_id, "KILLED")
                self._known[key] = replace(run, content=replace(run.content, status="KILLED"))

    def _held(self, key: str) -> Known | None:
        """The run of a trial or an implementation, looked up anew where a write may have failed."""
        if key in self._unsure:
            return self._find(key)
        return self._known.get(key)

    def _find(self, key: str) -> Known | None:
        """The run of a trial or an implementation as the server has it now, duplicates deleted."""
        of = f"tags.trial_id = '{key}'"
        if " " in key:  # see `_key`: of an implementation
            of = f"tags.kind = '{IMPLEMENTATION}'"
        found = [run for run in self._search(f" and {of}") if _key(run.content) == key]
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


def _known(run: Run) -> Known:
    """What a search found."""
    info, data = run.info, run.data
    held = RunContent(
        name=info.run_name or "",
        status=info.status,
        start_ms=info.start_time or 0,
        end_ms=info.end_time or 0,
        params=data.params,
        metrics=data.metrics,
        tags=data.tags,
    )
    return Known(info.run_id, held)


def _key(run: RunContent) -> str:
    """What a run of a sweep is of: a trial, an implementation, or PARENT."""
    if run.tags.get("kind") == IMPLEMENTATION:
        return f"{IMPLEMENTATION} {run.tags['implementation']}"
    return run.tags.get("trial_id", PARENT)


def _new(wanted: Mapping[str, Any], held: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What the server does not have yet, or has with another value."""
    return [(name, value) for name, value in wanted.items() if held.get(name) != value]
