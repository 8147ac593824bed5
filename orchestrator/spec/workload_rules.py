"""Rules of what a workload states beside its functions: metrics, columns, a tolerance, flags.

What is of another type would else be read as something: a `backward = "no"` as yes, the letters of
a string as names, a negative tolerance as one that nothing keeps to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.errors import ExpressionError, Problem, suggestion
from orchestrator.metrics import METRICS, ROW_COLUMNS
from orchestrator.spec import expression
from orchestrator.spec.document import Document
from orchestrator.spec.models import SweepSpec
from orchestrator.spec.params import names_of_a_trial
from orchestrator.usercode.workload_file import PRECISIONS, FileWorkload
from orchestrator.util.quantities import is_number
from orchestrator.workload import Workload

WORK_NAMES = ("flops", "bytes", "tokens", "seconds")


def find(spec: SweepSpec, document: Document, workload: Workload) -> Iterator[Problem]:
    """Every rule that the workload breaks, said of the workload."""
    params = names_of_a_trial(spec, workload)
    yield from _metrics(document, workload, params)
    if not _is_texts(workload.columns):
        rule = 'must map params to headings, {"rows": "Rows"}'
        yield _broken(document, "columns", rule, workload.columns)
    else:
        for name in workload.columns:
            if name not in params:
                rule = f"there is no param {name!r}{suggestion(name, params)}"
                yield _broken(document, "columns", rule)
    tolerance = workload.tolerance
    if tolerance is not None and not (is_number(tolerance) and 0 < tolerance < math.inf):
        yield _broken(document, "tolerance", "must be a number above 0, or None", tolerance)
    if isinstance(workload, FileWorkload):
        yield from _of_file(document, workload.facts.values)


def _metrics(document: Document, workload: Workload, params: list[str]) -> Iterator[Problem]:
    if not _is_texts(workload.metrics):
        rule = 'must map names to formulas, {"keys_per_s": "size / seconds"}'
        yield _broken(document, "metrics", rule, workload.metrics)
        return
    for name, text in workload.metrics.items():
        if name in METRICS or name in ROW_COLUMNS:
            rule = f"its metric {name} has the name of a column that every row has"
            hint = f"call it own_{name}, say"
            yield document.problem(("workload",), rule, hint=hint)
        try:
            expression.check(text, [*params, *WORK_NAMES])
        except ExpressionError as error:
            yield document.problem(("workload",), f"its metric {name}: {error}")


def _of_file(document: Document, stated: Mapping[str, Any]) -> Iterator[Problem]:
    for name in ("backward", "restore"):
        if not isinstance(stated.get(name, False), bool):
            yield _broken(document, name, "must be True or False", stated[name])
    precision = stated.get("precision")
    if precision is not None and precision not in PRECISIONS:
        near = suggestion(str(precision), PRECISIONS)
        yield _broken(document, "precision", f"must be the name of a precision{near}", precision)
    writes = stated.get("writes", ())
    is_collection = isinstance(writes, list | tuple | Mapping)
    if not is_collection or not all(isinstance(name, str) for name in writes):
        yield _broken(document, "writes", 'must be a tuple of inputs\' names, ("cache",)', writes)


def _broken(document: Document, name: str, rule: str, found: Any = ...) -> Problem:
    """The problem of the workload's `name`; `found` is the value, if it is worth showing."""
    problem = document.problem(("workload",), rule, found)
    return replace(problem, rule=f"its {name}: {problem.rule}")


def _is_texts(value: Any) -> bool:
    """Whether it maps texts to texts."""
    if not isinstance(value, Mapping):
        return False
    return all(isinstance(key, str) and isinstance(text, str) for key, text in value.items())
