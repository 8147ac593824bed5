"""The isolator itself: what an attempt starts from, who may die, and who may stop it from where."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.driver.preload import GRADIENTS
from orchestrator.isolation import proc
from orchestrator.isolation.isolator import Completed, Isolator
from orchestrator.isolation.process_end import Cause
from orchestrator.isolation.request import Call
from orchestrator.outcome import Outcome, Phase
from orchestrator.trial import Attempt, Resources
from tests.faults.trials import attempt_of, gone, light_isolator, napping, of_our_isolators
from tests.support.attempts import attention_attempt

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def isolator() -> Iterator[Isolator]:
    """An isolator that several tests share."""
    with light_isolator() as isolator:
        yield isolator


@pytest.fixture
def alone() -> Iterator[Isolator]:
    """An isolator of one test's own, to be maltreated."""
    with light_isolator() as isolator:
        yield isolator


class Running:
    """An attempt running in another thread."""

    def __init__(self, isolator: Isolator, attempt: Attempt) -> None:
        self.reached = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._done = self._pool.submit(isolator.run, attempt, self._note)

    def _note(self, phase: Phase) -> None:
        if phase is Phase.FIRST_CALL:
            self.reached.set()

    def result(self, timeout_s: float) -> Completed:
        """What came of it, within `timeout_s` seconds."""
        try:
            return self._done.result(timeout_s)
        finally:
            self._pool.shutdown(wait=False)


def family_of(pid: int) -> list[int]:
    """A process's descendants that still run."""
    return [member for member in proc.descendants(pid) if proc.is_alive(member)]


def test_phases_arrive_as_they_are_reached(isolator: Isolator) -> None:
    """The supervisor hears of each phase, in order."""
    phases: list[Phase] = []
    done = isolator.run(attempt_of("sound"), phases.append)
    assert done.record.outcome is Outcome.OK
    assert phases == [Phase.BUILD, Phase.FIRST_CALL, Phase.MEASURE]


def test_no_phase_is_lost_where_the_end_is_heard_of_first(isolator: Isolator) -> None:
    """On a busy machine a quick trial has ended before its supervisor reads what it reached."""
    phases: list[Phase] = []

    def held_up(phase: Phase) -> None:
        if not phases:
            time.sleep(0.5)
        phases.append(phase)

    assert isolator.run(attempt_of("sound"), held_up).record.outcome is Outcome.OK
    assert phases == [Phase.BUILD, Phase.FIRST_CALL, Phase.MEASURE]


def test_the_environment_comes_home_with_the_record(isolator: Isolator) -> None:
    """The journal's form of a record leaves it out; the way from the trial's process must not."""
    assert isolator.run(attempt_of("sound")).record.environment == {"match": {"device": "cpu"}}


def test_a_call_of_a_function_is_answered_by_its_own_type(isolator: Isolator) -> None:
    """In a process of its own; one that raises is a cause, and the next attempt is unharmed."""

    def call(gpus: int) -> Resources | Cause:
        argument = Resources(gpus=gpus)
        return isolator.call(Call("stand_in:doubled", argument, Resources, "cpu", Resources()))

    assert call(2) == Resources(gpus=4)
    assert call(0) == Cause(Outcome.FAILED, "ValueError", "nothing to double")
    assert isolator.run(attempt_of("sound")).record.outcome is Outcome.OK


def test_a_user_s_file_that_does_not_import_is_a_failed_row(
    isolator: Isolator, tmp_path: Path
) -> None:
    """Its faults are its own: raised, and fatal ones."""
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere")
    (tmp_path / "deadly.py").write_text("import os; os.abort()")
    attempt = attempt_of("sound")
    broken, deadly = (
        attempt.model_copy(
            update={"trial": attempt.trial.model_copy(update={"use": f"{tmp_path / name}:build"})}
        )
        for name in ("broken.py", "deadly.py")
    )
    assert isolator.run(broken).record.outcome is Outcome.FAILED
    assert isolator.run(deadly).record.outcome is Outcome.CRASHED
    assert isolator.run(attempt).record.outcome is Outcome.OK


def test_an_attempt_may_be_run_from_any_thread_and_outlives_none(isolator: Isolator) -> None:
    """The thread that ran the first attempts has ended; the server and the next attempts have not."""
    for _ in range(2):
        with ThreadPoolExecutor(1) as pool:
            assert (
                pool.submit(isolator.run, attempt_of("sound")).result(30).record.outcome
                is Outcome.OK
            )


def test_variables_directory_and_path_are_as_given(tmp_path: Path) -> None:
    """What the supervisor states, the trial gets; HOME stays."""
    (tmp_path / "asks.py").write_text(
        "import os, sys\n"
        "def build(config):\n"
        "    print(os.getcwd(), os.environ['CUDA_VISIBLE_DEVICES'], os.environ['HOME'], '/no/such/place' in sys.path)\n"
        "    return lambda: 1.0\n"
    )
    attempt = attempt_of("sound")
    asks = attempt.model_copy(
        update={"trial": attempt.trial.model_copy(update={"use": f"{tmp_path / 'asks.py'}:build"})}
    )
    path = [str(ROOT / "tests/faults"), str(ROOT), "/no/such/place"]
    with Isolator(
        target="stand_in:run_attempt",
        env={"CUDA_VISIBLE_DEVICES": "5"},
        sys_path=path,
        cwd=str(tmp_path),
    ) as isolator:
        done = isolator.run(asks)
    assert done.log.decode().split() == [str(tmp_path), "5", os.environ["HOME"], "True"]


def test_a_restart_gives_another_server(alone: Isolator) -> None:
    """A round's children share what their server drew once; the next round's must not."""
    alone.run(attempt_of("sound"))
    first = alone.processes()
    alone.restart()
    assert alone.run(attempt_of("sound")).record.outcome is Outcome.OK
    assert set(first).isdisjoint(alone.processes())
    assert [pid for pid in first if proc.is_alive(pid)] == []


def test_kill_ends_the_attempt_in_flight_only(alone: Isolator) -> None:
    """From another thread, with all that the attempt started; the next attempt is unharmed."""
    running = Running(alone, attempt_of("hangs_with_a_family"))
    assert running.reached.wait(30)
    alone.kill()
    record = running.result(5).record
    assert record.outcome is Outcome.LOST
    assert record.error is not None
    assert record.error.kind == "Stopped"
    assert napping() == []
    assert alone.run(attempt_of("sound")).record.outcome is Outcome.OK


def test_close_ends_an_attempt_in_flight_and_refuses_more(alone: Isolator) -> None:
    """A driver that stops does not wait for a hung trial, and cannot start another by accident."""
    running = Running(alone, attempt_of("hangs_with_a_family"))
    assert running.reached.wait(30)
    alone.close()
    assert running.result(5).record.outcome is Outcome.LOST
    assert napping() == []
    assert alone.run(attempt_of("sound")).record.outcome is Outcome.LOST
    alone.close()


def test_close_does_not_wait_for_a_server_that_still_imports(tmp_path: Path) -> None:
    """Neither before nor while an attempt waits for it."""
    (tmp_path / "slow_to_import.py").write_text("import time; time.sleep(60)")
    path = [str(tmp_path), str(ROOT / "tests/faults"), *sys.path]
    isolator = Isolator(target="stand_in:run_attempt", preload=["slow_to_import"], sys_path=path)
    running = Running(isolator, attempt_of("sound"))
    time.sleep(0.5)
    started = time.monotonic()
    isolator.close()
    assert running.result(5).record.outcome is Outcome.LOST
    assert time.monotonic() - started < 5


def test_a_preloaded_module_that_fails_spoils_nothing_else(tmp_path: Path) -> None:
    """It will fail in the attempts that use it, and in no other."""
    (tmp_path / "raises_when_imported.py").write_text("raise SystemExit(3)")
    path = [str(tmp_path), str(ROOT / "tests/faults"), *sys.path]
    with Isolator(
        target="stand_in:run_attempt", preload=["raises_when_imported"], sys_path=path
    ) as isolator:
        assert isolator.run(attempt_of("sound")).record.outcome is Outcome.OK


HALF = """
from pathlib import Path

import part

begun = Path(__file__).with_name("begun")
if not begun.exists():
    begun.touch()
    raise OSError("trouble that passes")
part.whole = True
"""


def test_a_server_that_could_not_import_all_is_replaced(tmp_path: Path) -> None:
    """What an import that failed half-way leaves behind is in none of the children."""
    (tmp_path / "half.py").write_text(HALF)
    (tmp_path / "part.py").write_text("whole = False\n")
    (tmp_path / "tells.py").write_text(
        "import part\n\ndef build(config):\n    return lambda: float(part.whole)\n"
    )
    attempt = attempt_of("sound")
    trial = attempt.trial.model_copy(update={"use": f"{tmp_path}/tells.py:build"})
    path = [str(tmp_path), str(ROOT / "tests/faults"), *sys.path]
    with Isolator(target="stand_in:run_attempt", preload=["half"], sys_path=path) as isolator:
        record = isolator.run(attempt.model_copy(update={"trial": trial})).record
    assert record.metrics == {"value": 1.0}, record.error


TELLS = """
import sys
from torch.nn.functional import scaled_dot_product_attention as attend

known = set(sys.modules)

def build(config):
    def attention(q, k, v):
        print("imported since:", *sorted(set(sys.modules) - known))
        return attend(*(t.transpose(1, 2) for t in (q, k, v))).transpose(1, 2)

    return attention
"""


def test_an_attempt_imports_nothing_large(tmp_path: Path) -> None:
    """Not even at its first gradient, for which torch imports five hundred modules: the server has,
    once for all.
    """
    (tmp_path / "tells.py").write_text(TELLS)
    attempt = attention_attempt("honest", direction="forward_backward")
    trial = attempt.trial.model_copy(update={"use": f"{tmp_path}/tells.py:build"})
    with Isolator(preload=[GRADIENTS]) as isolator:
        done = isolator.run(attempt.model_copy(update={"trial": trial}))
    assert done.record.outcome is Outcome.OK, done.record.error
    calls = [
        line.split()
        for line in done.log.decode().splitlines()
        if line.startswith("imported since:")
    ]
    assert max(map(len, calls)) < 20, max(calls, key=len)


def test_a_server_that_cannot_start_is_a_lost_attempt_with_its_last_words(tmp_path: Path) -> None:
    """Tried twice, then told; no exception reaches the supervisor."""
    (tmp_path / "deadly.py").write_text(
        "import os, sys; print('no luck', file=sys.stderr, flush=True); os._exit(3)"
    )
    path = [str(tmp_path), str(ROOT / "tests/faults"), *sys.path]
    with Isolator(target="stand_in:run_attempt", preload=["deadly"], sys_path=path) as isolator:
        record = isolator.run(attempt_of("sound")).record
    assert record.outcome is Outcome.LOST
    assert record.error is not None
    assert "no luck" in record.error.message


@pytest.mark.parametrize("victim", ["keeper", "server"])
def test_either_process_of_the_server_may_be_killed(alone: Isolator, victim: str) -> None:
    """The other one ends the attempt and its family; the attempt is lost, and the next one runs."""
    running = Running(alone, attempt_of("hangs_with_a_family"))
    assert running.reached.wait(30)
    keeper, server = alone.processes()[:2]
    assert gone(lambda: [] if napping() else [0])
    os.kill({"keeper": keeper, "server": server}[victim], signal.SIGKILL)
    assert running.result(10).record.outcome is Outcome.LOST
    assert gone(napping)
    assert alone.run(attempt_of("sound")).record.outcome is Outcome.OK


def test_an_exception_in_the_supervisor_leaves_no_attempt_running(alone: Isolator) -> None:
    """An interrupt, say, or a fault in whoever listens to the phases."""

    def interrupted(phase: Phase) -> None:
        raise KeyboardInterrupt

    before = set(of_our_isolators()) - set(alone.processes())
    with pytest.raises(KeyboardInterrupt):
        alone.run(attempt_of("hangs"), interrupted)
    assert set(of_our_isolators()) == before
    assert alone.run(attempt_of("sound")).record.outcome is Outcome.OK


SUPERVISOR = """
import sys
from tests.faults import trials
trials.NAP = sys.argv[1]
with trials.light_isolator() as isolator:
    isolator.run(trials.attempt_of("hangs_with_a_family"), lambda phase: print(phase, flush=True))
"""


@pytest.fixture
def supervisor() -> Iterator[subprocess.Popen[str]]:
    """Another process in the midst of an attempt that hangs with a family."""
    from tests.faults import trials

    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, trials.NAP], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    while process.stdout.readline().strip() != "first_call":
        assert process.poll() is None
    assert gone(lambda: [] if len(napping()) >= 3 else [0])
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_killed_supervisor_leaves_nobody(supervisor: subprocess.Popen[str]) -> None:
    """The server ends itself and everything below it once its supervisor is gone."""
    family = family_of(supervisor.pid)
    supervisor.kill()
    supervisor.wait()
    assert gone(napping)
    assert gone(lambda: [pid for pid in family if proc.is_alive(pid)])


def test_what_a_killed_node_left_is_ended_by_the_next_isolator(
    supervisor: subprocess.Popen[str],
) -> None:
    """Supervisor, keeper and server die at once: nobody is left to clean up, until someone works
    there again.
    """
    keeper = next(pid for pid in proc.descendants(supervisor.pid) if _is_keeper(pid))
    server = proc.descendants(keeper)[0]
    for pid in (supervisor.pid, server, keeper):
        os.kill(pid, signal.SIGSTOP)
    for pid in (supervisor.pid, server, keeper):
        os.kill(pid, signal.SIGKILL)
    supervisor.wait()
    left = napping()
    assert left
    with light_isolator():
        # One shed its environment and so its mark; the supervisor's own family is found by mark
        # alone.
        assert gone(
            lambda: [
                pid for pid in left if any(proc.MARK.encode() in entry for entry in _environ(pid))
            ]
        )


def _is_keeper(pid: int) -> bool:
    return (
        b"orchestrator.isolation.fork_server" in (Path("/proc") / str(pid) / "cmdline").read_bytes()
    )


def _environ(pid: int) -> list[bytes]:
    try:
        return (Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


@pytest.fixture(autouse=True)
def _no_nap_survives_a_test() -> Iterator[None]:
    """What the last test of all leaves on purpose is ended here."""
    yield
    for pid in napping():
        os.kill(pid, signal.SIGKILL)


def test_attempts_leave_no_open_files_in_supervisor_or_server(alone: Isolator) -> None:
    """A slot runs thousands of attempts, many of which end badly."""

    def open_files() -> list[int]:
        return [
            len(list((Path("/proc") / str(pid) / "fd").iterdir()))
            for pid in (os.getpid(), alone.processes()[1])
        ]

    def some_attempts() -> None:
        for build in ("sound", "raises", "aborts", "leaves_a_family", "closes_files"):
            alone.run(attempt_of(build))

    some_attempts()
    before = open_files()
    some_attempts()
    assert open_files() == before
