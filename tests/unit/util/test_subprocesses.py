"""Programs beside are ended with all that they started; their last line is their answer."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.isolation import proc
from orchestrator.util import subprocesses

HANGS = """\
import pathlib, subprocess, sys, time
started = subprocess.Popen(["sleep", "1000"])
pathlib.Path(sys.argv[1]).write_text(str(started.pid))
time.sleep(1000)
"""


@pytest.mark.slow
def test_what_a_program_started_ends_with_it(tmp_path: Path) -> None:
    """Though it holds the pipes, which `subprocess.run` would wait for."""
    file = tmp_path / "pid"
    with pytest.raises(subprocess.TimeoutExpired):
        subprocesses.run([sys.executable, "-c", HANGS, str(file)], "", 2.0)
    # where the machine is so slow that it had started nothing, there is nothing to be left
    if file.is_file() and (pid := file.read_text()):
        while proc.is_alive(int(pid)):  # the kernel ends it a moment after it was told to
            time.sleep(0.01)


def test_one_that_is_ended_while_it_runs_holds_nobody_up() -> None:
    """What it started has its pipes, too; `Popen.kill` would leave that to itself."""
    process = subprocesses.start(["sh", "-c", "sleep 1000 & echo $!; wait"])
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    subprocesses.end(process)
    assert process.returncode == -9
    while proc.is_alive(pid):  # the kernel ends it a moment after it was told to
        time.sleep(0.01)


def test_a_program_reads_its_input_and_answers_in_its_last_line() -> None:
    """Whatever a library prints before."""
    done = subprocesses.run(["sh", "-c", "echo hello; cat"], '{"a": 1}', 60.0)
    assert subprocesses.last_json_line(done) == {"a": 1}


@pytest.mark.parametrize(
    ("code", "said", "errors", "why"),
    [
        (1, '{"a": 1}', "first\nlast\n", "last"),
        (0, "no answer", "", "exit 0, and no answer"),
        (-9, "", "", "exit -9, and no answer"),
    ],
)
def test_a_program_without_an_answer_is_an_error(
    code: int, said: str, errors: str, why: str
) -> None:
    """Also where it printed something and failed afterwards."""
    done = subprocess.CompletedProcess(["x"], code, said, errors)
    with pytest.raises(ValueError, match=f"^{why}$"):
        subprocesses.last_json_line(done)


INTERRUPTED = """\
import signal, sys
from orchestrator.util import subprocesses
from orchestrator.__main__ import leave
signal.signal(signal.SIGINT, leave)
print(subprocesses.start(["sleep", "1000"]).pid, flush=True)
signal.pause()
"""


@pytest.mark.slow
def test_a_command_that_is_interrupted_leaves_nothing_behind() -> None:
    """It leaves at once, and what it asks is in a group of its own, which Ctrl-C does not reach."""
    line = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdout is not None
        pid = int(command.stdout.readline())
        command.send_signal(signal.SIGINT)
        command.communicate()
    assert command.returncode == 128 + signal.SIGINT
    while proc.is_alive(pid):  # the kernel ends it a moment after it was told to
        time.sleep(0.01)
