"""Refuses what can be refused before an executor starts, and finds sweeps that are complete.

Starting the executor takes many seconds, and none of this does.
"""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.driver.queue import AttemptQueue
from orchestrator.driver.rerun import RerunRule
from orchestrator.driver.stale import KnownSources, explain, refuse_stale
from orchestrator.driver.sweep_meta import models_of
from orchestrator.errors import RequestError, UnfitMachineError
from orchestrator.machine import nvml
from orchestrator.plan.expand import known_names
from orchestrator.plan.sweep import Sweep
from orchestrator.results import journal, sources, sweep_directory
from orchestrator.results.results import Results
from orchestrator.spec.axes import ACCELERATOR_NAME
from orchestrator.util.files import nearest_existing


def refuse_unwritable(directory: Path) -> None:
    """Refuse a directory that cannot be made or written.

    Raises:
        RequestError: its nearest existing parent is no folder, or this user may not write there.
    """
    existing = nearest_existing(directory)
    if not existing.is_dir():
        raise RequestError(
            f"{directory} cannot be made: {existing} is a file; name another --output"
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RequestError(
            f"{directory} cannot be written (no permission for {existing}): name another --output"
        )


def refuse_missing_gpu(device: str) -> None:
    """Refuse "cuda" on a machine without a GPU.

    Raises:
        UnfitMachineError: there is none.
    """
    if device == "cuda" and nvml.count() == 0:
        raise UnfitMachineError(
            "--device cuda: no GPU is here (no driver answers, or CUDA_VISIBLE_DEVICES hides them "
            "all); `orchestrator doctor` shows what is, --device cpu runs on the cores"
        )


def check_rerun(sweep: Sweep, rule: str | None) -> None:
    """Refuse a rule of `--rerun` that is none.

    Raises:
        RequestError: it is no word, outcome or expression over what the sweep's trials have.
    """
    if rule is not None:
        names = known_names(sweep.trials)
        if sweep.spec.resources.per_accelerator:
            names.add(ACCELERATOR_NAME)
        RerunRule.of(rule, names, [entry.label for entry in sweep.spec.implementations])


def complete(sweep: Sweep, directory: Path) -> Results | None:
    """The results of a sweep of which nothing is left to run; None: something is.

    Also None if the sweep file now asks for something else. Whether the machine has changed is not
    checked: that would take an executor, and nothing is measured.

    Raises:
        RequestError: a file or the protocol was changed since, so that finished rows no longer
            hold.
    """
    if not (directory / sweep_directory.META_FILE).exists():
        return None
    meta = sweep_directory.load_meta(directory)
    if sweep.spec.resources.per_accelerator:
        sweep = sweep.on_each(models_of(meta.planned))
    elsewhere = {"tracking": meta.spec.tracking}  # where runs are mirrored measures nothing
    same = (meta.spec, meta.planned, meta.only) == (
        sweep.spec.model_copy(update=elsewhere),
        sweep.trials,
        sweep.only,
    )
    if sweep.spec.proposes or not same or meta.duel != sweep.duel:
        return None
    if journal.count(directory) < len(meta.planned) * sweep.spec.measure.repeats:
        return None  # a round has no record: that is seen without reading ten thousand
    held = sweep_directory.load(directory)
    known = KnownSources(sweep, sources.read(directory))
    queue = AttemptQueue(sweep, held.meta.sweep_id, held.meta.device, held.records, known=known)
    if len(queue):
        return None
    environments = [environment.get("match", {}) for environment in held.environments.values()]
    if environments:
        go_on = f"orchestrator resume {sweep_directory.found_by(held.meta.name, directory)}"
        stale = queue.stale(environments)
        refuse_stale(stale, go_on, explain(stale, held, known, environments))
    return held
