"""The strategies of a search by name, and what each needs; imports none of it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

GRID, RANDOM = "grid", "random"


@dataclass(frozen=True)
class Strategy:
    """A searcher of Ray Tune.

    Attributes:
        module: what must be importable.
        packages: what to give to pip.
        seed: the name of its constructor's argument for a seed; None: it takes none.
        real: whether it knows real numbers only.
    """

    module: str
    packages: str
    seed: str | None = None
    real: bool = False

    @property
    def installed(self) -> bool:
        """Whether its package is here."""
        return find_spec(self.module) is not None


SEARCHERS = {
    "optuna": Strategy("optuna", "optuna", seed="seed"),
    "hyperopt": Strategy("hyperopt", "hyperopt", seed="random_state_seed"),
    "bayesopt": Strategy("bayes_opt", "bayesian-optimization==1.4.3", seed="random_state", real=True),
    "ax": Strategy("ax", "ax-platform"),
    "hebo": Strategy("hebo", "HEBO>=0.2.0", seed="random_state_seed"),
    "nevergrad": Strategy("nevergrad", "nevergrad"),
    "zoopt": Strategy("zoopt", "zoopt", real=True),
}
KNOWN = (GRID, RANDOM, *SEARCHERS)


def refusal(name: str) -> str | None:
    """Why there can be no search by this strategy here, and what to do; None: there can."""
    if name == "bohb":
        return "bohb pauses trials and goes on with them, and a trial here runs once: use optuna"
    if name not in SEARCHERS or SEARCHERS[name].installed:
        return None
    return f"strategy {name} needs a package that is not installed: pip install '{SEARCHERS[name].packages}'"
