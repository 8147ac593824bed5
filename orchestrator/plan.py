"""The trials of a sweep, worked out from its file: pure, deterministic, and explained."""

from __future__ import annotations

import itertools
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from orchestrator.errors import ExpressionError, Problem, SweepFileError
from orchestrator.expression import condition, expression, number
from orchestrator.spec import ImplementationSpec, SweepSpec
from orchestrator.sweepfile import Document
from orchestrator.trial import Trial
from orchestrator.workload import Workload

MAX_PROBLEMS = 10


@dataclass(frozen=True)
class Step:
    """One step from the product to the count: what it is, how many trials it took away, how many are left."""

    text: str
    left: int
    removed: int = 0


@dataclass(frozen=True)
class Plan:
    """The trials in table order (implementation outermost, first axis slowest) and why there are that many."""

    trials: tuple[Trial, ...]
    steps: tuple[Step, ...]

    def explain(self) -> list[str]:
        """One line a step."""
        return [step.text for step in self.steps]


@dataclass
class _Expansion:
    """State of one expansion: the counts per exclude, and the problems found."""

    spec: SweepSpec
    workload: Workload
    document: Document
    numeric: frozenset[str]
    removed: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    more: int = 0

    def report(self, problem: Problem) -> None:
        if any((known.field, known.rule) == (problem.field, problem.rule) for known in self.problems):
            return
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
        else:
            self.more += 1


def product_size(spec: SweepSpec) -> int:
    """How many trials the product has before anything is excluded; zipped axes count once."""
    return len(spec.implementations) * math.prod(len(values) for _, values in _groups(spec))


def expand(spec: SweepSpec, workload: Workload, document: Document) -> Plan:
    """Every trial of the sweep.

    Raises:
        SweepFileError: params that the workload's model refuses, or expressions that fail, at any point of the product.
    """
    state = _Expansion(spec, workload, document, numeric_fields(workload.params), dict.fromkeys(spec.exclude, 0))
    trials = [trial for entry in spec.implementations for trial in _trials_of(entry, state)]
    if state.problems:
        if state.more:
            state.problems.append(Problem("file", f"and {state.more} more of this kind"))
        raise SweepFileError(document.name, state.problems)
    return Plan(tuple(_unique(trials)), tuple(_steps(spec, state.removed)))


def select(plan: Plan, only: str | None) -> Plan:
    """The plan's trials for which the expression `only` holds (it also knows `implementation`).

    Raises:
        ExpressionError: the expression fails.
    """
    if only is None:
        return plan
    kept = tuple(trial for trial in plan.trials if condition(only, names_of(trial)))
    removed = len(plan.trials) - len(kept)
    return Plan(kept, (*plan.steps, Step(f"- {removed} not selected by --only {only!r}", len(kept), removed)))


def names_of(trial: Trial) -> dict[str, Any]:
    """What an expression may read of a trial: its params, its options as options.<name>, its implementation."""
    options = {f"options.{name}": value for name, value in trial.options.items()}
    return {**trial.params, **options, "implementation": trial.implementation}


def numeric_fields(model: type[BaseModel]) -> frozenset[str]:
    """The fields of a params model that want a number, alone or in a list, and never a string."""
    return frozenset(
        name
        for name, info in model.model_fields.items()
        if (kinds := set(_leaves(info.annotation))) & {int, float} and str not in kinds
    )


def _groups(spec: SweepSpec) -> Iterator[tuple[tuple[str, ...], list[tuple[Any, ...]]]]:
    """Axes that move together, and their points; a group stands where its first axis stands."""
    done: set[str] = set()
    for axis in spec.axes:
        if axis in done:
            continue
        names = next((group for group in spec.zip if axis in group), (axis,))
        done.update(names)
        yield names, list(zip(*(spec.axes[name] for name in names), strict=True))


def _trials_of(entry: ImplementationSpec, state: _Expansion) -> Iterator[Trial]:
    groups = list(_groups(state.spec))
    fixed = {**state.spec.constants, **entry.params}
    for point in itertools.product(*(points for _, points in groups)):
        stated = dict(fixed)
        for (names, _), values in zip(groups, point, strict=True):
            stated.update(zip(names, values, strict=True))
        trial = _trial_at(entry, stated, state)
        if trial is not None:
            yield trial


def _trial_at(entry: ImplementationSpec, stated: Mapping[str, Any], state: _Expansion) -> Trial | None:
    axes = {name: stated[name] for name in state.spec.axes}
    try:
        values = derive(stated, state.numeric)
        if _excluded(entry, values, state):
            return None
    except ExpressionError as error:
        state.report(state.document.problem(_place(str(error), state), f"{error}, at {_at(entry, axes)}"))
        return None
    options = {name.removeprefix("options."): value for name, value in values.items() if name.startswith("options.")}
    plain = {name: value for name, value in values.items() if not name.startswith("options.")}
    try:
        params = state.workload.params.model_validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        for problem in _refusals(error, entry, axes, state):
            state.report(problem)
        return None
    return Trial.of(
        implementation=entry.label,
        use=entry.use,
        params=params.model_dump(mode="json", exclude={"device"}),
        options={**options, **entry.options},
    )


def derive(stated: Mapping[str, Any], numeric: frozenset[str]) -> dict[str, Any]:
    """`stated` with every string that stands where a number is wanted worked out, in the order they need each other.

    Raises:
        ExpressionError: an expression that fails, or expressions that need each other in a circle.
    """
    values = dict(stated)
    waiting = {name for name in numeric & stated.keys() if any(isinstance(item, str) for item in _items(stated[name]))}
    while waiting:
        ready = {name for name in waiting if not _needs(stated[name]) & waiting}
        if not ready:
            raise ExpressionError(
                f"{', '.join(sorted(waiting))}: need each other in a circle; give one of them a number"
            )
        known = {name: value for name, value in values.items() if name not in waiting}
        for name in ready:
            items = [number(item, known) if isinstance(item, str) else item for item in _items(stated[name])]
            values[name] = items if isinstance(stated[name], list) else items[0]
        waiting -= ready
    return values


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _needs(value: Any) -> set[str]:
    return {name for item in _items(value) if isinstance(item, str) for name in expression(item).names}


def _excluded(entry: ImplementationSpec, values: Mapping[str, Any], state: _Expansion) -> bool:
    """Whether an exclude rule takes this point away; the first that holds is the one that counts."""
    names = {**_defaults(state.workload), **values, "implementation": entry.label}
    for rule in state.spec.exclude:
        if condition(rule, names):
            state.removed[rule] += 1
            return True
    return False


def _defaults(workload: Workload) -> dict[str, Any]:
    fields = workload.params.model_fields.items()
    return {name: info.get_default(call_default_factory=True) for name, info in fields if not info.is_required()}


def _refusals(
    error: ValidationError, entry: ImplementationSpec, axes: Mapping[str, Any], state: _Expansion
) -> Iterator[Problem]:
    for item in error.errors():
        name = str(item["loc"][0]) if item["loc"] else ""
        if item["type"] == "missing":
            rule = f"required by workload {state.workload.name}, and given neither in axes nor in constants"
            yield state.document.problem((name,), rule)
            continue
        raised = item.get("ctx", {}).get("error")
        rule = str(raised) if raised is not None else f"{item['msg'][:1].lower()}{item['msg'][1:]}"
        found = ... if raised is not None else item["input"]
        place = _place(rule, state, name)
        yield state.document.problem(place, f"{rule}, at {_at(entry, axes)}", found)


def _place(rule: str, state: _Expansion, name: str = "") -> tuple[str | int, ...]:
    """Where the field that a rule speaks of is stated: the one named, else the first one that the rule mentions."""
    spec = state.spec
    fields = [*spec.constants, *spec.axes]
    mentioned = name or next((known for known in sorted(fields, key=rule.find) if known in rule), "")
    if mentioned in spec.axes:
        return "axes", mentioned
    return ("constants", mentioned) if mentioned in spec.constants else ("axes",)


def _at(entry: ImplementationSpec, axes: Mapping[str, Any]) -> str:
    return ", ".join([entry.label, *(f"{name} {json.dumps(value)}" for name, value in axes.items())])


def _unique(trials: Sequence[Trial]) -> Iterator[Trial]:
    """Trials without repeats: a default stated on an axis can make two points one."""
    yield from {trial.trial_id: trial for trial in trials}.values()


def _steps(spec: SweepSpec, removed: Mapping[str, int]) -> Iterator[Step]:
    factors = [f"{len(spec.implementations)} implementations"]
    factors += [f"{len(points)} {' with '.join(names)}" for names, points in _groups(spec)]
    left = product_size(spec)
    yield Step(f"{' x '.join(factors)} = {left} trials", left)
    for rule, count in removed.items():
        left -= count
        yield Step(f"- {count} excluded by {rule!r} = {left} trials", left, count)


def _leaves(annotation: Any) -> Iterator[type]:
    """The scalar types that an annotation admits; a Literal admits the types of its values."""
    origin = get_origin(annotation)
    if origin is Literal:
        yield from (type(value) for value in get_args(annotation))
    elif origin in (types.UnionType, typing.Union) or origin is not None:
        for argument in get_args(annotation):
            yield from _leaves(argument)
    elif isinstance(annotation, type):
        yield annotation
