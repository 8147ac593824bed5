"""Checks the machine around the GPUs: its cores, memory and disks."""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.doctor.finding import Finding, State
from orchestrator.formatting import printable
from orchestrator.machine.cgroup import cpu_quota
from orchestrator.machine.environment import cpu_model, usable_cores
from orchestrator.util.quantities import GIB

LOOK_S = 0.5
LOADED = 0.25
BUSY_PCT = 20.0
NAMED = 3
LONGEST_COMMAND = 60
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def cpu() -> Iterator[Finding]:
    """The cores, what keeps them busy, what caps them, and how their clock is governed."""
    cores = usable_cores()
    yield Finding("cpu", "ok", f"{cpu_model()}, {cores} cores")
    yield load(*busiest(LOOK_S), cores)
    yield governor(GOVERNOR.read_text().strip() if GOVERNOR.is_file() else None)
    yield quota(cpu_quota(), len(os.sched_getaffinity(0)))


@dataclass(frozen=True)
class Busy:
    """A process that uses a core; `percent` of one core."""

    name: str
    percent: float
    pid: int = 0
    command: str = ""

    @property
    def is_orchestrator(self) -> bool:
        """Whether it is another command of this package: a sweep, `try`, a report."""
        return re.search(r"(-m |^|/)orchestrator( |$)", self.command) is not None

    def __str__(self) -> str:
        """`python train.py (pid 1234) 76 %`."""
        said = self.name
        if self.command and len(self.command) <= LONGEST_COMMAND:
            said = self.command
        text = printable(said)
        if self.pid:
            text += f" (pid {self.pid})"
        return f"{text} {self.percent:.0f} %"


def load(used: float, busy: Sequence[Busy], cores: int) -> Finding:
    """`used`: cores in use by all processes but this one; `busy`: the busiest of them."""
    if used <= LOADED * cores:
        return Finding("cpu load", "ok", f"{used:.1f} of {cores} cores in use")
    names = ", ".join(map(str, busy[:NAMED])) or "processes that cannot be seen"
    state: State = "bad" if used > 0.75 * cores else "warn"
    message = f"{used:.1f} of {cores} cores in use by others: {names}"
    advice = "end them, or figures of the CPU and of small kernels will be noisy"
    return Finding("cpu load", state, message, advice)


def governor(name: str | None) -> Finding:
    """`name`: of the kernel's clock governor; None: it shows none."""
    if name in (None, "performance"):
        return Finding("cpu clocks", "ok", name or "governed outside this machine's kernel")
    advice = "cpupower frequency-set -g performance"
    return Finding("cpu clocks", "warn", f"governor {name}: the clock follows the load", advice)


def quota(share: float | None, cores: int) -> Finding:
    """`share`: cores' worth of time that the control group allows; None: there is no limit."""
    if share is None or share >= cores:
        return Finding("cpu quota", "ok", "none below the cores shown")
    text = f"{share:g} of {cores} cores: trials stall when it is used up"
    advice = "pin the container to whole cores instead (cpuset)"
    return Finding("cpu quota", "warn", text, advice)


def system() -> Finding:
    """Whether sweeps can run on this operating system at all."""
    if platform.system() == "Linux":
        return Finding("system", "ok", platform.platform(terse=True))
    advice = "use a machine with Linux, or a container; plan, report and compare work here"
    return Finding("system", "bad", f"{platform.system()}: sweeps run on Linux alone", advice)


def temporary(place: Path, max_bytes: int) -> Finding:
    """Whether Ray's sockets fit below the temporary folder."""
    longest = max_bytes - len("/sweep-xxxxxxxx")
    if len(os.fsencode(place)) <= longest:
        return Finding("temporary folder", "ok", str(place))
    message = f"{place} is too deep for Ray's sockets: /tmp is used in its place"
    advice = f"set TMPDIR to a folder of at most {longest} characters"
    return Finding("temporary folder", "warn", message, advice)


def memory() -> Finding:
    """Host memory that is free for trials."""
    free = psutil.virtual_memory().available
    text = f"{free / GIB:.1f} GiB available"
    if free < 2 * GIB:
        return Finding("memory", "warn", text, "end what holds it, or set host_memory_gib")
    return Finding("memory", "ok", text)


def disk(place: Path, needed_gib: float) -> Finding:
    """Whether the disk of `place` has room: bad without `needed_gib`, warn without ten times as
    much.
    """
    existing = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free / GIB
    if not os.access(existing, os.W_OK):
        advice = "use --output DIR, or give this user the right to write"
        return Finding(f"disk {place}", "bad", "cannot be written", advice)
    text = f"{free:.1f} GiB free"
    if free >= 10 * needed_gib:
        return Finding(f"disk {place}", "ok", text)
    state: State = "bad" if free < needed_gib else "warn"
    return Finding(f"disk {place}", state, text, "make room: results are kept there")


def busiest(seconds: float) -> tuple[float, list[Busy]]:
    """Cores in use by others over `seconds`, and the busiest of those that can be seen."""
    own = os.getpid()
    processes = [process for process in psutil.process_iter(["name"]) if process.pid != own]
    before = {process.pid: _cpu_s(process) for process in processes}
    total, mine, begun = psutil.cpu_times(), sum(os.times()[:2]), time.monotonic()
    time.sleep(seconds)
    later, elapsed = psutil.cpu_times(), time.monotonic() - begun
    # the first three: user, nice, system; of `os.times`, the first two: ours
    spent = (sum(later[:3]) - sum(total[:3])) - (sum(os.times()[:2]) - mine)
    found = []
    for process in processes:
        share = 100 * (_cpu_s(process) - before[process.pid]) / elapsed
        if share > BUSY_PCT:
            found.append(Busy(process.info["name"] or "?", share, process.pid, _command(process)))
    return max(0.0, spent / elapsed), sorted(found, key=lambda busy: -busy.percent)


def _command(process: psutil.Process) -> str:
    """Its command line, the path of the program left out; empty where it may not be seen."""
    try:
        line = process.cmdline()
    except psutil.Error:
        return ""
    if not line:  # a kernel thread has none
        return ""
    return " ".join([Path(line[0]).name, *line[1:]])


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)
