"""The inverse of expansion: a trial's axis values as the sweep file writes them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import ExpressionError
from orchestrator.spec.expression import condition
from orchestrator.spec.models import ImplementationSpec, SweepSpec
from orchestrator.spec.params import derive, is_derived
from orchestrator.trial import Trial


@dataclass(frozen=True)
class AxisValues:
    """Finds a trial's values in the sweep file, and whether a neighbouring point exists.

    It needs no workload, so that results can be read without the user's files.

    Args:
        spec: the sweep file.
        only: the expression that chose the trials, if one did.
    """

    spec: SweepSpec
    only: str | None = None

    def entry(self, trial: Trial) -> ImplementationSpec | None:
        """The trial's implementation entry; None: the file has none."""
        for entry in self.spec.implementations:
            if entry.label == trial.implementation and entry.use == trial.use:
                return entry
        return None

    def point(self, trial: Trial) -> dict[str, Any]:
        """Axis -> value of the axes that are not searched, as the file states it if it does."""
        asked = self.asked
        found = {}
        for axis in self.spec.axes:
            if axis not in asked:
                found[axis] = self._listed(trial, axis)
        return found

    @property
    def asked(self) -> frozenset[str]:
        """The axes that are searched, or that of the frontier."""
        if self.spec.frontier.axis is None:
            return frozenset(self.spec.searched)
        return frozenset(self.spec.searched) | {self.spec.frontier.axis}

    def has_neighbour(self, trial: Trial, axis: str, value: Any) -> bool:
        """Whether the file has the point that differs from the trial in this axis alone."""
        return self._is_selected(trial, self._moved(trial, axis, value))

    def _is_selected(self, trial: Trial, moved: Mapping[str, Any]) -> bool:
        """Whether `exclude` and `only` leave the point in; True if they cannot be evaluated."""
        spec = self.spec
        # an option of another implementation is None here, and no unknown name
        names: dict[str, Any] = {}
        for name in (*spec.axes, *spec.constants):
            if name.startswith("options."):
                names[name] = None
        for entry in spec.implementations:
            names |= {f"options.{name}": None for name in entry.options}
        names |= _named(trial)
        names |= moved
        names["implementation"] = trial.implementation
        try:
            if any(condition(rule, names) for rule in spec.exclude):
                return False
            return self.only is None or condition(self.only, names)
        except ExpressionError:
            return True

    def _moved(self, trial: Trial, axis: str, value: Any) -> dict[str, Any]:
        """The values that change with this axis: its own, and those derived from it."""
        entry = self.entry(trial)
        fixed = dict(self.spec.constants)
        if entry is not None:
            fixed |= entry.params
        derived: dict[str, Any] = {}
        for stated in (fixed, self.point(trial)):
            for name, text in stated.items():
                if not _is_derived_here(text, trial.value(name)):
                    continue
                derived[name] = text
        try:
            return derive({**_named(trial), **derived, axis: value}, frozenset(derived))
        except ExpressionError:
            return {axis: value}

    def _listed(self, trial: Trial, axis: str) -> Any:
        """The axis's value as the file lists it: equal, else deriving to it; else the trial's."""
        found = trial.value(axis)
        listed = self.spec.listed(axis)
        for value in listed:
            if value == found and type(value) is type(found):
                return value
        for value in listed:
            if self._is(trial, value, found):
                return value
        return found

    def _is(self, trial: Trial, stated: Any, found: Any) -> bool:
        """Whether a stated value, derived at this trial, is the value found."""
        if stated == found:
            return isinstance(stated, bool) == isinstance(found, bool)
        if not _is_derived_here(stated, found):
            return False
        try:
            return bool(derive({**_named(trial), "": stated}, frozenset({""}))[""] == found)
        except ExpressionError:
            return False


def _named(trial: Trial) -> dict[str, Any]:
    """What an expression may read of a trial."""
    names = dict(trial.params)
    for name, value in trial.options.items():
        names[f"options.{name}"] = value
    return names


def _is_derived_here(stated: Any, found: Any) -> bool:
    """Whether a value is derived: an expression in the file, and a number in the trial."""
    return is_derived(stated) and not is_derived(found)
