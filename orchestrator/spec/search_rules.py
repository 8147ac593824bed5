"""Rules of a sweep file that asks for more than a grid: what may be searched, followed to its end,
or predicted.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.errors import Problem, suggestion
from orchestrator.metrics import SEARCHABLE
from orchestrator.spec import searchers
from orchestrator.spec.axes import Range
from orchestrator.spec.loading import Document
from orchestrator.spec.models import SweepSpec
from orchestrator.spec.search_space import Space
from orchestrator.util.quantities import is_number


def find(spec: SweepSpec, document: Document) -> Iterator[Problem]:
    """Every rule of search, frontier, predict and ranges that the file breaks."""
    yield from _ranges(spec, document)
    yield from _search(spec, document)
    yield from _frontier(spec, document)
    asked = []
    if spec.search.active:
        asked.append("search")
    if spec.frontier.axis is not None:
        asked.append("frontier")
    if spec.predict:
        asked.append("predict")
    if len(asked) > 1:
        rule = f"{' and '.join(asked)} ask different questions: keep one of them"
        yield document.problem((asked[-1],), rule)


def _ranges(spec: SweepSpec, document: Document) -> Iterator[Problem]:
    """Without a search, an axis must be values that can be listed."""
    for name, axis in spec.axes.items():
        if not isinstance(axis, Range) or name in spec.searched:
            continue
        if axis.step is None or axis.log:
            rule = (
                "a range that is not searched needs a step, and no log: give a step, a list, or a "
                "search.strategy"
            )
            yield document.problem(("axes", name), rule, axis.model_dump(exclude_defaults=True))


def _search(spec: SweepSpec, document: Document) -> Iterator[Problem]:
    """The strategy and the metric exist, and what is stated goes together."""
    search = spec.search
    if search.strategy in searchers.UNUSABLE or search.strategy in searchers.KNOWN:
        reason = searchers.refusal(search.strategy)
        if reason is not None:
            yield document.problem(("search", "strategy"), reason)
    else:
        hint = suggestion(search.strategy, searchers.KNOWN)
        rule = f"there is no strategy {search.strategy!r}{hint}"
        yield document.problem(("search", "strategy"), rule)
    if search.metric not in SEARCHABLE:
        rule = f"there is no metric {search.metric!r}{suggestion(search.metric, SEARCHABLE)}"
        yield document.problem(("search", "metric"), rule)
    for name, stated in (("screen", search.screen), ("budget_s", search.budget_s is not None)):
        if stated and not search.active:
            rule = f"only a search has it: give search.strategy, or leave search.{name} out"
            yield document.problem(("search", name), rule)
    if not search.active:
        return
    if search.screen and (search.metric, search.least) != ("latency_ms", True):
        rule = "candidates are screened by their time: it needs metric latency_ms, and mode min"
        yield document.problem(("search", "screen"), rule)
    if search.screen and spec.reuse:
        rule = (
            "candidates are screened beside each other, so that none comes from another sweep: "
            "leave reuse or search.screen out"
        )
        yield document.problem(("reuse",), rule)
    over = search.over or ()
    for index, name in enumerate(over):
        if name not in spec.axes:
            rule = f"there is no axis {name!r}{suggestion(name, spec.axes)}"
            yield document.problem(("search", "over", index), rule)
    if spec.axes.keys() >= set(over):
        yield from _searched(spec, document)


def _searched(spec: SweepSpec, document: Document) -> Iterator[Problem]:
    """The searched axes leave something to choose, and `first` states points of them."""
    search = spec.search
    if not Space.of(spec).free:
        rule = "nothing to search: give an axis more than one value, or a range"
        axes = ", ".join(spec.searched) or "none"
        yield document.problem(("axes",), rule, hint=f"searched: {axes}")
    for index, group in enumerate(spec.zip):
        moved = [name for name in group if name in spec.searched]
        if moved:
            rule = f"{moved[0]} is searched, so that it cannot move with another axis"
            yield document.problem(("zip", index), rule, list(group))
    if len(search.first) > search.samples:
        rule = (
            f"{len(search.first)} points to begin with are more than samples, which is "
            f"{search.samples}"
        )
        yield document.problem(("search", "first"), rule)
    over = search.over or ()
    for index, name in enumerate(over):
        if name in over[:index]:
            yield document.problem(("search", "over", index), f"{name} stands here twice")
    for index, point in enumerate(search.first):
        for name in spec.searched:
            if name not in point and not name.startswith("options."):
                yield document.problem(
                    ("search", "first", index), f"{name} is searched: give it a value here"
                )
        for name in point:
            if name not in spec.searched:
                rule = f"{name} is not an axis of this search{suggestion(name, spec.searched)}"
                yield document.problem(("search", "first", index, name), rule)
            elif isinstance(spec.axes[name], Range) and not is_number(point[name]):
                yield document.problem(
                    ("search", "first", index, name), "must be a number: the axis is a range"
                )


def _frontier(spec: SweepSpec, document: Document) -> Iterator[Problem]:
    """The axis of a frontier exists, is ordered numbers, and moves by itself."""
    axis = spec.frontier.axis
    if axis is None:
        return
    if axis not in spec.axes:
        rule = f"there is no axis {axis!r}{suggestion(axis, spec.axes)}"
        yield document.problem(("frontier", "axis"), rule)
        return
    values = spec.listed(axis)
    numbers = [value for value in values if is_number(value)]
    if len(numbers) != len(values) or numbers != sorted(numbers):
        rule = "the axis of a frontier must be numbers, least first, or a range with a step"
        yield document.problem(("axes", axis), rule, values)
    for index, group in enumerate(spec.zip):
        if axis in group:
            rule = f"{axis} is the axis of the frontier, so that it cannot move with another axis"
            yield document.problem(("zip", index), rule, list(group))
