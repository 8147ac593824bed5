"""Decides which candidates of a search are compiled when: each once, before it is screened, and
where there is room while others are screened.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent import futures

from orchestrator.isolation.isolator import Isolator
from orchestrator.isolation.request import Call
from orchestrator.supervisor.compile_ahead import Compiled, compile_ahead
from orchestrator.trial import Attempt, Trial


class Compiler:
    """Compiles candidates, a group at a time, in the order in which they are asked for.

    Args:
        isolator: runs the processes that compile. `go_on` needs one that runs nothing else.
    """

    def __init__(self, isolator: Isolator) -> None:
        self._isolator = isolator
        self._thread = futures.ThreadPoolExecutor(1, thread_name_prefix="compiler")
        # by trial; how it ends does not matter: the trial meets the same end when it is screened
        self._begun: dict[str, futures.Future[None]] = {}
        self._closing = False

    @property
    def is_busy(self) -> bool:
        """Whether something is being compiled, or waits for it."""
        return any(not future.done() for future in self._begun.values())

    def compile(self, attempt: Attempt) -> None:
        """Compile what an attempt is about to screen; returns when that is done.

        A trial that was compiled before is not compiled again: it may be one that was given back.
        """
        self._begin(attempt, attempt.screened)
        futures.wait([self._begun[trial.trial_id] for trial in attempt.screened])

    def go_on(self, attempt: Attempt, spare_cores: int) -> None:
        """Begin with what later attempts screen, in groups as large as this one's, and leave so
        many cores alone.
        """
        size = len(attempt.screened)
        for start in range(0, len(attempt.screened_next), size):
            self._begin(attempt, attempt.screened_next[start : start + size], spare_cores)

    def wait(self) -> None:
        """Return when nothing is being compiled any more."""
        futures.wait(self._begun.values())

    def close(self) -> None:
        """End what is being compiled, and the isolator."""
        self._closing = True
        self._isolator.kill()
        self._isolator.close()
        self._thread.shutdown()

    def _begin(self, attempt: Attempt, trials: Sequence[Trial], spare_cores: int = 0) -> None:
        new = tuple(trial for trial in trials if trial.trial_id not in self._begun)
        if not new:
            return
        alone = attempt.model_copy(update={"screened": new, "screened_next": ()})
        future = self._thread.submit(self._compile, compile_ahead(alone, spare_cores))
        for trial in new:
            self._begun[trial.trial_id] = future

    def _compile(self, call: Call[Compiled]) -> None:
        # not by cancelling: whoever waits for a future that was cancelled in a queue waits for ever
        if not self._closing:
            self._isolator.call(call)
