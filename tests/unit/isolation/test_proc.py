"""Families of processes are found whole, ended whole, and known by their marks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from orchestrator.isolation import proc

# A child, its child in another session, and a print once both are there.
FAMILY = """
import subprocess, sys, time
inner = "import subprocess as s, time; p = s.Popen(['sleep', '600'], start_new_session=True); print(p.pid, flush=True)"
subprocess.run([sys.executable, "-c", inner + "; time.sleep(600)"])
"""

REAPS = """
import os, subprocess, sys, time
from orchestrator.isolation import proc
proc.adopt_orphans()
subprocess.run(["sh", "-c", "setsid sleep 600 & sleep 600 & exit"])
before = len(proc.descendants(os.getpid()))
left = proc.Reaper().end_family(5.0)
print(before, left, proc.descendants(os.getpid()))
"""


@pytest.fixture
def family() -> Iterator[tuple[int, int]]:
    """(A process, its grandchild in a session of its own)."""
    with subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, env=_marked("a/b/c")
    ) as process:
        assert process.stdout is not None
        grandchild = int(process.stdout.readline())
        yield process.pid, grandchild
        proc.end(lambda: [process.pid, *proc.descendants(process.pid)])
        process.wait()


def _marked(value: str) -> dict[str, str]:
    return {**os.environ, proc.MARK: value}


def test_descendants_are_found_across_sessions_parents_first(family: tuple[int, int]) -> None:
    """By the children files, and by the scan that replaces them on kernels without."""
    parent, grandchild = family
    found = proc.descendants(parent)
    assert len(found) == 2
    assert found[1] == grandchild
    scan = proc._children_by_scan()
    assert scan(scan(parent)[0]) == [grandchild]


def test_marks_find_what_a_process_started(family: tuple[int, int]) -> None:
    """Each inherits the mark in its environment."""
    assert set(family) <= set(proc.marked("a/b/c"))
    assert proc.marked("a/b/c/d") == []


def test_ending_a_family_leaves_no_one(family: tuple[int, int]) -> None:
    """Parent, child and grandchild alike."""
    everyone = [family[0], *proc.descendants(family[0])]
    proc.end(lambda: everyone)
    deadline = time.monotonic() + 5
    while any(map(proc.is_alive, everyone)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [pid for pid in everyone if proc.is_alive(pid)] == []


def test_a_reaper_ends_orphans_too_and_proves_it() -> None:
    """One left behind in a session of its own is adopted, killed, and reaped."""
    out = subprocess.run(
        [sys.executable, "-c", REAPS], capture_output=True, text=True, check=True, timeout=30
    )
    assert out.stdout.split(maxsplit=1) == ["2", "[] []\n"]


def test_a_mark_names_one_process_for_good() -> None:
    """Namespace, pid and start: another process with the same pid has another mark."""
    assert proc.mark() == proc.mark()
    assert f"/{os.getpid()}/" in proc.mark()


def test_only_what_lost_its_owner_is_abandoned() -> None:
    """Not what belongs to a living process, to another namespace, or to nobody.

    By a mark of this test's own: isolators that start meanwhile end what lost an owner by theirs.
    """
    mark = "ORCHESTRATOR_TEST_OWNER"
    namespace, pid, start = proc.mark().split("/")
    owners = {
        "living": f"{namespace}/{pid}/{start}/x",
        "reused pid": f"{namespace}/{pid}/{int(start) + 1}/x",
        "no such pid": f"{namespace}/{2**22 + 5}/1/x",
        "elsewhere": f"pid:[1]/{pid}/{int(start) + 1}/x",
    }
    sleepers = {
        name: subprocess.Popen(["sleep", "600"], env={**os.environ, mark: owner})
        for name, owner in owners.items()
    }
    abandoned = set(proc.abandoned(mark))
    for sleeper in sleepers.values():
        sleeper.kill()
        sleeper.wait()
    assert {name for name, sleeper in sleepers.items() if sleeper.pid in abandoned} == {
        "reused pid",
        "no such pid",
    }


def test_processes_that_are_gone_are_no_error() -> None:
    """They may vanish between any two looks."""
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert not proc.is_alive(ended.pid)
    assert proc.descendants(ended.pid) == []
    assert proc.resident_bytes(ended.pid) == 0
    assert proc.start_ticks(ended.pid) is None
    proc.send(ended.pid, signal.SIGKILL)


def test_a_zombie_is_not_alive() -> None:
    """It holds nothing but its status."""
    with subprocess.Popen(["true"]) as ended:
        deadline = time.monotonic() + 5
        while proc.is_alive(ended.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not proc.is_alive(ended.pid)
        assert proc.start_ticks(ended.pid) is not None
