"""Linux processes: families, memory, marks, and their end.

Reads /proc itself: a family is listed many times a second while a trial is timed, and psutil would
walk every process of the machine for it. Processes that vanish while they are read count as gone.
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

# Variables that name a process's owner; whatever it starts inherits them.
MARK = "ORCHESTRATOR_OWNER"  # of an attempt's processes: the isolator
DRIVER_MARK = "ORCHESTRATOR_DRIVER"  # of a sweep's own Ray: the driver


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Have the kernel send `signum` to this process when the thread that forked it ends."""
    _prctl(_PR_SET_PDEATHSIG, signum)


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent dies, in any session."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def descendants(pid: int) -> list[int]:
    """The children of `pid`, theirs, and so on; parents before children."""
    children: Callable[[int], list[int]] = _children_by_task
    if not (_PROC / f"self/task/{os.getpid()}/children").exists():
        children = _children_by_scan()
    found = list(children(pid))
    for member in found:  # grows while it is walked
        found.extend(children(member))
    return found


def _children_by_task(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in (_PROC / str(pid) / "task").iterdir():
            found.extend(map(int, (task / "children").read_text().split()))
    except OSError:  # it has ended: its children have another parent now
        return []
    return found


def _children_by_scan() -> Callable[[int], list[int]]:
    """For kernels built without the children file: reads every process of the machine once."""
    families: dict[int, list[int]] = {}
    for pid in every_pid():
        if (fields := _stat(pid)) is not None:
            families.setdefault(int(fields[1]), []).append(pid)
    return lambda parent: families.get(parent, [])


def every_pid() -> list[int]:
    """Every process that this one can see."""
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def is_alive(pid: int) -> bool:
    """Whether `pid` is a process that still runs; a zombie is not."""
    fields = _stat(pid)
    return fields is not None and fields[0] not in ("Z", "X")


def start_ticks(pid: int) -> int | None:
    """When `pid` started, in clock ticks since boot; None: no such process.

    Pids are used again: pid and start together identify a process.
    """
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on: the name before it may hold any character."""
    try:
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def resident_bytes(pid: int) -> int:
    """Bytes of anonymous and shared memory; 0 if the process is gone.

    Pages shared since a fork count in full. Mapped files do not count: the kernel drops them when
    it needs room.
    """
    return _sum_kib(_PROC / str(pid) / "status", ("RssAnon:", "RssShmem:"))


def proportional_bytes(pid: int) -> int:
    """Like `resident_bytes`, with shared pages split among their holders: slow, but exact."""
    return _sum_kib(_PROC / str(pid) / "smaps_rollup", ("Pss_Anon:", "Pss_Shmem:"))


def _sum_kib(path: Path, names: tuple[str, ...]) -> int:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * _KIB for line in lines if line.startswith(names))


def send(pid: int, signum: int) -> None:
    """Signal a process; does nothing if it is gone, or belongs to another user."""
    try:
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return


def end(find: Callable[[], Iterable[int]]) -> None:
    """Kill all processes that `find` lists.

    They are frozen first, until no new one turns up: a process that is killed while others fork
    would leave their new children behind.
    """
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
    """Collects the wait statuses of this process's children. For a process that adopts orphans."""

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}

    def reap(self) -> bool:
        """Collect the children that have ended; False: no child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self.statuses[pid] = status

    def end_family(self, timeout_s: float, spared: Iterable[int] = ()) -> list[int]:
        """Kill all descendants of this process; the pids still alive after `timeout_s` seconds.

        An empty list is proof: the kernel has reported that this process has no child, and orphans
        would be its children.

        Args:
            timeout_s: how long they may take to end.
            spared: children that live on. They must not start processes of their own.
        """
        spared = set(spared)

        def family() -> list[int]:
            return [pid for pid in descendants(os.getpid()) if pid not in spared]

        deadline = time.monotonic() + timeout_s
        pause_s = 0.0005
        while self.reap():
            found = family()
            if spared and not found:
                return []
            if time.monotonic() > deadline:
                return found
            end(family)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.05)
        return []


def mark() -> str:
    """A value that identifies this process for all time: PID namespace, pid and start."""
    namespace = (_PROC / "self/ns/pid").readlink()
    return f"{namespace}/{os.getpid()}/{start_ticks(os.getpid())}"


def marked(value: str, name: str = MARK) -> list[int]:
    """The processes whose environment has `name`=value, or `name`=value/more."""
    return [pid for pid in every_pid() if _is_marked(pid, value, name)]


def _is_marked(pid: int, value: str, name: str) -> bool:
    return any(f"{mark}/".startswith(f"{value}/") for mark in _marks(pid, name))


def has_mark(pid: int, name: str = MARK) -> bool:
    """Whether the environment of `pid` has a mark of that name."""
    return bool(_marks(pid, name))


def abandoned(name: str = MARK) -> list[int]:
    """The processes whose mark of that name is of an owner that no longer exists."""
    return [pid for pid in every_pid() if any(map(is_ownerless, _marks(pid, name)))]


def _marks(pid: int, name: str) -> list[str]:
    """The values of the variable `name` in the environment of `pid`; empty if unreadable."""
    prefix = f"{name}="
    try:
        entries = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
    found = []
    for entry in entries:
        text = entry.decode(errors="replace")
        if text.startswith(prefix):
            found.append(text.removeprefix(prefix))
    return found


def is_ownerless(value: str) -> bool:
    """True if a mark names a process of this PID namespace that no longer exists.

    False for a value that is no valid mark, and for one of another namespace: nothing is known of
    its owner.
    """
    parts = value.split("/")
    if len(parts) < 3 or not parts[1].isdigit():
        return False
    namespace, pid, start = parts[0], int(parts[1]), parts[2]
    if namespace != str((_PROC / "self/ns/pid").readlink()):
        return False
    return str(start_ticks(pid)) != start or not is_alive(pid)
