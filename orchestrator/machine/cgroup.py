"""Reads the CPU quota of this process's control group: a container's `--cpus`, a job's share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def cpu_quota(top: Path = Path("/")) -> float | None:
    """The number of cores' worth of CPU time that this process may use; None: no limit.

    The least limit among the process's own group and every visible group above it, of versions 1
    and 2 of control groups.

    Args:
        top: where /proc and /sys are found.
    """
    least = None
    for group in _groups(top):
        limit = _limit(group)
        if limit is not None and (least is None or limit < least):
            least = limit
    return least


def throttled_s(top: Path = Path("/")) -> float | None:
    """Seconds for which the quota has stopped this process's own group; None: not known."""
    for group in _groups(top):
        for line in _words(group / "cpu.stat"):
            if line[0] == "throttled_usec":
                return int(line[1]) / 1e6
            if line[0] == "throttled_time":
                return int(line[1]) / 1e9
    return None


def _limit(group: Path) -> float | None:
    """Cores' worth of time that one group allows; None: no limit."""
    for line in _words(group / "cpu.max"):  # version 2: "quota period", or "max period"
        if len(line) == 2:
            allowed, period = line
            if allowed == "max":
                return None
            return int(allowed) / int(period)
    quotas = _words(group / "cpu.cfs_quota_us")  # version 1; -1: no limit
    periods = _words(group / "cpu.cfs_period_us")
    if not quotas or not periods:
        return None
    quota_us, period_us = int(quotas[0][0]), int(periods[0][0])
    if quota_us <= 0 or period_us <= 0:
        return None
    return quota_us / period_us


def _groups(top: Path) -> Iterator[Path]:
    """The folders of the groups that govern this process's CPU time, its own first."""
    paths = _own_paths(top)
    for line in _words(top / "proc/self/mountinfo"):
        if "-" not in line:
            continue
        kind, options = line[line.index("-") + 1], line[-1].split(",")
        if kind == "cgroup2":
            path = paths.get("")
        elif kind == "cgroup" and "cpu" in options:
            path = paths.get("cpu")
        else:
            continue
        if path is None:
            continue
        root, mount = Path(line[3]), top / line[4].lstrip("/")
        own = mount  # in a container the mount shows the group itself, whatever its path outside
        if Path(path).is_relative_to(root) and ".." not in path:
            own = mount / Path(path).relative_to(root)
        yield own
        for group in own.parents:
            if not group.is_relative_to(mount):
                break
            yield group


def _own_paths(top: Path) -> dict[str, str]:
    """Controller -> path of this process's group; "" stands for version 2."""
    found = {}
    try:
        lines = (top / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _words(path: Path) -> list[list[str]]:
    """The words of each line that is not blank; none if the file cannot be read."""
    try:
        return [line.split() for line in path.read_text().splitlines() if line.strip()]
    except OSError:
        return []
