"""Makes the proposer that a sweep file asks for: grid, frontier or search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.plan.expand import Cell, wanted_by
from orchestrator.plan.point import Expansion, Point
from orchestrator.plan.sweep import Sweep
from orchestrator.search.base import Proposal, Proposer
from orchestrator.search.cells import Cells
from orchestrator.search.frontier import Frontier, probes
from orchestrator.search.grid import Grid
from orchestrator.search.sampler import RandomSampler, Sampler
from orchestrator.search.searcher import Search
from orchestrator.spec.product import option_names
from orchestrator.spec.search_space import Space
from orchestrator.spec.searchers import RANDOM
from orchestrator.trial import Trial, content_hash

__all__ = ["Proposal", "Proposer", "bounds", "proposer_of"]

QUEUED = 2  # attempts per slot, so that a slot never waits for the driver


def proposer_of(sweep: Sweep, trials: Sequence[Trial]) -> Proposer:
    """The proposer of this sweep.

    Args:
        sweep: what is asked for.
        trials: those of a grid, in the order in which they are to be run.

    Raises:
        RequestError: a searcher cannot be made.
    """
    spec, cells = sweep.spec, sweep.plan.cells
    points = {}
    for cell in cells:
        points[cell.key] = {axis: cell.stated[axis] for axis in spec.axes if axis in cell.stated}
    if spec.search.active:
        searches = {cell.key: _search(sweep, cell) for cell in cells}
        return Cells(searches, times=True, points=points)
    if spec.frontier.axis is not None:
        frontiers = {cell.key: Frontier(cell, spec.frontier.axis) for cell in cells}
        return Cells(frontiers, times=False, points=points)
    if spec.predict:  # an attempt started late can be predicted from more results
        return Grid(trials, ahead=1)
    return Grid(trials, ahead=QUEUED)


def bounds(sweep: Sweep) -> tuple[int, int]:
    """How many trials the sweep runs at least and at most."""
    cells, spec = sweep.plan.cells, sweep.spec
    if spec.search.active:
        size = Space.of(spec).size
        first = len(spec.search.first)
        samples = spec.search.samples
        if size is not None:
            samples = min(samples, size + first)
        return len(cells), len(cells) * max(first, samples)
    axis = spec.frontier.axis
    if axis is not None:
        at_least, at_most = 0, 0
        for cell in cells:
            least, most = probes([trial.value(axis) for trial in cell.trials])
            at_least += least
            at_most += most
        return at_least, at_most
    return len(sweep.trials), len(sweep.trials)


def _search(sweep: Sweep, cell: Cell) -> Search:
    spec = sweep.spec
    space = Space.of(spec)
    wanted = wanted_by(sweep.only, option_names(spec))

    def make(values: Mapping[str, Any]) -> Trial | None:
        expansion = Expansion(spec, sweep.workload, sweep.document)
        trial = expansion.trial(cell.entry, Point({**cell.stated, **values}))
        if trial is None or not wanted(trial):
            return None
        return trial

    return Search(cell, spec.search, space, _sampler(sweep, cell, space), make)


def _sampler(sweep: Sweep, cell: Cell, space: Space) -> Sampler:
    search = sweep.spec.search
    seed = sweep.spec.seed if search.seed is None else search.seed
    if search.strategy == RANDOM:
        return RandomSampler(space, f"{seed} {cell.key}")
    from orchestrator.search.tune import TuneSampler

    return TuneSampler(search, space, int(content_hash([seed, cell.key], 7), 16))
