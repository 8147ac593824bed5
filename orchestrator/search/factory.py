"""Who answers "what next?": a grid, a frontier, a search; peers behind one protocol."""

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

QUEUED = 2  # attempts per slot, so that a slot never waits for the driver; what is predicted is decided late


def proposer_of(sweep: Sweep, trials: Sequence[Trial]) -> Proposer:
    """Who proposes the trials of this sweep; `trials`: those of a grid, in the order in which they are to be run.

    Raises:
        RequestError: a searcher cannot be made.
    """
    spec, cells = sweep.spec, sweep.plan.cells
    points = {cell.key: {axis: cell.stated[axis] for axis in spec.axes if axis in cell.stated} for cell in cells}
    if spec.search.active:
        return Cells({cell.key: _search(sweep, cell) for cell in cells}, times=True, points=points)
    if spec.frontier.axis is not None:
        frontiers = {cell.key: Frontier(cell, spec.frontier.axis) for cell in cells}
        return Cells(frontiers, times=False, points=points)
    return Grid(trials, 1 if spec.predict else QUEUED)


def bounds(sweep: Sweep) -> tuple[int, int]:
    """How many trials the sweep runs at least and at most."""
    cells, spec = sweep.plan.cells, sweep.spec
    if spec.search.active:
        size = Space.of(spec).size
        first = len(spec.search.first)
        most = spec.search.samples if size is None else min(spec.search.samples, size + first)
        return len(cells), len(cells) * max(first, most)
    if (axis := spec.frontier.axis) is not None:
        found = [probes([trial.value(axis) for trial in cell.trials]) for cell in cells]
        return sum(least for least, _ in found), sum(most for _, most in found)
    return len(sweep.trials), len(sweep.trials)


def _search(sweep: Sweep, cell: Cell) -> Search:
    spec = sweep.spec
    space = Space.of(spec)
    wanted = wanted_by(sweep.only, option_names(spec))

    def make(values: Mapping[str, Any]) -> Trial | None:
        expansion = Expansion(spec, sweep.workload, sweep.document)
        trial = expansion.trial(cell.entry, Point({**cell.stated, **values}))
        return trial if trial is not None and wanted(trial) else None

    return Search(cell, spec.search, space, _sampler(sweep, cell, space), make)


def _sampler(sweep: Sweep, cell: Cell, space: Space) -> Sampler:
    search = sweep.spec.search
    seed = sweep.spec.seed if search.seed is None else search.seed
    if search.strategy == RANDOM:
        return RandomSampler(space, f"{seed} {cell.key}")
    from orchestrator.search.tune import TuneSampler

    return TuneSampler(search, space, int(content_hash([seed, cell.key], 7), 16))
