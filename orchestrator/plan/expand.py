"""Expands a sweep file into trials: pure, deterministic, each step of the count explained."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

EXAMPLES = 1000  # points tried at most to find one that a search may run
# How many values of a searched param are asked for the GPUs they need, and how many points at each.
VALUES_ASKED, POINTS_ASKED = 16, 8


@dataclass(frozen=True)
class Step:
    """One step from the product to the count: its text, the trials left, the trials removed."""

    text: str
    left: int
    removed: int = 0


@dataclass(frozen=True)
class Cell:
    """One search group: one implementation at one point of the axes that are not searched.

    Attributes:
        entry: the implementation.
        stated: the values of the other axes, as the file states them.
        trials: of a frontier the possible probes, in the order of its axis; of a search one valid
            trial, as an example.
    """

    entry: ImplementationSpec
    stated: Mapping[str, Any]
    trials: tuple[Trial, ...]

    @property
    def key(self) -> str:
        """Identifies this cell within its sweep."""
        return content_hash([self.entry.label, dict(self.stated)])


@dataclass(frozen=True)
class Plan:
    """The trials in table order, and why there are that many.

    Table order: implementation outermost, then the axes, the first slowest.

    Attributes:
        trials: of a grid all; of a frontier all possible probes; of a search one of each cell.
        steps: from the product to the count.
        cells: the search groups of a search or a frontier; empty for a grid.
    """

    trials: tuple[Trial, ...]
    steps: tuple[Step, ...]
    cells: tuple[Cell, ...] = ()

    def explain(self) -> list[str]:
        """One line a step."""
        return [step.text for step in self.steps]


def expand(
    spec: SweepSpec, workload: Workload, document: Document, only: str | None = None
) -> Plan:
    """Every trial of the sweep for which the expression `only` holds.

    `only` may also read `implementation`, and options (null for a trial that has no such option).

    Raises:
        SweepFileError: at any point, the workload's model refuses params or an expression fails.
        ExpressionError: `only` fails.
    """
    if spec.searched:
        return _searches(spec, workload, document, only)
    state = Expansion(spec, workload, document)
    found: dict[str, Trial] = {}
    cells: dict[str, Cell] = {}  # of a frontier
    probes: dict[str, list[Trial]] = {}  # of each cell, by its key
    repeated = 0
    for entry, point in _product(spec, state):
        trial = state.trial(entry, point)
        if trial is None:
            continue
        if trial.trial_id in found:
            repeated += 1
            trial = found[trial.trial_id]
        found[trial.trial_id] = trial
        if spec.frontier.axis is not None:  # a trial may be a probe of several cells
            stated = dict(point.stated)
            stated.pop(spec.frontier.axis, None)
            cell = Cell(entry, stated, ())
            cells.setdefault(cell.key, cell)
            probes.setdefault(cell.key, []).append(trial)
    state.refuse()
    steps = tuple(_steps(spec, state.removed, repeated))
    whole = [replace(cell, trials=tuple(probes[key])) for key, cell in cells.items()]
    return select(Plan(tuple(found.values()), steps, tuple(whole)), only)


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
    step = Step(f"- {removed} not selected by --only {only!r}", len(kept), removed)
    cells = []
    for cell in plan.cells:
        trials = tuple(filter(wanted, cell.trials))
        if trials:
            cells.append(replace(cell, trials=trials))
    return Plan(kept, (*plan.steps, step), tuple(cells))


def wanted_by(only: str | None, names: Iterable[str]) -> Callable[[Trial], bool]:
    """Tests a trial by the expression `only`; of `names` those that it lacks are null."""
    if only is None:
        return lambda _: True
    known = dict.fromkeys(names)
    return lambda trial: condition(only, {**known, **trial.names()})


def known_names(trials: Iterable[Trial]) -> set[str]:
    """The names that an expression may read of any of these trials."""
    names: set[str] = set()
    for trial in trials:
        names.update(trial.names())
    return names


def _product(spec: SweepSpec, state: Expansion) -> Iterator[tuple[ImplementationSpec, Point]]:
    """The product, entry by entry.

    Entries with the same params share their points, so that what is derived, and what the
    workload's model says, is computed once for all of them.
    """
    shared: dict[str, list[Point]] = {}
    names: list[str] = []
    columns: list[Sequence[Sequence[Any]]] = []
    for group, values in axis_groups(spec):  # the axes of a group move together
        names.extend(group)
        columns.append(values)
    for entry in spec.implementations:
        key = json.dumps(entry.params, sort_keys=True)
        if key not in shared:
            fixed = state.fixed(entry)
            shared[key] = []
            for combination in itertools.product(*columns):
                chosen = zip(names, itertools.chain.from_iterable(combination), strict=True)
                shared[key].append(Point({**fixed, **dict(chosen)}))
        for point in shared[key]:
            yield entry, point


def _searches(spec: SweepSpec, workload: Workload, document: Document, only: str | None) -> Plan:
    """One cell for each implementation at each point of the axes that are not searched."""
    space = Space.of(spec)
    wanted = wanted_by(only, option_names(spec))
    whole = Expansion(spec, workload, document)
    cells: list[Cell] = []
    empty = 0
    for entry, point in _product(spec, whole):
        # what is wrong with points that were tried counts only where none of the cell can be run
        tried = Expansion(spec, workload, document)
        example = _example(entry, point, space, tried, wanted)
        if example is not None:
            cells.append(Cell(entry, point.stated, (example,)))
        elif tried.problems:
            fields = set()
            for key, problem in tried.problems.items():  # of each field the first problem
                if key[0] not in fields:
                    fields.add(key[0])
                    whole.problems[key] = problem
        else:
            empty += 1
    whole.refuse()
    steps = tuple(_search_steps(spec, space, empty))
    return Plan(tuple(cell.trials[0] for cell in cells), steps, tuple(cells))


def _example(
    entry: ImplementationSpec,
    point: Point,
    space: Space,
    state: Expansion,
    wanted: Callable[[Trial], bool],
) -> Trial | None:
    """A trial that the search may run at this point; the one with most GPUs, if those are "auto".

    None if there is none among the points tried.
    """

    def make(values: Mapping[str, Any]) -> Trial | None:
        trial = state.trial(entry, Point({**point.stated, **values}))
        if trial is None or not wanted(trial):
            return None
        return trial

    for values in _points_to_try(space):
        trial = make(values)
        if trial is None:
            continue
        if state.spec.resources.gpus == "auto":
            return _most_gpus(trial, values, space, state.workload, make)
        return trial
    return None


def _most_gpus(
    example: Trial,
    values: Mapping[str, Any],
    space: Space,
    workload: Workload,
    make: Callable[..., Trial | None],
) -> Trial:
    """The neighbour of `example` that needs the most GPUs, param by searched param.

    Slots are created before the search proposes anything, so they must fit every trial it may
    propose.
    """
    best, most = example, _gpus(workload, example)
    generator = random.Random(0)
    for dimension in space.free:
        if dimension.name.startswith("options."):  # GPUs depend on params alone
            continue
        for value in dimension.spread(VALUES_ASKED):
            # The other params may make the value invalid: then points drawn at random are tried.
            place = {**values, dimension.name: value}
            neighbour = make(place)
            for _ in range(POINTS_ASKED):
                if neighbour is not None:
                    break
                place = {**space.values(space.draw(generator)), dimension.name: value}
                neighbour = make(place)
            if neighbour is None:
                continue
            needed = _gpus(workload, neighbour)
            if needed > most:
                best, values, most = neighbour, place, needed
    return best


def _gpus(workload: Workload, trial: Trial) -> int:
    """How many GPUs a trial takes; 0 if the workload's function fails."""
    with suppress(Exception):  # a user's function; placing the trial reports its error
        params = workload.params.model_validate_json(trial.params_of(workload.params))
        return int(workload.gpus(params))
    return 0


def _points_to_try(space: Space) -> Iterator[dict[str, Any]]:
    """Points of the space: the first; then all in order if they are few, else some at random."""
    first = {}
    for free in space.free:
        first[free.name] = 0 if free.by_index else getattr(free.axis, "low", 0)
    yield space.values(first)
    if space.size is not None and space.size <= EXAMPLES:
        names = [dimension.name for dimension in space.dimensions]
        values = [dimension.spread(EXAMPLES) for dimension in space.dimensions]
        for point in itertools.product(*values):
            yield dict(zip(names, point, strict=True))
        return
    generator = random.Random(0)
    for _ in range(EXAMPLES - 1):
        yield space.values(space.draw(generator))


def _search_steps(spec: SweepSpec, space: Space, empty: int) -> Iterator[Step]:
    left = product_size(spec)
    noun = "search" if left == 1 else "searches"
    yield Step(f"{factors(spec)} = {left} {noun}", left)
    if empty:
        left -= empty
        text = f"- {empty} of which no point is left by exclude and --only = {left} searches"
        yield Step(text, left, empty)
    most, points = spec.search.samples, ""
    if space.size is not None:  # None: the space is not finite
        most, points = min(most, space.size), f" of {space.size}"
    text = f"{spec.search.strategy} over {space}: at most {most}{points} points each"
    yield Step(text, left * most)


def _steps(spec: SweepSpec, removed: Mapping[str, int], repeated: int) -> Iterator[Step]:
    left = product_size(spec)
    yield Step(f"{factors(spec)} = {left} trials", left)
    for rule, count in removed.items():
        left -= count
        yield Step(f"- {count} excluded by {rule!r} = {left} trials", left, count)
    if repeated:  # a derived value, or a default that is stated, can make two points one trial
        left -= repeated
        yield Step(f"- {repeated} the same as an earlier one = {left} trials", left, repeated)
    if spec.resources.per_accelerator:
        text = (
            f"so many on each model of accelerator that the cluster has (per_accelerator): {left}"
        )
        yield Step(text, left)
