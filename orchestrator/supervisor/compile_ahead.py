"""Compiles the candidates of a search ahead, in parallel processes, before they are screened."""

from __future__ import annotations

import mmap
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from orchestrator.isolation import proc
from orchestrator.isolation.request import Call
from orchestrator.trial import Attempt
from orchestrator.util.frozen_model import FrozenModel

TARGET = "orchestrator.supervisor.compile_ahead:compile_each"
# seconds that all candidates of an attempt have for it: one that hangs meets its own limit when it
# is screened, and the others are compiled there
MOST_S = 60.0
# trials of a process: it starts CUDA once for them, which processes do one after another
SHARE = 4


class Compiled(FrozenModel):
    """How many trials were built and called."""

    count: int


def compile_ahead(attempt: Attempt) -> Call[Compiled]:
    """The call that compiles what an attempt is about to screen."""
    timeout_s = min(attempt.resources.timeout_s, MOST_S)
    resources = attempt.resources.model_copy(update={"timeout_s": timeout_s})
    return Call(TARGET, attempt, Compiled, attempt.device, resources)


def compile_each(attempt_json: str) -> Compiled:
    """Build each trial of an attempt and call it once, side by side in forked processes, so that
    what they compile is on disk when they are screened.

    This process itself uses neither the device nor a thread. How a trial ends here does not
    matter: it meets the same end when it is screened. One that ends its process is followed by the
    next in a new one.
    """
    trials = Attempt.model_validate_json(attempt_json).of_each_trial()
    side_by_side = min(len(os.sched_getaffinity(0)), -(-len(trials) // SHARE))
    begun = mmap.mmap(-1, side_by_side)  # of each process's share, how many
    shares = [trials[first::side_by_side] for first in range(side_by_side)]
    running = {_forked(share, begun, number): number for number, share in enumerate(shares)}
    while running:
        pid, _ = os.wait()
        number = running.pop(pid)
        if begun[number] < len(shares[number]):
            running[_forked(shares[number], begun, number)] = number
    return Compiled(count=len(trials))


def _forked(share: Sequence[Attempt], begun: mmap.mmap, number: int) -> int:
    """A process that builds and calls those trials of its share that none has begun; its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        proc.die_with_parent()
        # not in the supervisor, which would start later for it
        import torch

        from orchestrator.worker.stages import Stages

        torch.set_num_threads(1)
        with _launching_nothing():
            while begun[number] < len(share):
                attempt = share[begun[number]]
                begun[number] += 1
                try:
                    Stages(attempt, lambda _phase: None).called()
                except BaseException:  # noqa: BLE001 - it says so in the log, and is tried again in earnest
                    traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(0)


@contextmanager
def _launching_nothing() -> Iterator[None]:
    """Meanwhile Triton compiles the kernels that are launched, and does not launch them."""
    try:
        from triton.runtime.jit import JITFunction

        run: Any = JITFunction.run
    except (ImportError, AttributeError):  # there need be no Triton, or it has another form
        yield
        return

    def compiled(kernel: Any, *arguments: Any, **options: Any) -> Any:
        return run(kernel, *arguments, **{**options, "warmup": True})

    kind: Any = JITFunction
    kind.run = compiled
    try:
        yield
    finally:
        kind.run = run
