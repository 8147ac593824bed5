"""Limits an attempt's host memory; ends it as `oom` before the kernel or Ray kills something."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.isolation import proc
from orchestrator.outcome import Phase
from orchestrator.util.quantities import GIB

# Ray's memory monitor acts when 95 % of the machine is used, and kills supervisors: stay below.
_KEEP_FREE_OF_TOTAL = 0.08
_SHARE_OF_AVAILABLE = 0.85
_AT_LEAST = GIB // 2
# Faster than processes fault in pages: the next check comes before the limit is far exceeded.
_GROWTH_PER_S = 20 * GIB
_SHORTEST_S, _LONGEST_S = 0.02, 0.2
_CGROUPS = Path("/sys/fs/cgroup")


def limit_bytes(stated_gib: float | None, slots: int = 1) -> int:
    """Bytes that an attempt started now may take: as stated, but no more than the machine can give.

    Args:
        stated_gib: resources.host_memory_gib; None: each slot's equal share of what is available.
        slots: how many attempts share the machine.
    """
    total, available = total_and_available()
    room = min(_SHARE_OF_AVAILABLE * available, available - _KEEP_FREE_OF_TOTAL * total)
    room = max(room, _AT_LEAST)
    if stated_gib is None:
        return int(room / slots)
    return int(min(stated_gib * GIB, room))


def total_and_available() -> tuple[int, int]:
    """(limit, available) bytes of the machine, or of the control group with the least available."""
    sizes_kib = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("MemTotal", "MemAvailable"):
            sizes_kib[name] = int(value.split()[0])
    total, available = sizes_kib["MemTotal"] * 1024, sizes_kib["MemAvailable"] * 1024
    return min([(total, available), *_cgroup_limits(total)], key=lambda pair: pair[1])


def _cgroup_limits(total: int) -> list[tuple[int, int]]:
    """(limit, available) of each control group above this process whose limit is below `total`.

    The kernel drops inactive file pages when it needs room, so they count as available.
    """
    found = []
    for root, names in (
        (_CGROUPS, ("memory.max", "memory.current", "inactive_file")),
        (
            _CGROUPS / "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ):
        for group in _groups(root):
            limit, used = _number(group / names[0]), _number(group / names[1])
            if limit is not None and used is not None and limit < total:
                found.append(
                    (limit, max(0, limit - used + _statistic(group / "memory.stat", names[2])))
                )
    return found


def _groups(root: Path) -> list[Path]:
    """The folders of this process's control groups under `root`; in a container `root` itself."""
    groups = [root]
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        is_version_2 = number == "0" and root == _CGROUPS
        is_version_1 = "memory" in controllers.split(",") and root != _CGROUPS
        if is_version_2 or is_version_1:
            inner = root / path.lstrip("/")
            groups += [group for group in (inner, *inner.parents) if group.is_relative_to(root)]
    return groups


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _statistic(path: Path, name: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        if line.startswith(f"{name} "):
            return int(line.split()[1])
    return 0


def kernel_kills() -> int:
    """How many processes the kernel's OOM killer has killed since boot, in all control groups."""
    return _statistic(Path("/proc/vmstat"), "oom_kill")


class MemoryWatch:
    """Watches the memory of a family of processes, more often the nearer it is to the limit.

    The limit is the implementation's: it applies while it is built and called for the first time.
    From then on the harness holds a reference and further inputs, which are not the
    implementation's.

    Args:
        limit: bytes.
        later: bytes, from verification on; None: `limit` in every phase.
        family: the processes, listed anew at every check.
        whose: where the limit comes from, for the message.
    """

    kind = "HostMemory"

    def __init__(
        self,
        limit: int,
        family: Callable[[], Sequence[int]],
        whose: str = "stated",
        later: int | None = None,
    ) -> None:
        self.limit = limit
        self._later = limit if later is None else max(limit, later)
        self._whose = whose
        self._family = family
        self.next_look = time.monotonic() + _SHORTEST_S

    def look(self, phase: Phase) -> str | None:
        """Why the family is over the limit in `phase`; None: it is not."""
        own = phase in (Phase.BUILD, Phase.FIRST_CALL)
        limit = self.limit if own else self._later
        held = self.held()
        self.next_look = time.monotonic() + min(
            max((limit - held) / _GROWTH_PER_S, _SHORTEST_S), _LONGEST_S
        )
        if held <= limit:
            return None
        whose = self._whose
        if limit != self.limit:
            whose = "what this machine can spare"
        return (
            f"its processes held {held / GIB:.2f} GiB of host memory, the limit is "
            f"{limit / GIB:.2f} ({whose})"
        )

    def close(self) -> None:
        """Does nothing: no file is open."""

    def held(self) -> int:
        """Bytes that the family holds: an upper bound, and exact if the bound exceeds the limit."""
        family = self._family()
        held = sum(map(proc.resident_bytes, family))
        if held > self.limit:
            # Pages shared since a fork were counted once per process: split them before a kill.
            held = sum(map(proc.proportional_bytes, family)) or held
        return held
