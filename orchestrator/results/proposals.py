"""proposals.jsonl: the proposals of a search or a frontier, one a line, written before they run.

A line of another kind says which earlier proposals still count, when a sweep is resumed with a
changed file. Only the proposer knows that at the time: a trial's values alone do not tell later.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.results.meta import CellMeta, SweepMeta
from orchestrator.spec.models import SweepSpec
from orchestrator.trial import Trial
from orchestrator.util.files import append_lines
from orchestrator.util.frozen_model import FrozenModel

FILE_NAME = "proposals.jsonl"


class Proposal(FrozenModel):
    """A proposed trial.

    Attributes:
        trial: what to run.
        cell: the key of its cell; "" if there is only one.
        after: how many records the journal held then, all reported to the proposer.
        coordinates: its place in the space of a search; None: outside of it.
        point: axis -> value as the file states it, of the axes that are not searched.
        final: whether a trial that was screened is to be measured by itself.
    """

    trial: Trial
    cell: str = ""
    after: int = 0
    coordinates: dict[str, int | float] | None = None
    point: dict[str, Any] | None = None
    final: bool = False


class Kept(FrozenModel):
    """Which proposals of earlier runs a sweep still asks for: trial_id and cell of each."""

    kept: tuple[tuple[str, str], ...]


def append(directory: Path, proposals: Sequence[Proposal]) -> None:
    """Add proposals and wait until they are on disk.

    Raises:
        OSError: they cannot be written.
    """
    _append(directory, proposals)


def keep(directory: Path, proposals: Sequence[Proposal]) -> None:
    """Record which of the proposals so far still count, unless that is recorded already.

    Raises:
        OSError: it cannot be written.
    """
    kept = tuple(map(_name, proposals))
    if set(kept) != set(map(_name, current(directory))):
        _append(directory, [Kept(kept=kept)])


def _name(proposal: Proposal) -> tuple[str, str]:
    return proposal.trial.trial_id, proposal.cell


def _append(directory: Path, lines: Sequence[FrozenModel]) -> None:
    append_lines(directory / FILE_NAME, [line.model_dump_json() for line in lines])


def read(directory: Path) -> list[Proposal]:
    """All proposals in their order. Torn lines are left out: their trials never ran."""
    return [line for line in _lines(directory) if isinstance(line, Proposal)]


def current(directory: Path) -> list[Proposal]:
    """The proposals that still count, in their order."""
    made: list[Proposal] = []
    found: list[Proposal] = []
    for line in _lines(directory):
        if isinstance(line, Proposal):
            made.append(line)
            found.append(line)
        else:
            kept = set(line.kept)
            found = [proposal for proposal in made if _name(proposal) in kept]
    return found


def _lines(directory: Path) -> Iterator[Proposal | Kept]:
    path = directory / FILE_NAME
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        for kind in (Proposal, Kept):
            with suppress(ValidationError):
                yield kind.model_validate_json(line)


def asked(meta: SweepMeta, proposals: Sequence[Proposal]) -> SweepMeta:
    """The sweep with its proposals as planned trials, cell by cell."""
    cells: dict[str, CellMeta] = {}
    for proposal in proposals:
        trials = [proposal.trial.trial_id]
        if proposal.cell in cells:
            trials = [*cells[proposal.cell].trials, *trials]
        once = tuple(dict.fromkeys(trials))  # a trial may be proposed again, to be measured alone
        cells[proposal.cell] = CellMeta(point=proposal.point, trials=once)
    planned = arranged(meta.spec, (proposal.trial for proposal in proposals))
    return meta.model_copy(update={"planned": planned, "cells": cells})


def arranged(spec: SweepSpec, trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Each trial once, in table order; trials of one search cell in the order proposed."""
    unique = {trial.trial_id: trial for trial in trials}
    labels = [entry.label for entry in spec.implementations]
    places: dict[str, dict[str, int]] = {}  # axis -> value -> its place on the axis
    for axis in spec.axes:
        if axis not in spec.searched:
            places[axis] = {}
            for at, value in enumerate(spec.listed(axis)):
                places[axis][json.dumps(value)] = at
    order = [axis for axis in places if axis != spec.frontier.axis]
    if spec.frontier.axis in places:
        order.append(spec.frontier.axis)  # a cell's probes stand together

    def place(trial: Trial) -> tuple[Any, ...]:
        key = [len(labels)]  # what the file no longer has comes last
        if trial.implementation in labels:
            key = [labels.index(trial.implementation)]
        for axis in order:
            text = json.dumps(trial.value(axis))
            key.append(places[axis].get(text, len(places[axis])))
        return tuple(key)

    return tuple(sorted(unique.values(), key=place))
