"""What the control group of this process allows it of the CPU: a container's `--cpus`, a batch system's share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def cpu_quota(top: Path = Path("/")) -> float | None:
    """Cores' worth of time that this process's groups allow, the least of them; None: there is no limit.

    Reads versions 1 and 2, the process's own group and every group above it that can be seen.

    Args:
        top: where /proc and /sys are found.
    """
    limits = [limit for group in _groups(top) if (limit := _limit(group)) is not None]
    return min(limits, default=None)


def throttled_s(top: Path = Path("/")) -> float | None:
    """Seconds for which this process's own group has been held back by its quota; None: not known."""
    for group in _groups(top):
        for line in _words(group / "cpu.stat"):
            if line[0] == "throttled_usec":
                return int(line[1]) / 1e6
            if line[0] == "throttled_time":
                return int(line[1]) / 1e9
    return None


def _limit(group: Path) -> float | None:
    for allowed, period in (line for line in _words(group / "cpu.max") if len(line) == 2):
        return None if allowed == "max" else int(allowed) / int(period)
    quota = [int(line[0]) for line in _words(group / "cpu.cfs_quota_us")]
    period_us = [int(line[0]) for line in _words(group / "cpu.cfs_period_us")]
    return quota[0] / period_us[0] if quota and period_us and quota[0] > 0 and period_us[0] > 0 else None


def _groups(top: Path) -> Iterator[Path]:
    """The folders of the groups that govern this process's CPU time, its own first."""
    paths = _own_paths(top)
    for line in _words(top / "proc/self/mountinfo"):
        if "-" not in line:
            continue
        kind, options = line[line.index("-") + 1], line[-1].split(",")
        path = paths.get("") if kind == "cgroup2" else paths.get("cpu")
        if path is None or not (kind == "cgroup2" or (kind == "cgroup" and "cpu" in options)):
            continue
        root, mount = Path(line[3]), top / line[4].lstrip("/")
        inside = Path(path).is_relative_to(root) and ".." not in path
        own = mount / Path(path).relative_to(root) if inside else mount
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
    """The words of each line that has any; none where the file cannot be read."""
    try:
        return [line.split() for line in path.read_text().splitlines() if line.strip()]
    except OSError:
        return []
