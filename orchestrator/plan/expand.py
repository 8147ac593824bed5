"""The trials of a sweep, worked out from its file: pure, deterministic, and explained."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.plan.point import Expansion, Point
from orchestrator.spec.expression import condition
from orchestrator.spec.loading import Document
from orchestrator.spec.models import ImplementationSpec, SweepSpec
from orchestrator.spec.product import axis_groups, factors, option_names, product_size
from orchestrator.spec.search_space import Space
from orchestrator.trial import Trial, content_hash
from orchestrator.workload import Workload

EXAMPLES = 1000  # points tried to find one that a search may run; all, where there are no more
SPREAD, BESIDE = 16, 8  # values of a searched param that are asked how many GPUs they take, and points at each


@dataclass(frozen=True)
class Step:
    """One step from the product to the count: what it is, how many trials it took away, how many are left."""

    text: str
    left: int
    removed: int = 0


@dataclass(frozen=True)
class Cell:
    """One question of a search or a frontier: one implementation at one point of the axes that are not asked after.

    Attributes:
        entry: the implementation.
        stated: params and options that are given, as the file states them.
        trials: of a frontier what may be probed, in the order of its axis; of a search one point that it may run.
    """

    entry: ImplementationSpec
    stated: Mapping[str, Any]
    trials: tuple[Trial, ...]

    @property
    def key(self) -> str:
        """What tells this cell from every other of its sweep."""
        return content_hash([self.entry.label, dict(self.stated)])


@dataclass(frozen=True)
class Plan:
    """The trials in table order (implementation outermost, first axis slowest) and why there are that many.

    Attributes:
        trials: of a grid all; of a frontier all that may be probed; of a search one of each cell.
        steps: from the product to the count.
        cells: the questions of a search or a frontier; none in a grid.
    """

    trials: tuple[Trial, ...]
    steps: tuple[Step, ...]
    cells: tuple[Cell, ...] = ()

    def explain(self) -> list[str]:
        """One line a step."""
        return [step.text for step in self.steps]


def expand(spec: SweepSpec, workload: Workload, document: Document, only: str | None = None) -> Plan:
    """Every trial of the sweep for which the expression `only` holds.

    It also knows `implementation`, and the options of the implementations (null where a trial has none).

    Raises:
        SweepFileError: params that the workload's model refuses, or expressions that fail, at any point of the product.
        ExpressionError: `only` fails.
    """
    if spec.searched:
        return _searches(spec, workload, document, only)
    state = Expansion(spec, workload, document)
    found: dict[str, Trial] = {}
    asked: dict[str, tuple[Cell, list[Trial]]] = {}
    repeated = 0
    for entry, point in _product(spec, state):
        if (trial := state.trial(entry, point)) is None:
            continue
        repeated += trial.trial_id in found
        trial = found.setdefault(trial.trial_id, trial)
        if spec.frontier.axis is not None:  # a trial may be a probe of several cells
            stated = {name: value for name, value in point.stated.items() if name != spec.frontier.axis}
            cell = Cell(entry, stated, ())
            asked.setdefault(cell.key, (cell, []))[1].append(trial)
    state.refuse()
    steps = tuple(_steps(spec, state.removed, repeated))
    cells = tuple(replace(cell, trials=tuple(trials)) for cell, trials in asked.values())
    return select(Plan(tuple(found.values()), steps, cells), only)


def select(plan: Plan, only: str | None) -> Plan:
    """The plan's trials for which the expression `only` holds.

    Raises:
        ExpressionError: the expression fails.
    """
    if only is None:
        return plan
    wanted = wanted_by(only, known_names(plan.trials))
    kept = tuple(trial for trial in plan.trials if wanted(trial))
    removed = len(plan.trials) - len(kept)
    left = (replace(cell, trials=tuple(filter(wanted, cell.trials))) for cell in plan.cells)
    steps = (*plan.steps, Step(f"- {removed} not selected by --only {only!r}", len(kept), removed))
    return Plan(kept, steps, tuple(cell for cell in left if cell.trials))


def wanted_by(only: str | None, names: Iterable[str]) -> Callable[[Trial], bool]:
    """Whether the expression `only` holds for a trial; `names` are null where it has no such option."""
    if only is None:
        return lambda _: True
    known = dict.fromkeys(names)
    return lambda trial: condition(only, {**known, **trial.names()})


def known_names(trials: Iterable[Trial]) -> set[str]:
    """What an expression may read of any of these trials."""
    return {name for trial in trials for name in trial.names()}


def _product(spec: SweepSpec, state: Expansion) -> Iterator[tuple[ImplementationSpec, Point]]:
    """The product entry by entry; entries with the same params share their points."""
    shared: dict[str, list[Point]] = {}
    groups = list(axis_groups(spec))
    names = [name for group, _ in groups for name in group]
    for entry in spec.implementations:
        key = json.dumps(entry.params, sort_keys=True)
        if key not in shared:
            fixed = state.fixed(entry)
            product = itertools.product(*(points for _, points in groups))
            flat = (itertools.chain.from_iterable(point) for point in product)
            shared[key] = [Point({**fixed, **dict(zip(names, point, strict=True))}) for point in flat]
        yield from ((entry, point) for point in shared[key])


def _searches(spec: SweepSpec, workload: Workload, document: Document, only: str | None) -> Plan:
    """One cell for each implementation at each point of the axes that are not searched."""
    space = Space.of(spec)
    wanted = wanted_by(only, option_names(spec))
    whole = Expansion(spec, workload, document)
    cells, empty = list[Cell](), 0
    for entry, point in _product(spec, whole):
        tried = Expansion(spec, workload, document)
        example = _example(entry, point, space, tried, wanted)
        if example is not None:
            cells.append(Cell(entry, point.stated, (example,)))
        elif tried.problems:
            first = {key[0]: key for key in reversed(tried.problems)}  # of each field the first that was met
            whole.problems |= {key: found for key, found in tried.problems.items() if first[key[0]] == key}
        else:
            empty += 1
    whole.refuse()
    return Plan(tuple(cell.trials[0] for cell in cells), tuple(_search_steps(spec, space, empty)), tuple(cells))


def _example(
    entry: ImplementationSpec, point: Point, space: Space, state: Expansion, wanted: Callable[[Trial], bool]
) -> Trial | None:
    """A trial that the search may run at this point: of the first of its space, or one drawn, the hungriest kin."""

    def made(values: Mapping[str, Any]) -> Trial | None:
        trial = state.trial(entry, Point({**point.stated, **values}))
        return trial if trial is not None and wanted(trial) else None

    for values in _tried(space):
        if (trial := made(values)) is not None:
            return (
                _hungriest(trial, values, space, state.workload, made) if state.spec.resources.gpus == "auto" else trial
            )
    return None


def _hungriest(
    example: Trial, values: Mapping[str, Any], space: Space, workload: Workload, made: Callable[..., Trial | None]
) -> Trial:
    """The trial that takes most GPUs among those beside the example, searched param by searched param.

    Slots are made before a search proposes anything, and must have room for whatever it may.
    """
    best, most = example, _gpus(workload, example)
    chance = random.Random(0)
    for dimension in space.free:
        for value in [] if dimension.name.startswith("options.") else dimension.spread(SPREAD):
            others = (space.values(space.draw(chance)) for _ in range(BESIDE))
            moved = ({**other, dimension.name: value} for other in itertools.chain([values], others))
            found = next(((trial, point) for point in moved if (trial := made(point)) is not None), None)
            if found is not None and (needed := _gpus(workload, found[0])) > most:
                best, values, most = *found, needed
    return best


def _gpus(workload: Workload, trial: Trial) -> int:
    """How many GPUs a trial takes; 0 where the workload fails to say, which whoever places it reports."""
    with suppress(Exception):
        return int(workload.gpus(workload.params.model_validate_json(trial.params_of(workload.params))))
    return 0


def _tried(space: Space) -> Iterator[dict[str, Any]]:
    """Points of the space: the first; then all of them in order where they are few, else some drawn."""
    yield space.values(_first(space))
    if space.size is not None and space.size <= EXAMPLES:
        names = [dimension.name for dimension in space.dimensions]
        for point in itertools.product(*(dimension.spread(EXAMPLES) for dimension in space.dimensions)):
            yield dict(zip(names, point, strict=True))
        return
    chance = random.Random(0)
    yield from (space.values(space.draw(chance)) for _ in range(EXAMPLES - 1))


def _first(space: Space) -> dict[str, Any]:
    return {free.name: 0 if free.by_index else getattr(free.axis, "low", 0) for free in space.free}


def _search_steps(spec: SweepSpec, space: Space, empty: int) -> Iterator[Step]:
    left = product_size(spec)
    yield Step(f"{factors(spec)} = {left} {'search' if left == 1 else 'searches'}", left)
    if empty:
        left -= empty
        yield Step(f"- {empty} of which no point is left by exclude and --only = {left} searches", left, empty)
    samples = spec.search.samples
    most = samples if space.size is None else min(samples, space.size)
    points = "" if space.size is None else f" of {space.size}"
    yield Step(f"{spec.search.strategy} over {space}: at most {most}{points} points each", left * most)


def _steps(spec: SweepSpec, removed: Mapping[str, int], repeated: int) -> Iterator[Step]:
    left = product_size(spec)
    yield Step(f"{factors(spec)} = {left} trials", left)
    for rule, taken in removed.items():
        left -= taken
        yield Step(f"- {taken} excluded by {rule!r} = {left} trials", left, taken)
    if repeated:  # a value worked out, or a default stated, can make two points one
        left -= repeated
        yield Step(f"- {repeated} the same as an earlier one = {left} trials", left, repeated)
