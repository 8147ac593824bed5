"""sweep.resolved.json: what was asked."""

from __future__ import annotations

from typing import Any, NamedTuple

from orchestrator.model import FrozenModel
from orchestrator.record import SCHEMA_VERSION
from orchestrator.spec.models import SweepSpec
from orchestrator.trial import Trial


class CellMeta(FrozenModel):
    """One question of a search or a frontier, and what was proposed for it.

    Attributes:
        point: axis -> value as the file states it, of the axes that are not asked after; None: not known.
        trials: trial_ids in the order proposed; one may be in several cells.
    """

    point: dict[str, Any] | None
    trials: tuple[str, ...]


class ShownMeta(FrozenModel):
    """What the workload says of showing its results, kept with them: who shows them need not import it.

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
        planned: every trial, in the order of the table; of a search or a frontier those that were proposed so far.
        cells: of a search or a frontier its questions, as far as trials were proposed for them, by a key.
        at_most: how many there can be at most, where not all of them are planned from the start.
        only: the expression that chose them, if one did.
        duel: the labels of the two implementations that were measured in turns; None: each trial by itself.
        shown: how the workload wants its results shown; None: the sweep is older than this field.
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
    """Where a person looks at a sweep's runs, and what to run first so that the address answers (None: nothing)."""

    address: str
    command: str | None = None
