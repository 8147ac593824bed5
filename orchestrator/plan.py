"""The trials of a sweep, worked out from its file: pure, deterministic, and explained."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from orchestrator.derivation import Derivation, UnderivableError, is_derived, numeric_fields
from orchestrator.errors import ExpressionError, Problem, SweepFileError
from orchestrator.expression import condition
from orchestrator.spec import ImplementationSpec, SweepSpec
from orchestrator.sweepfile import Document, Path_, worded
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


@dataclass(slots=True)
class _Point:
    """A point of the product.

    Attributes:
        stated: params and options as the file states them.
        values: the same, worked out; empty until they are.
        params, options: as a trial has them, params as the workload's model holds them.
        refused: whether that model refused them; None: not asked.
    """

    stated: dict[str, Any]
    values: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    refused: bool | None = None


@dataclass
class _Expansion:
    """State of one expansion: the counts per exclude, and the problems found.

    Attributes:
        options: every option that some entry has, null where it is not stated.
        points: the product for each way in which entries state their own params.
    """

    spec: SweepSpec
    workload: Workload
    document: Document
    numeric: frozenset[str]
    defaults: Mapping[str, Any]
    options: Mapping[str, None]
    removed: dict[str, int] = field(default_factory=dict)
    points: dict[str, list[_Point]] = field(default_factory=dict)
    problems: dict[tuple[str, str, str | None], Problem] = field(default_factory=dict)

    def report(self, problem: Problem) -> None:
        """Keep the problem, once for all points of the product that it spoils."""
        self.problems.setdefault((problem.field, problem.rule, problem.found), problem)

    def refuse(self) -> None:
        if not self.problems:
            return
        shown = list(self.problems.values())[:MAX_PROBLEMS]
        more = len(self.problems) - len(shown)
        raise SweepFileError(
            self.document.name, [*shown, *([Problem("file", f"and {more} more of this kind")] if more else [])]
        )


def product_size(spec: SweepSpec) -> int:
    """How many trials the product has before anything is excluded; zipped axes count once."""
    return len(spec.implementations) * math.prod(len(values) for _, values in _groups(spec))


def expand(spec: SweepSpec, workload: Workload, document: Document) -> Plan:
    """Every trial of the sweep.

    Raises:
        SweepFileError: params that the workload's model refuses, or expressions that fail, at any point of the product.
    """
    removed = dict.fromkeys(spec.exclude, 0)
    options = dict.fromkeys(f"options.{name}" for entry in spec.implementations for name in entry.options)
    numeric, defaults = numeric_fields(workload.params), _defaults(workload)
    state = _Expansion(spec, workload, document, numeric, defaults, options, removed)
    trials = [trial for entry in spec.implementations for trial in _trials_of(entry, state)]
    state.refuse()
    unique = {trial.trial_id: trial for trial in trials}
    return Plan(tuple(unique.values()), tuple(_steps(spec, state.removed, len(trials) - len(unique))))


def select(plan: Plan, only: str | None) -> Plan:
    """The plan's trials for which the expression `only` holds.

    It also knows `implementation`, and the options of the implementations (null where a trial has none).

    Raises:
        ExpressionError: the expression fails.
    """
    if only is None:
        return plan
    known = dict.fromkeys(known_names(plan.trials))
    kept = tuple(trial for trial in plan.trials if condition(only, {**known, **names_of(trial)}))
    removed = len(plan.trials) - len(kept)
    return Plan(kept, (*plan.steps, Step(f"- {removed} not selected by --only {only!r}", len(kept), removed)))


def names_of(trial: Trial) -> dict[str, Any]:
    """What an expression may read of a trial: its params, its options as options.<name>, its implementation."""
    options = {f"options.{name}": value for name, value in trial.options.items()}
    return {**trial.params, **options, "implementation": trial.implementation}


def known_names(trials: Iterable[Trial]) -> set[str]:
    """What an expression may read of any of these trials."""
    return {name for trial in trials for name in names_of(trial)}


def _groups(spec: SweepSpec) -> Iterator[tuple[tuple[str, ...], list[tuple[Any, ...]]]]:
    """Axes that move together, and their points; a group stands where its first axis stands."""
    done: set[str] = set()
    for axis in spec.axes:
        if axis in done:
            continue
        names = next((group for group in spec.zip if axis in group), (axis,))
        done.update(names)
        yield names, list(zip(*(spec.axes[name] for name in names), strict=True))


def _points(entry: ImplementationSpec, state: _Expansion) -> list[_Point]:
    """The product as this entry states it; entries with the same params share their points."""
    key = json.dumps(entry.params, sort_keys=True)
    if key not in state.points:
        groups = list(_groups(state.spec))
        names = [name for group, _ in groups for name in group]
        fixed = {**state.spec.constants, **entry.params}
        product = itertools.product(*(points for _, points in groups))
        flat = (itertools.chain.from_iterable(point) for point in product)
        state.points[key] = [_Point({**fixed, **dict(zip(names, point, strict=True))}) for point in flat]
    return state.points[key]


def _trials_of(entry: ImplementationSpec, state: _Expansion) -> Iterator[Trial]:
    fixed = {**state.spec.constants, **entry.params}
    derivation = Derivation(name for name in state.numeric if _ever_derived(name, fixed, state.spec))
    for point in _points(entry, state):
        try:
            point.values = point.values or derivation.values(point.stated, state.defaults)
        except UnderivableError as error:
            place, found = _Place(entry, point.stated, state), point.stated[error.name]
            state.report(state.document.problem(place.of(error.name), str(error), found, hint=place.hint))
            continue
        if not _excluded(entry, point, state) and _resolve(entry, point, state):
            yield Trial.of(
                implementation=entry.label,
                use=entry.use,
                params=point.params,
                options={**point.options, **entry.options},
            )


def _resolve(entry: ImplementationSpec, point: _Point, state: _Expansion) -> bool:
    """Have the workload's model look at the params, once for all entries that share them; False: it refuses them."""
    if point.refused is None:
        own = [name for name in point.values if name.startswith("options.")]
        point.options = {name.removeprefix("options."): point.values[name] for name in own}
        plain = {name: value for name, value in point.values.items() if name not in own} if own else point.values
        try:
            params = state.workload.params.model_validate_json(json.dumps(plain), strict=True)
            point.params = params.model_dump(mode="json", exclude={"device"})
            point.refused = False
        except ValidationError as error:
            point.refused = True
            for problem in _refusals(error, _Place(entry, point.stated, state)):
                state.report(problem)
    return not point.refused


def _ever_derived(name: str, fixed: Mapping[str, Any], spec: SweepSpec) -> bool:
    return any(map(is_derived, spec.axes[name])) if name in spec.axes else is_derived(fixed.get(name))


def _excluded(entry: ImplementationSpec, point: _Point, state: _Expansion) -> bool:
    """Whether an exclude rule takes this point away; the first that holds is the one that counts."""
    if not state.spec.exclude:
        return False
    own = {f"options.{name}": value for name, value in entry.options.items()}
    names = {**state.options, **state.defaults, **point.values, **own, "implementation": entry.label}
    for index, rule in enumerate(state.spec.exclude):
        try:
            if condition(rule, names):
                state.removed[rule] += 1
                return True
        except ExpressionError as error:
            hint = _Place(entry, point.stated, state).hint
            state.report(state.document.problem(("exclude", index), str(error), hint=hint))
    return False


def _defaults(workload: Workload) -> dict[str, Any]:
    fields = workload.params.model_fields.items()
    return {name: info.get_default(call_default_factory=True) for name, info in fields if not info.is_required()}


@dataclass(frozen=True)
class _Place:
    """A point of the product, for messages: where in the file its values are stated."""

    entry: ImplementationSpec
    stated: Mapping[str, Any]
    state: _Expansion

    @property
    def hint(self) -> str:
        """The point itself: at standard, batch 1, seq_len 1024."""
        axes = [f"{name} {json.dumps(self.stated[name])}" for name in self.state.spec.axes]
        return f"at {', '.join([self.entry.label, *axes])}"

    def of(self, name: str) -> Path_:
        """Where the field is stated: by the entry, on an axis, among the constants, or nowhere."""
        spec = self.state.spec
        if name in self.entry.params:
            return "implementations", spec.implementations.index(self.entry), "params", name
        if name in spec.axes:
            values = enumerate(spec.axes[name])  # by identity: True equals 1
            return "axes", name, next(index for index, value in values if value is self.stated[name])
        return ("constants", name) if name in spec.constants else ("axes",)

    def mentioned(self, rule: str) -> Path_:
        """Where the field that a rule speaks of first is stated."""
        named = sorted((name for name in self.stated if name in rule), key=lambda name: (rule.find(name), -len(name)))
        return self.of(named[0] if named else "")


def _refusals(error: ValidationError, place: _Place) -> Iterator[Problem]:
    document, workload = place.state.document, place.state.workload
    for item in error.errors():
        name = str(item["loc"][0]) if item["loc"] else ""
        raised = item.get("ctx", {}).get("error")
        if item["type"] == "missing":
            rule = f"required by workload {workload.name}, and given neither in axes nor in constants"
            yield document.problem(("axes", name), rule)
        elif raised is not None:
            found = item["input"] if name else ...
            at = place.of(name) if name else place.mentioned(str(raised))
            yield document.problem(at, str(raised), found, hint=place.hint)
        else:
            yield document.problem(place.of(name), worded(item["msg"]), item["input"], hint=place.hint)


def _steps(spec: SweepSpec, removed: Mapping[str, int], repeated: int) -> Iterator[Step]:
    count = len(spec.implementations)
    factors = [f"{count} implementation{'s' if count != 1 else ''}"]
    factors += [f"{len(points)} {' with '.join(names)}" for names, points in _groups(spec)]
    left = product_size(spec)
    yield Step(f"{' x '.join(factors)} = {left} trials", left)
    for rule, taken in removed.items():
        left -= taken
        yield Step(f"- {taken} excluded by {rule!r} = {left} trials", left, taken)
    if repeated:  # a value worked out, or a default stated, can make two points one
        left -= repeated
        yield Step(f"- {repeated} the same as an earlier one = {left} trials", left, repeated)
