"""A quota of CPU time is found wherever the kernel states it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.machine.cgroup import cpu_quota, throttled_s

V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "33 32 0:30 {root} /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:10 - cgroup cgroup rw,cpu,cpuacct\n"
OTHER = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n34 32 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def machine(top: Path, groups: str, mounts: str, **files: str) -> Path:
    """A /proc and a /sys that say so; files by path, with `__` for a slash."""
    (top / "proc/self").mkdir(parents=True)
    (top / "proc/self/cgroup").write_text(groups)
    (top / "proc/self/mountinfo").write_text(OTHER + mounts)
    for name, text in files.items():
        path = top / "sys/fs/cgroup" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return top


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "50000 100000\n"}, 0.5),  # a container: its own group is the root that it sees
        ({"a.slice__b.scope__cpu.max": "150000 100000\n"}, 1.5),
        ({"a.slice__cpu.max": "400000 100000\n", "a.slice__b.scope__cpu.max": "max 100000\n"}, 4.0),
        (
            {"a.slice__cpu.max": "200000 100000\n", "a.slice__b.scope__cpu.max": "300000 100000\n"},
            2.0,
        ),
        ({"other.slice__cpu.max": "50000 100000\n"}, None),
        ({}, None),
    ],
)
def test_of_version_2_the_least_limit_of_the_own_group_and_those_above_counts(
    tmp_path: Path, files: dict[str, str], expected: float | None
) -> None:
    """The root's file alone knows nothing of a scope's quota."""
    assert cpu_quota(machine(tmp_path, "0::/a.slice/b.scope\n", V2, **files)) == expected


@pytest.mark.parametrize(("quota", "expected"), [("50000", 0.5), ("-1", None)])
@pytest.mark.parametrize("root", ["/", "/docker/c1"])
def test_version_1_states_quota_and_period_in_two_files(
    tmp_path: Path, quota: str, expected: float | None, root: str
) -> None:
    """Also where the container's own group is mounted at the top."""
    own = "cpu,cpuacct__docker__c1__" if root == "/" else "cpu,cpuacct__"
    files = {f"{own}cpu.cfs_quota_us": f"{quota}\n", f"{own}cpu.cfs_period_us": "100000\n"}
    groups = "5:memory:/docker/c1\n4:cpu,cpuacct:/docker/c1\n"
    assert cpu_quota(machine(tmp_path, groups, V1.format(root=root), **files)) == expected


def test_a_path_outside_of_the_namespace_means_the_mounted_group(tmp_path: Path) -> None:
    """A process that was moved sees `/../x`."""
    assert cpu_quota(machine(tmp_path, "0::/../x\n", V2, **{"cpu.max": "100000 100000"})) == 1.0


@pytest.mark.parametrize(
    ("stat", "expected"),
    [
        ("usage_usec 5\nthrottled_usec 2500000\n", 2.5),
        ("throttled_time 1500000000\n", 1.5),
        ("usage_usec 5\n", None),
    ],
)
def test_time_held_back_is_in_seconds(tmp_path: Path, stat: str, expected: float | None) -> None:
    """Version 2 counts microseconds, version 1 nanoseconds."""
    assert throttled_s(machine(tmp_path, "0::/\n", V2, **{"cpu.stat": stat})) == expected


def test_a_machine_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    """No /proc is no error."""
    assert (cpu_quota(tmp_path), throttled_s(tmp_path)) == (None, None)
