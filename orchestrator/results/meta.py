"""sweep.resolved.json: the sweep file as it was understood, and its trials."""

from __future__ import annotations

from typing import Any, NamedTuple

from orchestrator.record import SCHEMA_VERSION
from orchestrator.spec.models import SweepSpec
from orchestrator.trial import Trial
from orchestrator.util.frozen_model import FrozenModel


class CellMeta(FrozenModel):
    """One cell of a search or a frontier, and the trials proposed for it.

    Attributes:
        point: axis -> value as the file states it, of the axes that are not searched; None: not
            known.
        trials: trial_ids in the order proposed; one may be in several cells.
    """

    point: dict[str, Any] | None
    trials: tuple[str, ...]


class ShownMeta(FrozenModel):
    """The workload's columns and header, stored so that results are shown without importing it.

    Attributes:
        columns: param -> heading of the table's columns.
        header: lines above the table.
    """

    columns: dict[str, str] = {}
    header: tuple[str, ...] = ()


class SweepMeta(FrozenModel):
    """sweep.resolved.json: the sweep file as it was understood, and the trials it became.

    Attributes:
        sweep_id: `<YYYYmmdd_HHMMSS>_<4 hex digits>`; the time is the one in the table's title.
        created_at: ISO 8601 with offset.
        base_dir: the folder that relative paths of the sweep file start from.
        device: "cpu" or "cuda".
        planned: every trial, in table order; of a search or a frontier those proposed so far.
        cells: of a search or a frontier its cells with proposed trials, by key.
        at_most: the largest possible number of trials, if not all are planned from the start.
        only: the expression that chose the trials, if one did.
        duel: the labels of two implementations that were measured interleaved; None: each alone.
        shown: the workload's columns and header; None: the sweep is older than this field.
    """

    schema_version: int = SCHEMA_VERSION
    sweep_id: str
    name: str
    created_at: str
    base_dir: str
    device: str
    spec: SweepSpec
    planned: tuple[Trial, ...]
    cells: dict[str, CellMeta] = {}
    at_most: int | None = None
    only: str | None = None
    duel: tuple[str, str] | None = None
    shown: ShownMeta | None = None


class Tracked(NamedTuple):
    """The address of a sweep's runs, and the command that serves it (None: it is served)."""

    address: str
    command: str | None = None
