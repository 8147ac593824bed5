"""proposals.jsonl: what the proposer of a sweep asked for, one trial a line, written before it is run.

A line of another kind says, where a sweep goes on with a changed file, which of the proposals before it still count.
That is for their proposer to know: nobody could tell later from the values of a trial alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.model import FrozenModel
from orchestrator.results.meta import CellMeta, SweepMeta
from orchestrator.spec.models import SweepSpec
from orchestrator.trial import Trial

FILE_NAME = "proposals.jsonl"


class Proposal(FrozenModel):
    """A trial that a proposer asked for.

    Attributes:
        trial: what to run.
        cell: the question that it belongs to; "" where there is but one.
        after: how many records the journal held then: what the proposer had been told.
        coordinates: where in the space of a search it lies; None: nowhere a searcher knows of.
        point: axis -> value as the file states it, of the question's axes that are not asked after.
    """

    trial: Trial
    cell: str = ""
    after: int = 0
    coordinates: dict[str, int | float] | None = None
    point: dict[str, Any] | None = None


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
    """Note which of the proposals so far still count, unless that is known.

    Raises:
        OSError: it cannot be written.
    """
    kept = tuple(map(_name, proposals))
    if set(kept) != set(map(_name, current(directory))):
        _append(directory, [Kept(kept=kept)])


def _name(proposal: Proposal) -> tuple[str, str]:
    return proposal.trial.trial_id, proposal.cell


def _append(directory: Path, lines: Sequence[FrozenModel]) -> None:
    with (directory / FILE_NAME).open("ab") as file:
        if file.tell() and not _ends_in_newline(directory / FILE_NAME):
            file.write(b"\n")  # after a line that was torn when the driver died
        file.writelines(f"{line.model_dump_json()}\n".encode() for line in lines)
        file.flush()
        os.fsync(file.fileno())


def read(directory: Path) -> list[Proposal]:
    """All proposals in their order; torn lines are left out: nothing of theirs was run."""
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
    for line in path.read_bytes().splitlines() if path.exists() else ():
        for kind in (Proposal, Kept):
            with suppress(ValidationError):
                yield kind.model_validate_json(line)


def asked(meta: SweepMeta, proposals: Sequence[Proposal]) -> SweepMeta:
    """The sweep with what was proposed as what is planned, question by question."""
    cells: dict[str, CellMeta] = {}
    for proposal in proposals:
        held = cells.get(proposal.cell)
        before = () if held is None else held.trials
        trials = tuple(dict.fromkeys((*before, proposal.trial.trial_id)))
        cells[proposal.cell] = CellMeta(point=proposal.point, trials=trials)
    planned = arranged(meta.spec, (proposal.trial for proposal in proposals))
    return meta.model_copy(update={"planned": planned, "cells": cells})


def arranged(spec: SweepSpec, trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Each trial once, in the order of a table: by implementation and axes; a search's in the order proposed."""
    unique = {trial.trial_id: trial for trial in trials}
    labels = [entry.label for entry in spec.implementations]
    places = {
        axis: {json.dumps(value): at for at, value in enumerate(spec.listed(axis))}
        for axis in spec.axes
        if axis not in spec.searched
    }
    last = [axis for axis in places if axis == spec.frontier.axis]
    order = [*(axis for axis in places if axis not in last), *last]

    def place(trial: Trial) -> tuple[Any, ...]:
        label = labels.index(trial.implementation) if trial.implementation in labels else len(labels)
        return label, *(places[axis].get(json.dumps(trial.value(axis)), len(places[axis])) for axis in order)

    return tuple(sorted(unique.values(), key=place))


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
