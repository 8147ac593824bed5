"""How much host memory an attempt may take, and when it is found to take more."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.isolation import host_memory, proc
from orchestrator.isolation.host_memory import MemoryWatch, limit_bytes
from orchestrator.outcome import Phase
from orchestrator.util.quantities import GIB

HOLDS_64_MIB = (
    "import os, sys, time; x = os.urandom(2**26); print('ready', flush=True); time.sleep(600)"
)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 100 GiB, 60 of them free."""
    monkeypatch.setattr(host_memory, "total_and_available", lambda: (100 * GIB, 60 * GIB))


@pytest.mark.usefixtures("machine")
def test_a_stated_limit_holds_as_far_as_the_machine_goes() -> None:
    """Beyond what is there, the watchdog must act before Ray's monitor or the kernel do."""
    assert limit_bytes(10.0) == 10 * GIB
    assert limit_bytes(80.0) < 60 * GIB


@pytest.mark.usefixtures("machine")
def test_without_a_stated_limit_slots_share_what_is_free() -> None:
    """Two slots at their limits leave the machine below Ray's 95 %."""
    assert 40 * GIB + 2 * limit_bytes(None, slots=2) < 0.95 * 100 * GIB
    assert limit_bytes(None, slots=1) > 40 * GIB


def test_a_full_machine_still_lets_small_trials_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit does not fall to nothing where others hold the memory."""
    monkeypatch.setattr(host_memory, "total_and_available", lambda: (100 * GIB, GIB))
    assert limit_bytes(None) >= GIB // 4


def test_a_control_group_s_limit_counts_before_the_machine_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Version 2, as a container sees it; the page cache that can be dropped is free."""
    monkeypatch.setattr(host_memory, "_CGROUPS", tmp_path)
    for name, text in {
        "memory.max": str(2**20),
        "memory.current": str(2**19),
        "memory.stat": f"anon 5\ninactive_file {2**18}\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert host_memory.total_and_available() == (2**20, 2**19 + 2**18)
    (tmp_path / "memory.max").write_text("max\n")
    assert host_memory.total_and_available()[0] > 2**20


def test_this_machine_has_memory() -> None:
    """The real files are read."""
    total, available = host_memory.total_and_available()
    assert 0 < available <= total


def test_a_family_over_the_limit_is_found_and_one_below_it_is_not() -> None:
    """Both judged by a real process that holds 64 MiB and more."""
    with subprocess.Popen([sys.executable, "-c", HOLDS_64_MIB], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        watch = MemoryWatch(2**26, lambda: [holder.pid], "a rule")
        assert 2**26 < watch.held() < 2**28
        says = watch.look(Phase.BUILD)
        assert says is not None
        assert "the limit is 0.06 (a rule)" in says
        assert MemoryWatch(2**28, lambda: [holder.pid]).look(Phase.BUILD) is None
        holder.kill()


def test_from_verification_on_the_harness_may_hold_what_the_machine_can_spare() -> None:
    """Its reference and its inputs are no fault of the implementation's; whose limit was passed is
    said.
    """
    own = proc.resident_bytes(os.getpid())
    watch = MemoryWatch(
        own // 2, lambda: [os.getpid()], "resources.host_memory_gib", later=own + GIB
    )
    for phase in (Phase.BUILD, Phase.FIRST_CALL):
        assert "(resources.host_memory_gib)" in str(watch.look(phase))
    for phase in (Phase.VERIFY, Phase.MEASURE, Phase.MEMORY):
        assert watch.look(phase) is None
    short = MemoryWatch(
        own // 4, lambda: [os.getpid()], "resources.host_memory_gib", later=own // 2
    )
    assert "(what this machine can spare)" in str(short.look(Phase.VERIFY))


def test_pages_shared_since_a_fork_count_once() -> None:
    """Four copies of a process that holds 64 MiB do not hold 320."""
    code = f"import os\nx = os.urandom(2**26)\n[os.fork() for _ in range(2)]\n{HOLDS_64_MIB.partition('x = os')[0]}\n"
    code += "print('ready', flush=True); time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as first:
        assert first.stdout is not None
        for _ in range(4):
            first.stdout.readline()
        family = [first.pid, *proc.descendants(first.pid)]
        assert len(family) == 4
        assert sum(map(proc.resident_bytes, family)) > 4 * 2**26
        assert MemoryWatch(2 * 2**26, lambda: family).look(Phase.BUILD) is None
        os.killpg(first.pid, 9)


def test_it_looks_the_more_closely_the_nearer_the_limit_is() -> None:
    """Soon enough for the fastest growth, seldom where there is room: a look disturbs what is
    timed.
    """
    own = proc.resident_bytes(os.getpid())
    near, far = (
        MemoryWatch(own + 2**20, lambda: [os.getpid()]),
        MemoryWatch(own + 64 * GIB, lambda: [os.getpid()]),
    )
    near.look(Phase.BUILD)
    far.look(Phase.BUILD)
    assert near.next_look - time.monotonic() < 0.05
    assert 0.1 < far.next_look - time.monotonic() <= 0.2
