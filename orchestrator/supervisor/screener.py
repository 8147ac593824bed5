"""Screens the candidates of an attempt: they are compiled first, those of later attempts meanwhile.

On a GPU the cores have little to do while candidates are timed there, and compiling them takes as
long as screening them. On a CPU it would disturb what is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import ModuleType

from orchestrator.isolation.isolator import Completed, Isolator
from orchestrator.outcome import Phase
from orchestrator.record import TrialRecord
from orchestrator.supervisor.compiler import Compiler
from orchestrator.supervisor.made_ready import has_room_beside, short_of_memory
from orchestrator.trial import Attempt

SCREEN = "orchestrator.worker.screening:screen"
# for the process that screens, and for the supervisor and Ray beside it
SPARE_CORES = 2


class Screener:
    """Screens one slot's candidates.

    Args:
        isolator: of the slot.
        cores: how many the slot has.
        api: pynvml, initialised; None: there is no GPU.
        beside: makes a second isolator, for what is compiled while others are screened.
    """

    def __init__(
        self,
        isolator: Isolator,
        cores: int,
        api: ModuleType | None,
        beside: Callable[[], Isolator],
    ) -> None:
        self._isolator = isolator
        self._cores = cores
        self._api = api
        self._compiler = Compiler(isolator if api is None else beside())

    def wait(self) -> None:
        """Return when nothing is being compiled, so that the machine is quiet."""
        self._compiler.wait()

    def compile(self, attempt: Attempt) -> float:
        """Compile the trials of an attempt that are not compiled yet; the seconds that it took."""
        began_s = time.monotonic()
        self._compiler.compile(attempt)
        return round(time.monotonic() - began_s, 4)

    def screen(
        self, attempt: Attempt, on_phase: Callable[[Phase], None], ready: int = 0
    ) -> Completed:
        """Screen the trials of an attempt in one process: one of `ready` that are made ready ahead,
        or a fresh one.

        Those that were out of memory beside processes that compile or stand by are screened once
        more without them.
        """
        standing = self._isolator.make_ready(ready)
        if self._may_compile_beside(attempt):
            self._compiler.go_on(attempt, SPARE_CORES)
        shared_the_card = bool(standing) or self._compiler.is_busy
        done = self._isolator.screen(attempt, SCREEN, on_phase, made_ready=bool(ready))
        short = short_of_memory(attempt, done.result)
        if not short or not shared_the_card:
            return done
        self._isolator.dismiss()
        self._compiler.wait()
        trials = tuple(trial for trial in attempt.screened if trial.trial_id in short)
        left = attempt.model_copy(update={"trial": trials[0], "screened": trials})
        again = self._isolator.screen(left, SCREEN, on_phase, made_ready=False)
        by_id = {one.trial_id: one for one in again.result.records}

        def latest(record: TrialRecord) -> TrialRecord:
            return by_id.get(record.trial_id, record)

        return Completed(
            done.result.changed(latest),
            done.log + again.log,
            done.left_alive + again.left_alive,
        )

    def close(self) -> None:
        """End what is being compiled."""
        self._compiler.close()

    def _may_compile_beside(self, attempt: Attempt) -> bool:
        """Whether there are cores to spare, and a card with room for as many more processes."""
        if self._api is None or not attempt.screened_next:
            return False
        others = self._cores - SPARE_CORES
        return others > 0 and has_room_beside(attempt, others, self._api)
