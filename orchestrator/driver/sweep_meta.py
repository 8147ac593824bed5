"""The meta data of a sweep that begins, or goes on with what is planned now."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from orchestrator.errors import RequestError
from orchestrator.executors.base import Executor
from orchestrator.plan.sweep import Sweep
from orchestrator.results import sweep_directory
from orchestrator.results.columns import shown_by
from orchestrator.results.meta import SweepMeta
from orchestrator.search.factory import bounds
from orchestrator.spec.axes import ACCELERATOR_NAME
from orchestrator.trial import Trial


def of(sweep: Sweep, directory: Path, device: str, resuming: bool) -> SweepMeta:
    """The meta data of a new sweep, or of the one that goes on, with what is planned now."""
    if resuming and (directory / sweep_directory.META_FILE).exists():
        held = sweep_directory.load_meta(directory)
        if held.device != device:
            raise RequestError(
                f"{directory} was measured on {held.device}, this run is on {device}: one table "
                "never mixes two"
            )
        if held.duel != sweep.duel:
            raise RequestError(
                f"{directory} holds another kind of sweep: {_kind(held.duel)}, not "
                f"{_kind(sweep.duel)}"
            )
        planned = {
            "spec": sweep.spec,
            "planned": _planned(sweep, held),
            "at_most": _at_most(sweep),
            "only": sweep.only,
            "base_dir": sweep.base_dir,
            "shown": shown_by(sweep.workload, sweep.spec.constants),
        }
        # written once the journal is ours and no stale row stands in the way
        return held.model_copy(update=planned)
    now = datetime.now().astimezone()
    sweep_id = directory.name
    if directory.parent != sweep_directory.SWEEPS / sweep.spec.name:  # --output names no id
        sweep_id = sweep_directory.new_sweep_id(now)
    meta = SweepMeta(
        sweep_id=sweep_id,
        name=sweep.spec.name,
        created_at=now.isoformat(timespec="seconds"),
        base_dir=sweep.base_dir,
        device=device,
        spec=sweep.spec,
        planned=_planned(sweep, None),
        at_most=_at_most(sweep),
        only=sweep.only,
        duel=sweep.duel,
        shown=shown_by(sweep.workload, sweep.spec.constants),
    )
    sweep_directory.create(directory, meta, sweep.document.text)
    return meta


def models_of(trials: Iterable[Trial]) -> list[str]:
    """The models that these trials are measured on, in the order of the table."""
    models = dict.fromkeys(trial.params.get(ACCELERATOR_NAME) for trial in trials)
    return [model for model in models if model is not None]


def on_each_model(sweep: Sweep, executor: Executor, directory: Path, resuming: bool) -> Sweep:
    """The sweep with each trial on each model, where its file asks for it (`per_accelerator`).

    Args:
        sweep: as its file says.
        executor: knows the models that have slots now.
        directory: of the sweep.
        resuming: whether the sweep was begun before; then models that have joined since are added.

    Raises:
        RequestError: a model that it was begun on has no slot now: nobody could tell whether rows
            of that model still hold.
    """
    if not sweep.spec.resources.per_accelerator:
        return sweep
    models = executor.accelerators
    begun: list[str] = []
    if resuming and (directory / sweep_directory.META_FILE).exists():
        begun = models_of(sweep_directory.load_meta(directory).planned)
    missing = [model for model in begun if model not in models]
    if missing:
        raise RequestError(
            f"{directory} measures on {', '.join(begun)}, and no node has {', '.join(missing)} "
            "now: start one and go on, or begin a new sweep"
        )
    return sweep.on_each(list(dict.fromkeys([*begun, *models])))


def _kind(labels: tuple[str, str] | None) -> str:
    if labels is None:
        return "each trial by itself"
    return f"a duel of {labels[0]} and {labels[1]}"


def _planned(sweep: Sweep, held: SweepMeta | None) -> tuple[Trial, ...]:
    """The trials that are known; of a sweep that proposes them, those that it has proposed."""
    if not sweep.spec.proposes:
        return sweep.trials
    if held is None:
        return ()
    return held.planned


def _at_most(sweep: Sweep) -> int | None:
    """How many trials a sweep that proposes them may run; None: all are planned."""
    if not sweep.spec.proposes:
        return None
    _, most = bounds(sweep)
    return most
