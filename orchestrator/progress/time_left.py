"""How long a sweep still takes: from the durations measured so far and the work that is left, not
from counts.

An attempt costs something fixed (a process, warm-up, the least time of the protocol) and something
in proportion to its useful work. Both are fitted to the attempts that ended, per implementation
where there are enough of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.trial import Trial
from orchestrator.usercode import registry
from orchestrator.workload import Workload

FEWEST = 3  # attempts that ended before a line is fitted, or anything is predicted

Work = Callable[[Trial], float]


def one_each(_: Trial) -> float:
    """Every trial alike: the work where nothing is known of it."""
    return 1.0


def useful_flops(workload: Workload) -> Work:
    """A trial's useful floating-point operations, by the workload's formula."""
    forms = {name: entry.form for name, entry in registry.implementations().items()}

    def work(trial: Trial) -> float:
        return float(
            workload.work(
                workload.params.model_validate_json(trial.params_of(workload.params)),
                forms.get(trial.use, workload.forms[0]),
            ).flops
        )

    return work


@dataclass
class Line:
    """duration = fixed + slope * work, both at least 0, so that relative errors are least."""

    count: int = 0
    weight: float = 0.0
    work: float = 0.0
    seconds: float = 0.0
    work_squared: float = 0.0
    product: float = 0.0

    def add(self, work: float, seconds: float) -> None:
        """One more attempt that did `work` in `seconds`."""
        weight = 1 / max(seconds, 1e-3) ** 2
        self.count += 1
        self.weight += weight
        self.work += weight * work
        self.seconds += weight * seconds
        self.work_squared += weight * work * work
        self.product += weight * work * seconds

    def over(self, attempts: int, work: float) -> float:
        """Seconds that so many attempts of `work` in all take; 0 where nothing was measured."""
        if not self.count:
            return 0.0
        fixed, slope = self._coefficients()
        return attempts * fixed + slope * work

    def _coefficients(self) -> tuple[float, float]:
        mean = self.seconds / self.weight
        spread = self.weight * self.work_squared - self.work**2
        if self.count < FEWEST or spread <= 1e-9 * self.weight * self.work_squared:
            return mean, 0.0
        slope = (self.weight * self.product - self.work * self.seconds) / spread
        fixed = (self.seconds - slope * self.work) / self.weight
        if slope < 0:
            return mean, 0.0
        return (fixed, slope) if fixed >= 0 else (0.0, self.product / self.work_squared)


class Estimator:
    """Learns what attempts cost and foretells what others will: per implementation, or by all where
    those are few.
    """

    def __init__(self, work: Work = one_each) -> None:
        self._work = work
        self._all = Line()
        self._own: dict[str, Line] = {}
        self._known: dict[str, float] = {}
        self._waiting: dict[str, tuple[int, float]] = {}

    @property
    def ready(self) -> bool:
        """Whether enough has ended to predict anything."""
        return self._all.count >= FEWEST

    def learn(self, trial: Trial, seconds: float) -> None:
        """An attempt of `trial` took `seconds`."""
        work = self._work_of(trial)
        self._all.add(work, seconds)
        self._own.setdefault(trial.implementation, Line()).add(work, seconds)

    def expect(self, trial: Trial, attempts: int = 1) -> None:
        """So many more attempts of `trial` lie ahead; -1: one fewer."""
        count, work = self._waiting.get(trial.implementation, (0, 0.0))
        more = attempts * self._work_of(trial)
        self._waiting[trial.implementation] = (count + attempts, max(0.0, work + more))

    def predict(self, trial: Trial) -> float:
        """Seconds that an attempt of `trial` takes."""
        return self._line(trial.implementation).over(1, self._work_of(trial))

    def ahead(self) -> float:
        """Seconds that all expected attempts take, one after another."""
        return sum(
            self._line(name).over(count, work) for name, (count, work) in self._waiting.items()
        )

    def _line(self, implementation: str) -> Line:
        own = self._own.get(implementation)
        return own if own is not None and own.count >= FEWEST else self._all

    def _work_of(self, trial: Trial) -> float:
        if trial.trial_id not in self._known:
            try:
                self._known[trial.trial_id] = self._work(trial)
            except Exception:  # noqa: BLE001 - a workload is a user's code, and an estimate is worth no failure
                self._known[trial.trial_id] = 1.0
        return self._known[trial.trial_id]
