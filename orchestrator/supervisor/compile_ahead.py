"""Compiles the candidates of a search ahead, in parallel processes, before they are screened."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios
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
# trials of a process on average: it starts CUDA once for them, which processes do one after
# another, 0.2 s each on an H200; a kernel takes one to ten seconds to compile
SHARE = 2
NUMBER = struct.Struct("=I")


class ToCompile(FrozenModel):
    """What is to be compiled.

    Attributes:
        attempt: that screens it.
        spare_cores: how many cores are left to what is being timed meanwhile.
    """

    attempt: Attempt
    spare_cores: int = 0


class Compiled(FrozenModel):
    """How many trials were built and called."""

    count: int


def compile_ahead(attempt: Attempt, spare_cores: int = 0) -> Call[Compiled]:
    """The call that compiles what an attempt is about to screen, with all cores but so many."""
    timeout_s = min(attempt.resources.timeout_s, MOST_S)
    resources = attempt.resources.model_copy(update={"timeout_s": timeout_s})
    asked = ToCompile(attempt=attempt, spare_cores=spare_cores)
    return Call(TARGET, asked, Compiled, attempt.device, resources)


def compile_each(asked_json: str) -> Compiled:
    """Build each trial of an attempt and call it once, side by side in forked processes, so that
    what they compile is on disk when they are screened.

    Each process takes one trial after another from a pipe that holds their numbers, so that none
    waits for the one with the slowest kernels. This process itself uses neither the device nor a
    thread. How a trial ends here does not matter: it meets the same end when it is screened. Where
    one ends its process a new process takes its place.
    """
    asked = ToCompile.model_validate_json(asked_json)
    trials = asked.attempt.of_each_trial()
    cores = max(1, len(os.sched_getaffinity(0)) - asked.spare_cores)
    side_by_side = min(cores, -(-len(trials) // SHARE))
    waiting, end = os.pipe()
    for number in range(len(trials)):  # 16,000 fit in a pipe, and 128 are screened at most
        os.write(end, NUMBER.pack(number))
    os.close(end)
    running = {_forked(trials, waiting) for _ in range(side_by_side)}
    while running:
        pid, _ = os.wait()
        running.discard(pid)
        if len(running) < _left(waiting):
            running.add(_forked(trials, waiting))
    os.close(waiting)
    return Compiled(count=len(trials))


def _left(waiting: int) -> int:
    """How many numbers a pipe holds."""
    held = fcntl.ioctl(waiting, termios.FIONREAD, struct.pack("i", 0))
    return int(struct.unpack("i", held)[0]) // NUMBER.size


def _forked(trials: Sequence[Attempt], waiting: int) -> int:
    """A process that builds and calls those trials whose numbers it reads; its pid."""
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
            while number := os.read(waiting, NUMBER.size):
                attempt = trials[NUMBER.unpack(number)[0]]
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
