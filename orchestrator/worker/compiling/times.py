"""What compiling costs: from build to the end of the first call, with empty caches, and once more
in a fresh process with the caches that this left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from time import perf_counter

from orchestrator.measure.memory import Figures
from orchestrator.trial import Attempt
from orchestrator.util import subprocesses

COLD, WARM = "cold_first_call_ms", "warm_first_call_ms"
# Where compilers keep what they compiled: Inductor, Triton, torch's extensions, CUDA's own JIT.
CACHES = {
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "TORCH_EXTENSIONS_DIR": "extensions",
    "CUDA_CACHE_PATH": "cuda",
}
PREFIX = "orchestrator-caches-"
# torch's names of its stages, each of which contains the next
NESTED = {
    "entire_frame_compile": "tracing",
    "backend_compile": "autograd and graph passes",
    "inductor_compile": "lowering",
    "code_gen": "generated code built",
}


@contextmanager
def empty_caches() -> Iterator[None]:
    """Have compilers of this process, and of those that it starts, begin with empty caches.

    They are removed at the end; those of a process that was killed by the next that makes some.
    """
    _remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    before = {name: os.environ.get(name) for name in CACHES}
    for name, part in CACHES.items():
        (folder / part).mkdir()
        os.environ[name] = str(folder / part)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)


def import_compilers() -> None:
    """Import what torch.compile imports when it is first used: seconds that are no compilation."""
    with warnings.catch_warnings(action="ignore"):  # of torch about torch
        for module in ("torch._dynamo", "torch._inductor.compile_fx", "torch._inductor.codecache"):
            with suppress(ImportError):
                import_module(module)


def _remove_abandoned() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        with suppress(OSError):
            alive = owner.isdecimal() and Path(f"/proc/{owner}").exists()
            if not alive and folder.lstat().st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)


def memory_note() -> tuple[str, ...]:
    """That the host's memory has the compiler in it, where one has run in this process."""
    if not stage_times():
        return ()
    return ("the memory is what the process grew by, torch.compile's own included",)


def stage_times() -> dict[str, float]:
    """Milliseconds of each stage of torch.compile in this process, each without the next; empty
    where it compiled nothing.
    """
    utils = sys.modules.get("torch._dynamo.utils")
    if utils is None:
        return {}
    try:
        spent: Mapping[str, float] = utils.calculate_time_spent()
    except Exception:  # noqa: BLE001 - a function that torch promises to nobody
        return {}
    known = [(NESTED[name], 1000 * spent[name]) for name in NESTED if name in spent]
    later = [milliseconds for _, milliseconds in known[1:]]
    pairs = zip(known, [*later, 0.0], strict=False)
    return {name: max(0.0, whole - inner) for (name, whole), inner in pairs}


def in_words(when: str, stages: Mapping[str, float]) -> tuple[str, ...]:
    """A note; none where no compiler says anything."""
    if not stages:
        return ()
    parts = ", ".join(f"{name} {milliseconds:.0f} ms" for name, milliseconds in stages.items())
    return (f"torch.compile, {when}: {parts}",)


def warm(attempt: Attempt) -> tuple[Figures, tuple[str, ...]]:
    """The figure of a fresh process that finds the caches as they are, and notes.

    Where that process fails there is no figure, and a note says why.
    """
    line = [sys.executable, "-m", "orchestrator.worker.compiling.first_call"]
    try:
        done = subprocesses.run(line, attempt.model_dump_json(), attempt.resources.timeout_s)
        answer = subprocesses.last_json_line(done)
    except subprocess.TimeoutExpired:
        return {WARM: None}, (f"{WARM}: longer than resources.timeout_s",)
    except ValueError as error:
        return {WARM: None}, (f"{WARM} is not known: {error}",)
    return {WARM: answer["ms"]}, in_words("warm", answer["stages"])


class Timer:
    """Milliseconds since it was made."""

    def __init__(self) -> None:
        self._start = perf_counter()

    def ms(self) -> float:
        """So many by now."""
        return 1000 * (perf_counter() - self._start)
