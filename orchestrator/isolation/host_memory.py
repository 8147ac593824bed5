"""How much host memory an attempt may take, and how much it takes: so that it ends as `oom` before anyone else acts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.isolation import proc
from orchestrator.outcome import Phase

GIB = 2**30
# Ray's memory monitor acts when 95 % of the machine is used, and it kills supervisors: stay well below it.
_KEEP_FREE_OF_TOTAL = 0.08
_SHARE_OF_AVAILABLE = 0.85
_AT_LEAST = GIB // 2
# Faster than processes fault in fresh pages: a limit is looked at again before it can be overrun by much.
_GROWTH_PER_S = 20 * GIB
_SHORTEST_S, _LONGEST_S = 0.02, 0.2
_CGROUPS = Path("/sys/fs/cgroup")


def limit_bytes(stated_gib: float | None, slots: int = 1) -> int:
    """What an attempt started now may take: the stated limit, but never more than this machine can give.

    Args:
        stated_gib: resources.host_memory_gib; None: an equal share for each slot of what is available.
        slots: how many attempts share the machine.
    """
    total, available = total_and_available()
    room = max(_AT_LEAST, min(_SHARE_OF_AVAILABLE * available, available - _KEEP_FREE_OF_TOTAL * total))
    return int(room / slots) if stated_gib is None else int(min(stated_gib * GIB, room))


def total_and_available() -> tuple[int, int]:
    """Bytes that this process and its kin may use at all, and those still free for it: machine's or control group's."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line)
    machine = int(fields["MemTotal"].split()[0]) * 1024, int(fields["MemAvailable"].split()[0]) * 1024
    return min([machine, *_cgroup_limits(machine[0])], key=lambda pair: pair[1])


def _cgroup_limits(total: int) -> list[tuple[int, int]]:
    """(limit, what is left of it) of each control group above this process that limits memory below `total`."""
    found = []
    for root, names in (
        (_CGROUPS, ("memory.max", "memory.current", "inactive_file")),
        (_CGROUPS / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")),
    ):
        for group in _groups(root):
            limit, used = _number(group / names[0]), _number(group / names[1])
            if limit is not None and used is not None and limit < total:
                found.append((limit, max(0, limit - used + _statistic(group / "memory.stat", names[2]))))
    return found


def _groups(root: Path) -> list[Path]:
    """The directories of this process's control groups under `root`, innermost first (in a container: `root`)."""
    groups = [root]
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if (number == "0" and root == _CGROUPS) or ("memory" in controllers.split(",") and root != _CGROUPS):
            inner = root / path.lstrip("/")
            groups += [group for group in (inner, *inner.parents) if group.is_relative_to(root)]
    return groups


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # not there, or "max"
        return None


def _statistic(path: Path, name: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)


def kernel_kills() -> int:
    """How many processes the kernel has killed for want of memory since boot, in this machine and its groups."""
    return _statistic(Path("/proc/vmstat"), "oom_kill")


class MemoryWatch:
    """Watches what a family of processes holds, more closely the nearer it is to the limit.

    The limit is the implementation's: it holds while that is built and called for the first time. Then the harness
    holds a reference and further inputs of its own, which are no fault of the implementation's.

    Args:
        limit: bytes.
        later: bytes, from verification on; None: the limit, whatever the phase.
        family: the processes, asked for at every look.
        whose: where the limit comes from, for the message.
    """

    kind = "HostMemory"

    def __init__(
        self, limit: int, family: Callable[[], Sequence[int]], whose: str = "stated", later: int | None = None
    ) -> None:
        self.limit = limit
        self._later = limit if later is None else max(limit, later)
        self._whose = whose
        self._family = family
        self.next_look = time.monotonic() + _SHORTEST_S

    def look(self, phase: Phase) -> str | None:
        """What to say of a family over the limit, None of one within it; `next_look` is when to look again."""
        own = phase in (Phase.BUILD, Phase.FIRST_CALL)
        limit = self.limit if own else self._later
        held = self.held()
        self.next_look = time.monotonic() + min(max((limit - held) / _GROWTH_PER_S, _SHORTEST_S), _LONGEST_S)
        if held <= limit:
            return None
        whose = self._whose if limit == self.limit else "what this machine can spare"
        return f"its processes held {held / GIB:.2f} GiB of host memory, the limit is {limit / GIB:.2f} ({whose})"

    def close(self) -> None:
        """Nothing is held."""

    def held(self) -> int:
        """The bytes that the family holds; never too few, and exact where it looks like too many."""
        family = self._family()
        held = sum(map(proc.resident_bytes, family))
        if held > self.limit:
            # Pages shared since a fork were counted once per process: count them rightly before anyone is killed.
            held = sum(map(proc.proportional_bytes, family)) or held
        return held
