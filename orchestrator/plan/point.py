"""Makes a trial from one point of the axes, or says what is wrong with that point."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import ExpressionError, Problem, SweepFileError
from orchestrator.spec.axes import CASE_NAME, Range
from orchestrator.spec.expression import condition
from orchestrator.spec.loading import Document, Path_, near_literal, worded
from orchestrator.spec.models import ImplementationSpec, SweepSpec
from orchestrator.spec.params import (
    Derivation,
    UnderivableError,
    is_derived,
    numeric_fields,
    param_defaults,
)
from orchestrator.trial import Trial
from orchestrator.workload import Workload

MAX_PROBLEMS = 10
SEEDED = (
    "inputs needs none: Python's, NumPy's and torch's generators are seeded before it is called"
)


@dataclass(slots=True)
class Point:
    """A point of the product.

    Attributes:
        stated: params and options as the file states them.
        values: the same with derived values computed; empty until then.
        params, options: as a trial has them, params as the workload's model holds them.
        refused: whether that model refused the params; None: not asked yet.
    """

    stated: dict[str, Any]
    values: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    refused: bool | None = None


class Expansion:
    """Makes trials of points, counts what each exclude rule removes, and collects problems.

    Args:
        spec: the sweep file.
        workload: its model validates the params.
        document: the file, for the lines of problems.
    """

    def __init__(self, spec: SweepSpec, workload: Workload, document: Document) -> None:
        self.spec = spec
        self.workload = workload
        self.document = document
        self.removed = dict.fromkeys(spec.exclude, 0)
        self.problems: dict[tuple[str, str, str | None], Problem] = {}
        self._numeric = numeric_fields(workload.params)
        self._defaults = param_defaults(workload)
        self._options: dict[str, None] = {}  # for expressions: an option that a trial lacks is null
        for entry in spec.implementations:
            for name in entry.options:
                self._options[f"options.{name}"] = None
        self._derivations: dict[str, Derivation] = {}
        # Where the workload has a param of that name, a case's name is the param's value.
        self._names_cases = spec.cases is not None and CASE_NAME not in workload.params.model_fields

    def trial(self, entry: ImplementationSpec, point: Point) -> Trial | None:
        """The trial at a point; None if a rule excludes it, or it is a problem (which is kept)."""
        try:
            if not point.values:
                point.values = self._derivation(entry).values(point.stated, self._defaults)
        except UnderivableError as error:
            place = _Place(entry, point.stated, self)
            field, found = place.of(error.name), point.stated[error.name]
            self._report(self.document.problem(field, str(error), found, hint=place.hint))
            return None
        if self._excluded(entry, point) or not self._resolve(entry, point):
            return None
        options = {**point.options, **entry.options}
        return Trial.of(
            implementation=entry.label,
            use=entry.use,
            params=point.params,
            options=options,
            call=entry.call,
            compile_=entry.compile_options,
        )

    def refuse(self) -> None:
        """Refuse the file if any point was a problem.

        Raises:
            SweepFileError: one was; the first few are named.
        """
        if not self.problems:
            return
        shown = list(self.problems.values())[:MAX_PROBLEMS]
        more = len(self.problems) - len(shown)
        if more:
            shown.append(Problem("file", f"and {more} more of this kind"))
        raise SweepFileError(self.document.name, shown)

    def fixed(self, entry: ImplementationSpec) -> dict[str, Any]:
        """The params that are equal at every point of the entry."""
        return {**self.spec.constants, **entry.params}

    def _report(self, problem: Problem) -> None:
        """Keep the problem, once for all points that have it."""
        self.problems.setdefault((problem.field, problem.rule, problem.found), problem)

    def _derivation(self, entry: ImplementationSpec) -> Derivation:
        """The derived params of an entry, in the order in which they are computed."""
        if entry.label not in self._derivations:
            fixed = self.fixed(entry)
            names = (name for name in self._numeric if _ever_derived(name, fixed, self.spec))
            self._derivations[entry.label] = Derivation(names)
        return self._derivations[entry.label]

    def _resolve(self, entry: ImplementationSpec, point: Point) -> bool:
        """Validate the params by the workload's model, once for all entries that share them.

        False: the model refuses them; its problems are kept.
        """
        if point.refused is None:
            plain: dict[str, Any] = {}
            labels: dict[str, Any] = {}  # the case's name: a param of the trial, not of the model
            for name, value in point.values.items():
                if name.startswith("options."):
                    point.options[name.removeprefix("options.")] = value
                elif name == CASE_NAME and self._names_cases:
                    labels[name] = value
                else:
                    plain[name] = value
            try:
                params = self.workload.params.model_validate_json(json.dumps(plain), strict=True)
                point.params = labels
                point.params |= params.model_dump(mode="json", exclude={"device"})
                point.refused = False
            except ValidationError as error:
                point.refused = True
                for problem in _refusals(error, _Place(entry, point.stated, self)):
                    self._report(problem)
        return not point.refused

    def _excluded(self, entry: ImplementationSpec, point: Point) -> bool:
        """Whether an exclude rule removes this point; it is counted for the first that holds."""
        if not self.spec.exclude:
            return False
        names = {**self._options, **self._defaults, **point.values}
        for name, value in entry.options.items():
            names[f"options.{name}"] = value
        names["implementation"] = entry.label
        for index, rule in enumerate(self.spec.exclude):
            try:
                if condition(rule, names):
                    self.removed[rule] += 1
                    return True
            except ExpressionError as error:
                hint = _Place(entry, point.stated, self).hint
                self._report(self.document.problem(("exclude", index), str(error), hint=hint))
        return False


def _ever_derived(name: str, fixed: Mapping[str, Any], spec: SweepSpec) -> bool:
    """Whether the param has a derived value at any point of an entry."""
    axis = spec.axes.get(name)
    if axis is None:
        return is_derived(fixed.get(name))
    if isinstance(axis, Range):
        return False
    return any(map(is_derived, axis))


@dataclass(frozen=True)
class _Place:
    """A point of the product for messages: where in the file its values are stated."""

    entry: ImplementationSpec
    stated: Mapping[str, Any]
    state: Expansion

    @property
    def hint(self) -> str:
        """The point itself: at standard, batch 1, seq_len 1024."""
        spec = self.state.spec
        if spec.cases is not None and CASE_NAME in self.stated:
            return f"at {self.entry.label}, case {self.stated[CASE_NAME]}"
        named = [name for name in spec.axes if name in self.stated]
        values = [f"{name} {json.dumps(self.stated[name])}" for name in named]
        return f"at {', '.join([self.entry.label, *values])}"

    def of(self, name: str) -> Path_:
        """The field's path: in the entry, on an axis, among the constants; else the axes."""
        spec = self.state.spec
        if name in self.entry.params:
            return "implementations", spec.implementations.index(self.entry), "params", name
        if name in spec.axes:
            axis = spec.axes[name]
            if isinstance(axis, Range):
                return "axes", name
            if name in self.state.document.case_columns:
                return "axes", name, self._case()
            for index, value in enumerate(axis):
                if value is self.stated[name]:  # by identity, because True equals 1
                    return "axes", name, index
            return "axes", name, 0
        if name in spec.constants:
            return "constants", name
        return ("axes",)

    def _case(self) -> int:
        """The index of this point's case."""
        axes, columns = self.state.spec.axes, self.state.document.case_columns
        stated = [self.stated[column] for column in columns]
        listed = [self.state.spec.listed(column) for column in columns if column in axes]
        for index, row in enumerate(zip(*listed, strict=True)):
            if list(row) == stated:
                return index
        return 0

    def mentioned(self, rule: str) -> Path_:
        """The path of the field that the text of a rule names first; of two there, the longer."""
        named = [name for name in self.stated if name in rule]
        if not named:
            return self.of("")
        first = min(named, key=lambda name: (rule.find(name), -len(name)))
        return self.of(first)


def _refusals(error: ValidationError, place: _Place) -> Iterator[Problem]:
    """What the workload's model refuses at a point, in the words of a sweep file."""
    document, workload = place.state.document, place.state.workload
    for item in error.errors():
        name = str(item["loc"][0]) if item["loc"] else ""
        raised = item.get("ctx", {}).get("error")
        if item["type"] == "missing":
            rule = (
                f"required by workload {workload.name}, and given neither in axes nor in constants"
            )
            hint = SEEDED if name in ("seed", "generator", "rng") else None
            yield document.problem(("axes", name), rule, hint=hint)
        elif raised is not None:
            if name:
                at, found = place.of(name), item["input"]
            else:  # raised by a check of the whole model, of which the text may name a field
                at, found = place.mentioned(str(raised)), ...
            yield document.problem(at, str(raised), found, hint=place.hint)
        else:
            hint = "; ".join(filter(None, [near_literal(item), place.hint])) or None
            yield document.problem(place.of(name), worded(item["msg"]), item["input"], hint=hint)
