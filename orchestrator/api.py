"""The Python interface: runs, resumes and loads sweeps, with Ray and MLflow. The CLI calls it."""

from __future__ import annotations

import html
import os
import platform
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import report
from orchestrator.compare import duel
from orchestrator.doctor import busy
from orchestrator.driver import claim, known_sweep, preflight, reuse, sweep_meta, workload_check
from orchestrator.driver.preload import preload
from orchestrator.driver.runner import SweepRun, seldom_collected
from orchestrator.driver.signals import Signals
from orchestrator.errors import (
    InterruptedSweepError,
    RequestError,
    UnfitMachineError,
)
from orchestrator.executors.base import Executor, StartStoppedError
from orchestrator.machine import nvml
from orchestrator.machine.environment import usable_cores
from orchestrator.plan.no_effect import keys_without_effect
from orchestrator.plan.sources import entry_files
from orchestrator.plan.sweep import Sweep
from orchestrator.progress.live import Progress, SilentProgress
from orchestrator.results import columns, lookup, results, sweep_directory
from orchestrator.results.rows import Row
from orchestrator.trackers.background import (
    INTERRUPTED_FLUSH_S,
    TRACKING_FLUSH_S,
    BackgroundTracker,
)
from orchestrator.trackers.base import Tracker

if TYPE_CHECKING:
    import pandas

DEVICES = ("auto", "cpu", "cuda")


class Results(results.Results):
    """A sweep's results, as Python's users get them: with the reports."""

    def table(self, form: str = "txt") -> str:
        """The results as text: txt (the table), md, csv, latex or html."""
        return report.render(self, form)

    def to_pandas(self) -> pandas.DataFrame:
        """One line per row: implementation, params, options, outcome, flags, metrics, error.

        A param or metric that has the name of another column is called params.<name> or
        metrics.<name>.
        """
        import pandas as pd

        return pd.DataFrame([_line(row) for row in self.rows])

    def __repr__(self) -> str:
        ok = sum(row.ok for row in self.rows)
        return f"<Results {self.meta.sweep_id}: {ok} of {len(self.rows)} rows ok>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the table."""
        return f"<pre>{html.escape(self.table())}</pre>"

    @classmethod
    def of(cls, found: results.Results) -> Results:
        """The same results, with the reports."""
        return cls(**{field.name: getattr(found, field.name) for field in fields(found)})


@seldom_collected()
def run(
    sweep: Sweep | str | Path,
    *,
    output: str | Path | None = None,
    tracking_uri: str | None = None,
    address: str | None = None,
    device: str = "auto",
    resume: bool = False,
    rerun: str | None = None,
    progress: Progress | None = None,
    executor: Callable[[Sweep], Executor] | None = None,
    tracker: Callable[[], Tracker] | None = None,
    on_results: Callable[[Results], None] | None = None,
) -> Results:
    """Run a sweep to its end.

    Args:
        sweep: what to run: a sweep file, or one that was loaded, narrowed or changed; see
            Sweep.load.
        output: the directory for its results; None: mlruns/sweeps/<name>/<sweep_id>.
        tracking_uri: of an MLflow server or store, kept with the sweep for `resume` and `sync`;
            None: what the sweep file says, else sqlite under mlruns/.
        address: of a running Ray cluster; None: RAY_ADDRESS, else a Ray of our own on this machine.
        device: "auto" (CUDA where there is a GPU), "cpu" or "cuda".
        resume: go on in `output`, or in the newest sweep of this name.
        rerun: `failed`, `stale`, `all`, an outcome or an expression: finished trials to run again
            (implies resume).
        progress: is told what happens; None: nobody.
        executor: makes another executor than Ray's.
        tracker: makes another tracker than MLflow's.
        on_results: is told the results of a sweep that is wholly known from earlier ones
            (`reuse`), before its MLflow runs are written.

    Returns:
        The results; `.records`, `.rows`, `.table()` and `.to_pandas()` read them.

    Raises:
        RequestError: the request is bad; nothing was run.
        AbortedError: the sweep could not start or go on.
        InterruptedSweepError: a signal stopped it; everything finished is kept.
    """
    if platform.system() != "Linux":
        raise UnfitMachineError(
            f"sweeps run on Linux, this is {platform.system()}; plan, report and compare work here"
        )
    if device not in DEVICES:
        raise RequestError(f"device: must be one of {', '.join(DEVICES)}, found {device!r}")
    if not isinstance(sweep, Sweep):
        sweep = Sweep.load(sweep)
    sweep = sweep.tracked_to(tracking_uri)
    resuming = resume or rerun is not None
    preflight.check_rerun(sweep, rerun)
    reuse.refuse_in_turns(sweep)
    directory = claim.claimed(sweep, output, resuming)
    shown = progress or SilentProgress()
    if executor is None:
        if resume and rerun is None:
            done = preflight.complete(sweep, directory)
            if done is not None:
                shown.note(f"{done.meta.sweep_id} is complete: nothing is left to run")
                report.write_reports(done)
                return Results.of(done)
        if not (address or os.environ.get("RAY_ADDRESS")):
            preflight.refuse_missing_gpu(device)
            if sweep.spec.reuse and not resuming:
                known = known_sweep.look_up(sweep, device, directory)
                if known is not None:
                    return _taken_over(sweep, directory, known, shown, tracker, on_results)
            # The check of the machine mostly sleeps, and does not count this process: Ray is
            # imported meanwhile.
            threading.Thread(target=_import_ray, name="import-ray", daemon=True).start()
            _note_other_users(device, shown)
    if tracker is None:
        imports = _import_ray_then_mlflow if executor is None else _import_mlflow
        threading.Thread(target=imports, name="import-mlflow", daemon=True).start()
    make_tracker = tracker or (lambda: mlflow_tracker(sweep.spec.tracking.uri))
    return _measured(
        sweep, directory, address, device, resuming, rerun, shown, executor, make_tracker
    )


def _measured(
    sweep: Sweep,
    directory: Path,
    address: str | None,
    device: str,
    resuming: bool,
    rerun: str | None,
    shown: Progress,
    executor: Callable[[Sweep], Executor] | None,
    make_tracker: Callable[[], Tracker],
) -> Results:
    """Start an executor, run the sweep on it, and end it; arguments and errors as of `run`."""
    with Signals() as signals, ExitStack() as stack:
        stack.callback(shown.stop)
        checked = None
        if not resuming:
            checked = workload_check.begin(sweep, device)
        if checked is not None:
            stack.callback(checked.stop)
        where = f"on {address}" if address else "Ray on this machine"
        shown.opening(f"starting {where}")
        make_executor = executor or (
            lambda sweep: ray_executor(sweep, address, device, signals.have_come)
        )
        running = stack.enter_context(closing(_started(make_executor, sweep, signals, directory)))
        signals.install()
        sweep = sweep_meta.on_each_model(sweep, running, directory, resuming)
        if checked is not None:
            checked.refuse()
        cores = 0  # of a cluster's nodes: not known
        if not (address or os.environ.get("RAY_ADDRESS")):
            cores = usable_cores()
        for line in keys_without_effect(sweep, running.device, cores, running.slots):
            shown.note(line)
        meta = sweep_meta.of(sweep, directory, running.device, resuming)
        name = sweep_directory.found_by(meta.name, directory)
        tracking = BackgroundTracker(make_tracker, shown.note, target=name)
        try:
            found = SweepRun(sweep, meta, directory, running, tracking, shown, signals, rerun).run()
        finally:
            tracking.flush(TRACKING_FLUSH_S, INTERRUPTED_FLUSH_S, signals.have_come)
            tracking.close()
        if signals.received is not None:  # every trial is done, but tracking may have been cut off
            raise InterruptedSweepError(signals.received, name)
    return Results.of(found)


def _taken_over(
    sweep: Sweep,
    directory: Path,
    known: known_sweep.KnownSweep,
    shown: Progress,
    tracker: Callable[[], Tracker] | None,
    on_results: Callable[[Results], None] | None,
) -> Results:
    """The results of a sweep whose every row is known from earlier ones."""
    make = tracker or (lambda: mlflow_tracker(sweep.spec.tracking.uri))
    meta = sweep_meta.of(sweep, directory, known.executor.device, resuming=False)

    def tell(found: results.Results) -> None:
        if on_results is not None:
            on_results(Results.of(found))

    return Results.of(known_sweep.run(sweep, meta, directory, known, shown, make, tell))


def _note_other_users(device: str, shown: Progress) -> None:
    """Name whoever else uses this machine, before Ray's own start uses it."""
    kind = "cpu"
    if device != "cpu" and nvml.count():
        kind = "cuda"
    for notice in busy.notices(kind):
        shown.note(notice)


def resume(
    name: str,
    *,
    tracking_uri: str | None = None,
    address: str | None = None,
    device: str = "auto",
    rerun: str | None = None,
    progress: Progress | None = None,
) -> Results:
    """Go on with the sweep `name` (an id, `last` or a directory) where it stopped.

    The other arguments are those of `run`.
    """
    directory = lookup.find(name)
    if sweep_directory.is_imported(directory):
        raise RequestError(
            f"{directory} was run elsewhere and imported: resume goes on where it was run"
        )
    meta = sweep_directory.load_meta(directory)
    sweep = Sweep.resolved(
        meta.spec, meta.base_dir, meta.only, str(directory / sweep_directory.META_FILE)
    )
    if meta.duel is not None:
        sweep = duel.prepare(sweep, *meta.duel)
    wanted = meta.device if device == "auto" else device
    return run(
        sweep,
        output=directory,
        tracking_uri=tracking_uri,
        address=address,
        device=wanted,
        resume=True,
        rerun=rerun,
        progress=progress,
    )


def load(name: str | Path) -> Results:
    """The results of a sweep that was run before: its id, `last`, or its directory; nothing is run.

    Raises:
        SweepNotFoundError: there is none.
        JournalError: its journal cannot be read.
    """
    return Results.of(sweep_directory.load(lookup.find(str(name))))


def _line(row: Row) -> dict[str, Any]:
    """A row of the data frame: column -> value, in the order of the columns."""
    head = {"trial_id": row.trial_id, "implementation": row.implementation}
    state = {"outcome": None, "flags": " ".join(row.flags)}
    if row.outcome:
        state["outcome"] = str(row.outcome)
    error = {"error": row.error.message if row.error else None}
    options = {f"options.{name}": value for name, value in row.trial.options.items()}
    ours = head.keys() | state.keys() | error.keys()
    params = columns.distinct(row.params, {*ours, *options, *row.metrics}, "params")
    metrics = columns.distinct(row.metrics, ours, "metrics")
    return {**head, **params, **options, **state, **metrics, **error}


def _started(
    make: Callable[[Sweep], Executor], sweep: Sweep, signals: Signals, directory: Path
) -> Executor:
    """The executor, unless a signal comes while it starts."""
    try:
        executor = make(sweep)
    except StartStoppedError:
        executor = None
    if signals.received is not None:
        if executor is not None:
            executor.close()
        name = None  # a new sweep has written nothing yet
        if (directory / sweep_directory.META_FILE).exists():
            name = sweep_directory.found_by(sweep.spec.name, directory)
        raise InterruptedSweepError(signals.received, name)
    assert executor is not None
    return executor


def ray_executor(
    sweep: Sweep, address: str | None, device: str, stopped: Callable[[], bool] = lambda: False
) -> Executor:
    """A RayExecutor for what this sweep needs.

    `stopped` is asked while it starts: when it says so, the start is given up.
    """
    from orchestrator.executors.ray import RayExecutor
    from orchestrator.executors.session import RayOptions

    spec = sweep.spec.resources
    references = {sweep.spec.workload}
    files: list[Path] = []
    for entry in sweep.spec.implementations:
        references.add(entry.use)
        files += entry_files(entry, sweep.base_dir)
    return RayExecutor(
        RayOptions(
            device=device,
            address=address or os.environ.get("RAY_ADDRESS") or None,
            gpus=max(1, max(sweep.gpus(trial) for trial in sweep.trials)),
            ranks=max(sweep.ranks(trial) for trial in sweep.trials),
            spread=spec.placement == "spread",
            exclusive_node=spec.exclusive_node,
            accelerator=spec.accelerator,
            per_accelerator=spec.per_accelerator,
            wait_s=spec.wait_s,
            cpus=None if spec.cpus == "auto" else spec.cpus,
            max_concurrent=sweep.spec.max_concurrent,
            gpu_memory_gib=spec.gpu_memory_gib,
            preload=preload(sweep),
            base_dir=sweep.base_dir,
            references=frozenset(references),
            files=frozenset(files),
        ),
        stopped,
    )


def mlflow_tracker(uri: str | None) -> Tracker:
    """The tracker of real sweeps."""
    from orchestrator.trackers.mlflow import MlflowTracker

    return MlflowTracker(uri)


def _import_ray_then_mlflow() -> None:
    """Import MLflow beside Ray's start, which the sweep waits for, and not beside Ray's import.

    Two imports at once in one process take turns, so that both end late.
    """
    _import_ray()
    _import_mlflow()


def _import_ray() -> None:
    """Import Ray before it is needed."""
    with suppress(Exception):  # the executor says what is wrong with it
        from orchestrator.executors.ray import load_ray

        load_ray()


def _import_mlflow() -> None:
    """Import MLflow before it is needed."""
    with suppress(Exception):  # the tracker says what is wrong with it
        import orchestrator.trackers.mlflow  # noqa: F401
