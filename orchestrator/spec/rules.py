"""Rules that span fields of a sweep file: names that must exist, axes that must agree, expressions
that must parse.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from orchestrator.errors import ExpressionError, Problem, UnknownNameError, suggestion
from orchestrator.outcome import Outcome
from orchestrator.spec import expression, implementation_rules, search_rules, workload_rules
from orchestrator.spec.axes import ACCELERATOR_NAME, CASE_NAME, Range
from orchestrator.spec.loading import Document, Path_
from orchestrator.spec.models import SweepSpec
from orchestrator.spec.params import names_of_a_trial, numeric_fields, param_names
from orchestrator.spec.product import option_names, product_size, shared_options
from orchestrator.usercode import registry
from orchestrator.usercode.data_files import MOST_FILES, expanded
from orchestrator.workload import Workload

IDENTIFIER = "the name of an option must be an identifier (letters, digits, underscores)"


def find(spec: SweepSpec, document: Document, workload: Workload, base_dir: str) -> list[Problem]:
    """Every contradiction of the file, each once; empty: the file may be expanded."""
    rules = (
        _names(spec, document, workload),
        _implementations(spec, document, workload, base_dir),
        _labels(spec, document),
        _axes(spec, document),
        _zips(spec, document),
        _size(spec, document),
        _expressions(spec, document, workload),
        _outcomes(spec, document),
        _accelerators(spec, document, workload),
        search_rules.find(spec, document),
        workload_rules.find(spec, document, workload),
    )
    return list(chain.from_iterable(rules))


def _names(spec: SweepSpec, document: Document, workload: Workload) -> Iterator[Problem]:
    """Every name is a param of the workload or an option; a run gives the device."""
    stated: list[tuple[Path_, str]] = []
    for name in spec.axes:
        stated.append((("axes", name), name))
    for name in spec.constants:
        stated.append((("constants", name), name))
    for index, entry in enumerate(spec.implementations):
        for name in entry.params:
            stated.append((("implementations", index, "params", name), name))
    known = param_names(workload)
    for path, name in stated:
        in_entry = path[0] == "implementations"
        if name == "device":
            yield document.problem(
                path, "the device is not a param: give it with --device cpu|cuda|auto"
            )
        elif in_entry and name.startswith("options."):
            yield document.problem(
                path, f"an option of one entry stands under its options: {name[8:]}"
            )
        elif name.startswith("options."):
            if not name.removeprefix("options.").isidentifier():
                yield document.problem(path, IDENTIFIER)
        elif name == CASE_NAME and name in spec.axes and spec.cases is not None:
            continue  # the names of cases
        elif name not in known:
            rule = f"{workload.name} has no param {name!r}{suggestion(name, known)}"
            yield document.problem(path, rule)
        if name in spec.axes and in_entry:
            rule = (
                f"{name} is an axis of this sweep, so that an entry cannot fix it: exclude the "
                "points not wanted"
            )
            yield document.problem(path, rule)
        if name in spec.axes and path[0] == "constants":
            yield document.problem(path, f"{name} is both an axis and a constant: keep one")


def _accelerators(spec: SweepSpec, document: Document, workload: Workload) -> Iterator[Problem]:
    """Measuring on each model multiplies a grid's trials, under a name that nothing else has."""
    if not spec.resources.per_accelerator:
        return
    path: Path_ = ("resources", "per_accelerator")
    if spec.resources.accelerator is not None:
        rule = "measures on every model, and resources.accelerator chooses one: keep one of them"
        yield document.problem(path, rule)
    if spec.proposes:
        rule = "goes with a grid; for a search or a frontier choose a model: resources.accelerator"
        yield document.problem(path, rule)
    if spec.reuse:
        rule = "does not go with reuse: known rows are looked up before the models are known"
        yield document.problem(path, rule)
    if ACCELERATOR_NAME in workload.params.model_fields:
        rule = f"names its column {ACCELERATOR_NAME}, and so is a param of {workload.name} called"
        yield document.problem(path, f"{rule}: rename the param")


def _implementations(
    spec: SweepSpec, document: Document, workload: Workload, base_dir: str
) -> Iterator[Problem]:
    """Each entry names an implementation of this workload; its options and files exist."""
    registered = registry.implementations()
    shared = shared_options(spec)
    options = {name.removeprefix("options.") for name in shared}
    for index, entry in enumerate(spec.implementations):
        path: Path_ = ("implementations", index)
        use: Path_ = ("implementations", index, "use")
        if use not in document.lines:  # the entry is a mere name
            use = path
        try:
            rule = implementation_rules.complaint(entry, workload, base_dir, options)
        except UnknownNameError as error:
            rule = str(error)
        if rule:
            yield document.problem(use, rule)
        if entry.use in registered:
            solves = registered[entry.use].workload
            if solves and solves != workload.name:
                rule = f"{entry.use} solves {solves}, this sweep's workload is {workload.name}"
                yield document.problem(use, rule)
        for name in entry.options:
            option: Path_ = ("implementations", index, "options", name)
            if not name.isidentifier():
                yield document.problem(option, IDENTIFIER)
            elif f"options.{name}" in shared:
                rule = f"options.{name} is given here and for the whole sweep: keep one"
                yield document.problem(option, rule)
        for number, pattern in enumerate(entry.files):
            file: Path_ = ("implementations", index, "files", number)
            # One more than allowed tells that there are too many: a pattern may match a whole disk.
            count = len(list(islice(expanded(pattern, Path(base_dir)), MOST_FILES + 1)))
            if count == 0:
                yield document.problem(file, f"there is no such file below {base_dir}", pattern)
            elif count > MOST_FILES:
                rule = f"means more than {MOST_FILES} files: name those that the code reads"
                yield document.problem(file, rule, pattern)


def _labels(spec: SweepSpec, document: Document) -> Iterator[Problem]:
    """Rows are told apart by their labels, and the baseline is one of them."""
    labels = Counter(entry.label for entry in spec.implementations)
    for index, entry in enumerate(spec.implementations):
        if labels[entry.label] > 1:
            rule = "labels must be unique: give this entry a `label:` of its own"
            yield document.problem(("implementations", index), rule, entry.label)
    if spec.baseline is not None and spec.baseline not in labels:
        rule = f"no implementation has this label{suggestion(spec.baseline, labels)}"
        yield document.problem(("baseline",), rule, spec.baseline)


def _axes(spec: SweepSpec, document: Document) -> Iterator[Problem]:
    """An axis has each value once; of zipped axes that holds for their points."""
    zipped = set(chain.from_iterable(spec.zip))
    for name, values in spec.axes.items():
        if isinstance(values, Range) or name in zipped:
            continue
        counts = Counter(map(json.dumps, values))  # as JSON, because True equals 1
        for text, count in counts.items():
            if count > 1:
                rule = f"the values of an axis must differ, and {text} stands {count} times"
                yield document.problem(("axes", name), rule, values)


def _zips(spec: SweepSpec, document: Document) -> Iterator[Problem]:
    """Axes that move together are there, have equally many values, and move with one group."""
    uses = Counter(chain.from_iterable(spec.zip))
    for index, group in enumerate(spec.zip):
        path: Path_ = ("zip", index)
        for name in dict.fromkeys(group):
            if name not in spec.axes:
                yield document.problem(
                    path, f"there is no axis {name!r}{suggestion(name, spec.axes)}"
                )
            elif uses[name] > 1:
                rule = (
                    f"an axis moves with one group only, and {name!r} stands in {uses[name]} places"
                )
                yield document.problem(path, rule, list(group))
        columns = {name: spec.listed(name) for name in group if name in spec.axes}
        sizes = {name: len(values) for name, values in columns.items()}
        if len(set(sizes.values())) > 1:
            yield document.problem(path, "zipped axes must have equally many values", sizes)
        elif all(name in spec.axes for name in group):
            # Values of zipped axes may repeat, points may not.
            points = Counter(map(json.dumps, zip(*columns.values(), strict=True)))
            for text, count in points.items():
                if count > 1:
                    rule = f"the points of zipped axes must differ, and {text} stands {count} times"
                    yield document.problem(path, rule)


def _size(spec: SweepSpec, document: Document) -> Iterator[Problem]:
    """A slip of one zero must not become a million trials."""
    for group in spec.zip:
        known = [name for name in group if name in spec.axes]
        sizes = {len(spec.listed(name)) for name in known}
        if len(sizes) > 1 or 0 < len(known) < len(group):
            return  # `_zips` says so; the product has no size
    count = product_size(spec)
    if count > spec.max_trials:
        rule = (
            f"the axes and implementations expand to {count} trials, more than max_trials "
            f"({spec.max_trials})"
        )
        yield document.problem(("axes",), rule, hint="shorten an axis or raise max_trials")


def _expressions(spec: SweepSpec, document: Document, workload: Workload) -> Iterator[Problem]:
    """Conditions parse, and so does a string where a number is wanted; both read known names."""
    known = [*names_of_a_trial(spec, workload), *sorted(option_names(spec))]
    for index, text in enumerate(spec.exclude):
        yield from _checked(text, [*known, "implementation"], document, ("exclude", index))
    numeric = numeric_fields(workload.params)
    for path, name, value in _stated_values(spec):
        if name not in numeric:
            continue  # a string there is no arithmetic
        items = value if isinstance(value, list) else [value]
        for item in items:
            if isinstance(item, str):
                yield from _checked(item, known, document, path)


def _stated_values(spec: SweepSpec) -> Iterator[tuple[Path_, str, Any]]:
    """Every value that the file states of a param: where, of which, and the value."""
    for name, values in spec.axes.items():
        if isinstance(values, Range):
            continue
        for index, value in enumerate(values):
            yield ("axes", name, index), name, value
    for name, value in spec.constants.items():
        yield ("constants", name), name, value
    for index, entry in enumerate(spec.implementations):
        for name, value in entry.params.items():
            yield ("implementations", index, "params", name), name, value


def _checked(text: str, known: Iterable[str], document: Document, path: Path_) -> Iterator[Problem]:
    try:
        expression.check(text, known)
    except ExpressionError as error:
        yield document.problem(path, str(error))


def _outcomes(spec: SweepSpec, document: Document) -> Iterator[Problem]:
    known = [str(outcome) for outcome in Outcome]
    for index, name in enumerate(spec.allow_outcomes):
        if name not in known:
            rule = f"there is no outcome {name!r}{suggestion(name, known)}"
            yield document.problem(("allow_outcomes", index), rule)
