"""What a sweep varies: axes as lists or ranges of values, and cases."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from orchestrator.util.frozen_model import FrozenModel
from orchestrator.workload import Scalar

CASE_NAME = "name"  # the column of a file of cases that names a row
ACCELERATOR_NAME = "accelerator"  # the column of a sweep that measures on each model
MAX_VALUES = 100_000  # of a range that is written out as a list
MOST, MOST_STEPS = 1e300, 1e15  # so that ends and steps are numbers that can be told apart

Value = Scalar | list[Scalar]
Count = Annotated[int, Field(ge=1)]


class Range(FrozenModel):
    """An axis as a range, both ends included; integers stay integers where low, high and step are.

    Attributes:
        log: a search draws evenly by ratio, not by difference.
        step: only low, low + step, low + 2 step, ... count.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: Annotated[int | float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _possible(self) -> Range:
        if not max(abs(self.low), abs(self.high)) < MOST:
            raise ValueError(f"low and high must lie between -{MOST:g} and {MOST:g}")
        if self.low >= self.high:
            raise ValueError(
                f"low must be less than high: low is {self.low:g}, high is {self.high:g}"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low > 0: low is {self.low:g}")
        if self.step is not None and self.step > self.high - self.low:
            raise ValueError(
                f"step must not exceed high - low: step is {self.step:g}, which leaves "
                f"{self.low:g} alone"
            )
        is_counted = self.step is not None or self.whole
        if is_counted and (self.high - self.low) / (self.step or 1) > MOST_STEPS:
            raise ValueError(
                f"more than {MOST_STEPS:g} values: give a larger step, or a narrower range"
            )
        return self

    @property
    def whole(self) -> bool:
        """Whether its values are integers."""
        stated = (self.low, self.high, self.step or 0)
        return all(isinstance(value, int) for value in stated)

    @property
    def count(self) -> int | None:
        """How many values it has; None: a range of real numbers without a step."""
        if self.step is not None:
            return int((_exact(self.high) - _exact(self.low)) // _exact(self.step)) + 1
        if self.whole:
            return int(self.high - self.low) + 1
        return None

    def value(self, index: int) -> int | float:
        """The value at `index` of those that the step, or being whole, leaves."""
        value = _exact(self.low) + index * _exact(self.step or 1)
        return int(value) if self.whole else float(value)

    def values(self) -> list[int | float]:
        """All of them.

        Raises:
            ValueError: there is no step, or there are more than MAX_VALUES.
        """
        if self.step is None:
            raise ValueError("a range is a list of values only where it has a step")
        count = self.count or 0
        if count > MAX_VALUES:
            raise ValueError(
                f"a range of {count} values, more than {MAX_VALUES}: give a larger step"
            )
        return [self.value(index) for index in range(count)]


def _exact(number: float) -> Decimal:
    """The number as it is written: 0 + 3 x 0.1 is 0.3, and not 0.30000000000000004."""
    return Decimal(str(number))


def _axis_kind(value: Any) -> str:
    return "range" if isinstance(value, Mapping | Range) else "list"


Values = Annotated[list[Value], Field(min_length=1)]
Axis = Annotated[
    Annotated[Values, Tag("list")] | Annotated[Range, Tag("range")], Discriminator(_axis_kind)
]


class CasesSpec(FrozenModel):
    """Named points that set several params at once.

    Attributes:
        file: a CSV, JSON, JSONL, YAML or Parquet file with a row for each; relative to the sweep
            file.
        rows: the same, in the sweep file itself.
        every: every so many-th of them.
        where: an expression; cases for which it does not hold are left out, before `every` counts.
        columns: those that count, where a file has more; or param -> column, where it calls them
            otherwise.
    """

    file: str | None = None
    rows: Annotated[list[dict[str, Value]], Field(min_length=1)] | None = None
    every: Count = 1
    where: str | None = None
    columns: Annotated[list[str], Field(min_length=1)] | dict[str, str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_file_or_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"file": value}
        if isinstance(value, list):
            return {"rows": value}
        if not isinstance(value, dict | CasesSpec):
            raise ValueError(
                "must be the name of a file, a list of cases, or a mapping with file or rows, "
                "every, where"
            )
        return value

    @model_validator(mode="after")
    def _of_one_kind(self) -> CasesSpec:
        if (self.file is None) == (self.rows is None):
            raise ValueError("states either file or rows")
        return self
