"""From a trial back to what the sweep file states of it: which value of an axis, and what would be beside it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import ExpressionError
from orchestrator.spec.derived import derive, is_derived
from orchestrator.spec.expression import condition
from orchestrator.spec.models import ImplementationSpec, SweepSpec
from orchestrator.trial import Trial


@dataclass(frozen=True)
class AxisValues:
    """What a sweep file states, asked about its trials; no workload is asked.

    Args:
        spec: the sweep file.
        only: the expression that chose the trials, if one did.
    """

    spec: SweepSpec
    only: str | None = None

    def entry(self, trial: Trial) -> ImplementationSpec | None:
        """The entry that the trial is of; None: the file has none."""
        found = (each for each in self.spec.implementations if each.label == trial.implementation)
        return next((each for each in found if each.use == trial.use), None)

    def point(self, trial: Trial) -> dict[str, Any]:
        """Axis -> value as the file states it, of the axes that are not asked after; else as the trial has it."""
        return {axis: self._listed(trial, axis) for axis in self.spec.axes if axis not in self.asked}

    @property
    def asked(self) -> frozenset[str]:
        """The axes that are searched, or that of the frontier."""
        axis = self.spec.frontier.axis
        return frozenset(self.spec.searched) | (frozenset() if axis is None else {axis})

    def has_beside(self, trial: Trial, axis: str, value: Any) -> bool:
        """Whether the file has the point that differs from the trial in the value of this axis alone."""
        return self._is_selected(trial, self._moved(trial, axis, value))

    def _is_selected(self, trial: Trial, moved: Mapping[str, Any]) -> bool:
        """Whether no exclude rule takes it away, and `only` holds; as far as they can be worked out."""
        spec = self.spec
        own = {f"options.{name}" for each in spec.implementations for name in each.options}
        own |= {name for name in (*spec.axes, *spec.constants) if name.startswith("options.")}
        names = {**dict.fromkeys(own), **_named(trial), **moved}
        names["implementation"] = trial.implementation
        try:
            return not any(condition(rule, names) for rule in spec.exclude) and (
                self.only is None or condition(self.only, names)
            )
        except ExpressionError:
            return True

    def _moved(self, trial: Trial, axis: str, value: Any) -> dict[str, Any]:
        """What is another, too, where this axis has another value: itself, and what is worked out from it."""
        entry = self.entry(trial)
        fixed = {**self.spec.constants, **({} if entry is None else entry.params)}
        stated = {name: fixed[name] for name in fixed if _is_worked_out(fixed[name], trial.value(name))}
        point = self.point(trial)
        stated |= {name: point[name] for name in point if _is_worked_out(point[name], trial.value(name))}
        try:
            return derive({**_named(trial), **stated, axis: value}, frozenset(stated))
        except ExpressionError:
            return {axis: value}

    def _listed(self, trial: Trial, axis: str) -> Any:
        found = trial.value(axis)
        listed = self.spec.listed(axis)
        same = (value for value in listed if value == found and type(value) is type(found))
        worked_out = (value for value in listed if self._is(trial, value, found))
        return next(same, next(worked_out, found))

    def _is(self, trial: Trial, stated: Any, found: Any) -> bool:
        """Whether a stated value is, at this trial, the one found."""
        if stated == found:
            return isinstance(stated, bool) == isinstance(found, bool)
        if not _is_worked_out(stated, found):
            return False
        try:
            return bool(derive({**_named(trial), "": stated}, frozenset({""}))[""] == found)
        except ExpressionError:
            return False


def _named(trial: Trial) -> dict[str, Any]:
    """What an expression may read of a trial."""
    return {**trial.params, **{f"options.{name}": value for name, value in trial.options.items()}}


def _is_worked_out(stated: Any, found: Any) -> bool:
    """Whether a value was arithmetic: stated as text, and a number in the trial."""
    return is_derived(stated) and not is_derived(found)
