"""The table of faults: what a trial does, how its row must read. Adding a fault is adding a row
(and a `build`).
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Fault:
    """A fault and what must come of it.

    Attributes:
        build: name of the build function in faulty.py.
        outcome: of its row.
        says: what its error's kind and message must say, each a part of "kind: message"; none for
            an ok row.
        logs: what its log must say.
        timeout_s: resources.timeout_s.
        memory_gib: resources.host_memory_gib.
        processes_only: needs no more than a process; a worker that verifies outputs would call it a
            mismatch.
    """

    build: str
    outcome: str
    says: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    timeout_s: float = 60.0
    memory_gib: float | None = None
    processes_only: bool = False


FAULTS = [
    Fault("raises", "failed", ("ValueError", "three is not a head count"), ("Traceback",)),
    Fault("raises_unprintable", "failed", ("SilentError",)),
    Fault("raises_at_length", "failed", ("ValueError", "bytes, the last")),
    Fault("exits", "failed", ("SystemExit", "3")),
    Fault("interrupts", "failed", ("KeyboardInterrupt",)),
    Fault(
        "aborts",
        "crashed",
        ("SIGABRT",),
        ("about to abort", "Fatal Python error: Aborted", "faulty.py"),
    ),
    Fault("segfaults", "crashed", ("SIGSEGV",), ("Segmentation fault", "in segfaults")),
    Fault("kills_itself", "crashed", ("SIGKILL",)),
    Fault("kills_its_group", "crashed", ("SIGKILL",)),
    Fault("kills_its_parent", "lost", ("ForkServerDied",)),
    Fault("leaves_silently", "crashed", ("exit code 0", "before it gave a result")),
    Fault("leaves_from_a_thread", "crashed", ("exit code 7",)),
    Fault("eats_memory", "oom", ("HostMemory", "host_memory_gib", "GiB"), memory_gib=0.5),
    Fault("eats_memory_by_proxy", "oom", ("HostMemory",), memory_gib=0.5),
    Fault("cannot_allocate", "oom", ("MemoryError",)),
    Fault(
        "hangs",
        "timeout",
        ("Timeout", "timeout_s = 1 s", "first_call"),
        ("in hangs",),
        timeout_s=1.0,
    ),
    Fault("hangs_with_a_family", "timeout", ("Timeout",), timeout_s=1.0),
    Fault("ignores_signals", "timeout", ("Timeout",), timeout_s=1.0),
    Fault("stops_itself", "timeout", ("Timeout",), timeout_s=1.0),
    Fault("leaves_a_family", "ok", processes_only=True),
    Fault("forks_on", "ok", processes_only=True),
    Fault(
        "prints_a_lot",
        "ok",
        (),
        ("the first line", "bytes left out", "the last line"),
        processes_only=True,
    ),
    Fault("prints_oddly", "ok", (), ("no text", "half a character"), processes_only=True),
    Fault("answers_nan", "failed", ("JSON",), processes_only=True),
    Fault("answers_an_object", "failed", ("JSON",), processes_only=True),
    Fault("answers_text", "failed", ("AttemptResult",), processes_only=True),
    Fault("answers_hugely", "failed", ("bytes, at most",), processes_only=True),
    Fault("closes_files", "failed", ("closed the pipe",), processes_only=True),
    Fault("takes_over_files", "failed", ("closed the pipe",), processes_only=True),
    Fault("scribbles", "ok", processes_only=True),
    Fault("forges_an_answer", "ok", processes_only=True),
    Fault("closes_streams", "ok", processes_only=True),
    Fault("changes_the_world", "ok", processes_only=True),
]
