"""The strategies of a search by name, and what each needs; imports none of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
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
        below: the first version of its package that Ray's searcher does not work with; (): all of
            them work.
        waits: whether it proposes nothing more before each of its first proposals has a value, one
            that failed included.
    """

    module: str
    packages: str
    seed: str | None = None
    real: bool = False
    below: tuple[int, ...] = ()
    waits: bool = False

    @property
    def installed(self) -> bool:
        """Whether its package is here."""
        return find_spec(self.module) is not None

    @property
    def too_new(self) -> str:
        """The installed package and its version, if Ray's searcher does not work with it; or ''."""
        name = re.split("[=<>]", self.packages)[0]
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            return ""
        parts = re.findall(r"\d+", version)[: len(self.below)]
        numbers = tuple(map(int, parts))
        if not self.below or numbers < self.below:
            return ""
        return f"{name} {version}"


# What works with Ray 2.60; docs/LOG.md has what was tried.
SEARCHERS = {
    "optuna": Strategy("optuna", "optuna", seed="seed"),
    "hyperopt": Strategy("hyperopt", "hyperopt", seed="random_state_seed"),
    "bayesopt": Strategy(
        "bayes_opt",
        "bayesian-optimization==1.5.1",
        seed="random_state",
        real=True,
        below=(2,),
        waits=True,
    ),
    "ax": Strategy("ax", "ax-platform==1.2.4", seed="random_seed", below=(1, 3)),
    "nevergrad": Strategy("nevergrad", "nevergrad"),
    "zoopt": Strategy("zoopt", "zoopt", real=True),
}
UNUSABLE = {
    "bohb": "bohb pauses trials and goes on with them, and a trial here runs once: use optuna",
    "hebo": "hebo needs NumPy 1, and torch and Ray here NumPy 2: use optuna",
}
KNOWN = (GRID, RANDOM, *SEARCHERS)


def refusal(name: str) -> str | None:
    """Why there can be no search by this strategy here, and what to do; None: there can."""
    if name in UNUSABLE:
        return UNUSABLE[name]
    if name not in SEARCHERS:
        return None
    known = SEARCHERS[name]
    if not known.installed:
        return (
            f"strategy {name} needs a package that is not installed: pip install '{known.packages}'"
        )
    if known.too_new:
        return f"strategy {name} does not work with {known.too_new}: pip install '{known.packages}'"
    return None
