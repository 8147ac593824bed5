"""Linux processes: families, memory, marks, and their end.

Reads /proc itself: a family is looked at many times a second while a trial is timed, and psutil would walk every
process of the machine for it. Processes that vanish while they are read count as gone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")
_KIB = 1024
_FREEZE_ROUNDS = 20

MARK = "ORCHESTRATOR_OWNER"  # in the environment of an attempt's processes: whose isolator started them
DRIVER_MARK = "ORCHESTRATOR_DRIVER"  # in the environment of a sweep's own Ray, and so of all below it: which driver


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Have the kernel send `signum` to this process when the thread that forked it ends."""
    _prctl(_PR_SET_PDEATHSIG, signum)


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent dies, whatever session it moved to."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def descendants(pid: int) -> list[int]:
    """The children of `pid`, theirs, and so on; parents before children."""
    children = _children_by_task if (_PROC / f"self/task/{os.getpid()}/children").exists() else _children_by_scan()
    found = list(children(pid))
    for member in found:  # grows while it is walked
        found.extend(children(member))
    return found


def _children_by_task(pid: int) -> list[int]:
    try:
        tasks = list((_PROC / str(pid) / "task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _children_by_scan() -> Callable[[int], list[int]]:
    """For kernels built without the children file: one look at every process there is."""
    families: dict[int, list[int]] = {}
    for pid in every_pid():
        if (fields := _stat(pid)) is not None:
            families.setdefault(int(fields[1]), []).append(pid)
    return lambda parent: families.get(parent, [])


def every_pid() -> list[int]:
    """Every process that this one can see."""
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def is_alive(pid: int) -> bool:
    """Whether `pid` is a process that still runs: a zombie does not."""
    fields = _stat(pid)
    return fields is not None and fields[0] not in ("Z", "X")


def start_ticks(pid: int) -> int | None:
    """When `pid` started, in clock ticks since boot: with the pid, a process's identity. None: there is none."""
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on (the name before it may hold spaces and parentheses)."""
    try:
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def resident_bytes(pid: int) -> int:
    """Memory that only this process's end gives back, pages shared since a fork counted in full; 0 when gone.

    Anonymous and shared memory. Mapped files are left out: the kernel drops them when it needs the room.
    """
    return _sum_kib(_PROC / str(pid) / "status", ("RssAnon:", "RssShmem:"))


def proportional_bytes(pid: int) -> int:
    """Like `resident_bytes`, each shared page split among its holders. Exact and slow: it walks the page tables."""
    return _sum_kib(_PROC / str(pid) / "smaps_rollup", ("Pss_Anon:", "Pss_Shmem:"))


def _sum_kib(path: Path, names: tuple[str, ...]) -> int:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * _KIB for line in lines if line.startswith(names))


def send(pid: int, signum: int) -> None:
    """Signal a process that may be gone, or not ours to signal."""
    try:
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return


def end(find: Callable[[], Iterable[int]]) -> None:
    """Kill all that `find` finds: frozen first, until no new one turns up, so that none forks away meanwhile."""
    frozen: set[int] = set()
    for _ in range(_FREEZE_ROUNDS):
        fresh = set(find()) - frozen
        if not fresh:
            break
        for pid in fresh:
            send(pid, signal.SIGSTOP)
        frozen |= fresh
    for pid in frozen:
        send(pid, signal.SIGKILL)


class Reaper:
    """The children of this process and what they ended with; use it in a process that adopts orphans."""

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}

    def reap(self) -> bool:
        """Collect who has ended; whether any child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self.statuses[pid] = status

    def end_family(self, timeout_s: float) -> list[int]:
        """Kill everything descended from this process; the pids that would not die within `timeout_s` seconds.

        An empty list is proof: the kernel has said that this process has no child, and orphans would be its children.
        """
        deadline = time.monotonic() + timeout_s
        pause_s = 0.0005
        while self.reap():
            if time.monotonic() > deadline:
                return descendants(os.getpid())
            end(lambda: descendants(os.getpid()))
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.05)
        return []


def mark() -> str:
    """An environment value that names this process for good: PID namespace, pid and start."""
    namespace = (_PROC / "self/ns/pid").readlink()
    return f"{namespace}/{os.getpid()}/{start_ticks(os.getpid())}"


def marked(value: str, name: str = MARK) -> list[int]:
    """The processes that were started with `name`=value in their environment, or with value/more."""
    beginning = f"{name}={value}/".encode()
    return [pid for pid in every_pid() if any((entry + b"/").startswith(beginning) for entry in _environ(pid))]


def has_mark(pid: int, name: str = MARK) -> bool:
    """Whether `pid` was started with a mark of that name."""
    return any(entry.startswith(f"{name}=".encode()) for entry in _environ(pid))


def abandoned(name: str = MARK) -> list[int]:
    """The processes whose mark of that name tells of an owner that is no more: what somebody killed left behind."""
    return [pid for pid in every_pid() if any(_is_abandoned(entry, name) for entry in _environ(pid))]


def _is_abandoned(entry: bytes, mark_name: str) -> bool:
    name, _, value = entry.decode(errors="replace").partition("=")
    return name == mark_name and is_ownerless(value)


def is_ownerless(value: str) -> bool:
    """Whether a mark names an owner of this PID namespace that is no more; what is no mark is nobody's to end."""
    parts = value.split("/")
    if len(parts) < 3 or parts[0] != str((_PROC / "self/ns/pid").readlink()) or not parts[1].isdigit():
        return False
    return str(start_ticks(int(parts[1]))) != parts[2] or not is_alive(int(parts[1]))


def _environ(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
