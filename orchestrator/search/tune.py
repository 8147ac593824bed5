"""Ray Tune's searchers as samplers. Of ray only search spaces and searchers are imported, when a sampler is made."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.spec.models import Range, SearchSpec
from orchestrator.spec.search_space import Coordinate, Coordinates, Dimension, Space
from orchestrator.spec.searchers import SEARCHERS


class TuneSampler:
    """One searcher of Ray Tune over one space.

    Args:
        spec: names the searcher, the metric and the direction.
        space: what it proposes points of.
        seed: of a searcher that takes one; of the global random numbers for one that does not.

    Raises:
        RequestError: the searcher cannot be made.
    """

    fewest_asks = 200

    def __init__(self, spec: SearchSpec, space: Space, seed: int) -> None:
        self._metric = spec.metric
        self._real = SEARCHERS[spec.strategy].real
        self._dimensions = {f"d{number}": dimension for number, dimension in enumerate(space.free)}
        try:
            self._searcher = _searcher(spec, seed)
            domains = {key: _domain(dimension, self._real) for key, dimension in self._dimensions.items()}
            self._searcher.set_search_properties(spec.metric, "min" if spec.least else "max", domains)
        except Exception as error:
            raise RequestError(
                f"search.strategy: {spec.strategy} cannot be used here ({type(error).__name__}: {error}): "
                "try optuna or random"
            ) from error

    def ask(self, token: str) -> Coordinates | None:
        """What the searcher suggests; None: nothing now, or nothing any more."""
        found = self._searcher.suggest(token)
        if not isinstance(found, Mapping):
            return None
        return {dimension.name: self._coordinate(dimension, found[key]) for key, dimension in self._dimensions.items()}

    def tell(self, token: str, value: float) -> None:
        """The suggestion has ended."""
        self._searcher.on_trial_complete(token, {self._metric: value, "training_iteration": 1})

    def learn(self, coordinates: Coordinates, value: float) -> None:
        """A point evaluated apart, for searchers that know the like."""
        names = {dimension.name: key for key, dimension in self._dimensions.items()}
        if not self._real:
            with suppress(NotImplementedError, AttributeError):
                self._searcher.add_evaluated_point({names[name]: at for name, at in coordinates.items()}, value)

    def withdraw(self, token: str) -> None:
        """As a trial that could not be run."""
        self._searcher.on_trial_complete(token, error=True)

    def _coordinate(self, dimension: Dimension, found: Any) -> Coordinate:
        if self._real:
            return _from_share(dimension, float(found))
        return int(found) if dimension.by_index or _is_whole(dimension) else float(found)


def _searcher(spec: SearchSpec, seed: int) -> Any:
    known = SEARCHERS[spec.strategy]
    from ray.tune import search

    kinds: Any = search.SEARCH_ALG_IMPORT
    kind = kinds[spec.strategy]()
    most = 10 * spec.samples  # a budget counts what is asked, repetitions included
    wanted: dict[str, Any] = {"metric": spec.metric, "mode": "min" if spec.least else "max", "budget": most}
    if known.seed is not None:
        wanted[known.seed] = seed
    else:
        _seed_globally(seed)
    if spec.strategy == "nevergrad":
        nevergrad: Any = import_module("nevergrad")
        wanted |= {"optimizer": nevergrad.optimizers.NGOpt, "optimizer_kwargs": {"budget": spec.samples}}
    if spec.strategy == "optuna":
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)  # what is proposed, our own progress says
    taken = inspect.signature(kind.__init__).parameters
    return kind(**{name: value for name, value in wanted.items() if name in taken})


def _seed_globally(seed: int) -> None:
    import numpy as np

    random.seed(seed)
    np.random.seed(seed)  # what such searchers draw from


def _domain(dimension: Dimension, real: bool) -> Any:
    from ray import tune

    if real:
        return tune.uniform(0.0, 1.0)
    if dimension.by_index:
        count = dimension.count or 1
        return tune.randint(0, count) if dimension.ordered else tune.choice(list(range(count)))
    axis = dimension.axis
    assert isinstance(axis, Range)
    if _is_whole(dimension):
        low, end = int(axis.low), int(axis.high) + 1
        return tune.lograndint(low, end) if axis.log else tune.randint(low, end)
    return (tune.loguniform if axis.log else tune.uniform)(float(axis.low), float(axis.high))


def _is_whole(dimension: Dimension) -> bool:
    return isinstance(dimension.axis, Range) and dimension.axis.whole and dimension.axis.step is None


def _from_share(dimension: Dimension, share: float) -> Coordinate:
    """A coordinate from a number between 0 and 1."""
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
