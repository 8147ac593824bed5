"""Adapts Ray Tune's searchers to `Sampler`. Imports ray when a sampler is made, not before."""

from __future__ import annotations

import inspect
import math
import random
import statistics
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.spec.axes import Range
from orchestrator.spec.models import SearchSpec
from orchestrator.spec.search_space import Coordinate, Coordinates, Dimension, Space
from orchestrator.spec.searchers import SEARCHERS

EXHAUSTED = "SearchSpaceExhausted"  # of Ax, where every point was proposed


class TuneSampler:
    """One searcher of Ray Tune over one space.

    Args:
        spec: names the searcher, the metric and the direction.
        space: the searched axes.
        seed: of the searcher; of the global random generators if it takes none.

    Raises:
        RequestError: the searcher cannot be made.
    """

    fewest_asks = 200

    def __init__(self, spec: SearchSpec, space: Space, seed: int) -> None:
        self._metric = spec.metric
        self._real = SEARCHERS[spec.strategy].real
        self._waits = SEARCHERS[spec.strategy].waits
        self._values: list[float] = []
        self._unanswered: list[str] = []
        # under names of our own: not every searcher takes the dot of `options.x`
        self._dimensions = {f"d{number}": dimension for number, dimension in enumerate(space.free)}
        try:
            self._searcher = _searcher(spec, seed)
            domains = {}
            for key, dimension in self._dimensions.items():
                domains[key] = _domain(dimension, self._real)
            self._searcher.set_search_properties(spec.metric, _mode(spec), domains)
        except Exception as error:
            raise RequestError(
                f"search.strategy: {spec.strategy} cannot be used here ({type(error).__name__}: "
                f"{error}): try optuna or random"
            ) from error

    def ask(self, token: str) -> Coordinates | None:
        """What the searcher suggests; None: nothing now, or nothing any more."""
        try:
            found = self._searcher.suggest(token)
        except Exception as error:
            if type(error).__name__ == EXHAUSTED:
                return None
            raise
        if not isinstance(found, Mapping):
            return None
        coordinates = {}
        for key, dimension in self._dimensions.items():
            coordinates[dimension.name] = self._coordinate(dimension, found[key])
        return coordinates

    def tell(self, token: str, value: float) -> None:
        """Report the value of a suggestion."""
        self._values.append(value)
        self._answer(token, value)
        for earlier in self._unanswered:
            self._answer(earlier, value)
        self._unanswered.clear()

    def _answer(self, token: str, value: float) -> None:
        self._searcher.on_trial_complete(token, {self._metric: value, "training_iteration": 1})

    def learn(self, coordinates: Coordinates, value: float) -> None:
        """Report a point that it did not suggest, if the searcher supports that."""
        if self._real:
            return
        point = {}
        for key, dimension in self._dimensions.items():
            if dimension.name in coordinates:
                point[key] = coordinates[dimension.name]
        with suppress(NotImplementedError, AttributeError):
            self._searcher.add_evaluated_point(point, value)

    def withdraw(self, token: str) -> None:
        """Report that there is no value for the suggestion: as a failed trial.

        A searcher that waits for values is told the median of those so far, which says least of a
        point that nobody ran.
        """
        if not self._waits:
            self._searcher.on_trial_complete(token, error=True)
        elif self._values:
            self._answer(token, statistics.median(self._values))
        else:
            self._unanswered.append(token)

    def _coordinate(self, dimension: Dimension, found: Any) -> Coordinate:
        if self._real:
            return _from_share(dimension, float(found))
        if dimension.by_index or _is_whole(dimension):
            return int(found)
        return float(found)


def _searcher(spec: SearchSpec, seed: int) -> Any:
    known = SEARCHERS[spec.strategy]
    from ray.tune import search

    kinds: Any = search.SEARCH_ALG_IMPORT
    kind = kinds[spec.strategy]()
    most = 10 * spec.samples  # a searcher's budget counts every suggestion, repetitions included
    wanted: dict[str, Any] = {
        "metric": spec.metric,
        "mode": _mode(spec),
        "budget": most,
    }
    if known.seed is not None:
        wanted[known.seed] = seed
    else:
        import numpy as np

        random.seed(seed)
        np.random.seed(seed)  # searchers without a seed draw from these
    if spec.strategy == "nevergrad":
        nevergrad: Any = import_module("nevergrad")
        wanted |= {
            "optimizer": nevergrad.optimizers.NGOpt,
            "optimizer_kwargs": {"budget": spec.samples},
        }
    if spec.strategy == "optuna":
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)  # our own progress shows the proposals
    accepted = inspect.signature(kind.__init__).parameters
    given = {}
    for name, value in wanted.items():
        if name in accepted or name == known.seed:  # Ax takes the seed among its keywords
            given[name] = value
    return kind(**given)


def _mode(spec: SearchSpec) -> str:
    return "min" if spec.least else "max"


def _domain(dimension: Dimension, real: bool) -> Any:
    """The dimension's coordinates as Ray Tune states a parameter's values."""
    from ray import tune

    if real:
        return tune.uniform(0.0, 1.0)
    if dimension.by_index:
        count = dimension.count or 1
        if dimension.ordered:
            return tune.randint(0, count)
        return tune.choice(list(range(count)))
    axis = dimension.axis
    assert isinstance(axis, Range)
    if _is_whole(dimension):
        low, end = int(axis.low), int(axis.high) + 1
        if axis.log:
            return tune.lograndint(low, end)
        return tune.randint(low, end)
    if axis.log:
        return tune.loguniform(float(axis.low), float(axis.high))
    return tune.uniform(float(axis.low), float(axis.high))


def _is_whole(dimension: Dimension) -> bool:
    return (
        isinstance(dimension.axis, Range) and dimension.axis.whole and dimension.axis.step is None
    )


def _from_share(dimension: Dimension, share: float) -> Coordinate:
    """A coordinate from a number between 0 and 1, for searchers that know real numbers only."""
    share = min(max(share, 0.0), 1.0)
    if dimension.by_index:
        count = dimension.count or 1
        return min(int(share * count), count - 1)
    axis = dimension.axis
    assert isinstance(axis, Range)
    low, high = float(axis.low), float(axis.high)
    if axis.log:
        return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return low + share * (high - low)
