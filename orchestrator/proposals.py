"""proposals.jsonl: what the proposer of a sweep asked for, one trial a line, written before it is run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.rows import value_of
from orchestrator.spec import Model, SweepSpec
from orchestrator.stated import Statement
from orchestrator.trial import Trial

FILE_NAME = "proposals.jsonl"


class Proposal(Model):
    """A trial that a proposer asked for.

    Attributes:
        trial: what to run.
        cell: the question that it belongs to; "" where there is but one.
        after: how many records the journal held then: what the proposer had been told.
        coordinates: where in the space of a search it lies; None: nowhere a searcher knows of.
    """

    trial: Trial
    cell: str = ""
    after: int = 0
    coordinates: dict[str, int | float] | None = None


def append(directory: Path, proposals: Sequence[Proposal]) -> None:
    """Add proposals and wait until they are on disk.

    Raises:
        OSError: they cannot be written.
    """
    with (directory / FILE_NAME).open("ab") as file:
        if file.tell() and not _ends_in_newline(directory / FILE_NAME):
            file.write(b"\n")  # after a line that was torn when the driver died
        file.writelines(f"{proposal.model_dump_json()}\n".encode() for proposal in proposals)
        file.flush()
        os.fsync(file.fileno())


def read(directory: Path) -> list[Proposal]:
    """The proposals in their order; torn lines are left out: nothing of theirs was run."""
    path = directory / FILE_NAME
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with suppress(ValidationError):
            found.append(Proposal.model_validate_json(line))
    return found


def arranged(spec: SweepSpec, trials: Iterable[Trial], only: str | None = None) -> tuple[Trial, ...]:
    """Each trial that the sweep still asks for once, in the order of a table: by implementation and axes.

    Those of a search come in the order proposed. `only`: the expression that chose the trials, if one did.
    """
    unique = {trial.trial_id: trial for trial in Statement(spec, only).current(trials)}
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
        return label, *(places[axis].get(json.dumps(value_of(trial, axis)), len(places[axis])) for axis in order)

    return tuple(sorted(unique.values(), key=place))


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
