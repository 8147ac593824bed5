"""What tests of every kind share: sweep files on disk, the command line, an interpreter without the
heavy libraries.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.cli.main import main

# Several sweeps run at once on few cores. Threads that spin while they wait take those cores from
# one another: two frontiers side by side took 140 s of CPU, and take 100 s. Before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Hundreds of processes import the same modules: what the first one compiled is there for the rest.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

ROOT = Path(__file__).parents[1]
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(name + " is forbidden here")
sys.meta_path.insert(0, Blocker())
"""


@dataclass(frozen=True)
class Answer:
    """What a command said: its exit code, stdout and stderr, and how much CPU it took (in a process
    of its own).
    """

    code: int
    out: str
    err: str
    cpu_s: float = 0.0


@pytest.fixture(autouse=True)
def frozen_heap() -> Iterator[None]:
    """What was there before a test is not looked through by the collections within it, as in a
    trial forked from the fork server: in a process that has imported torch, Ray and MLflow each
    collection takes half a second, and a trial makes three.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def give_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Puts an empty MLflow store into a folder, as if a sweep had been run there before: MLflow
    takes a second and a half of CPU to make one.
    """
    from orchestrator.trackers.mlflow_store import connected, let_go

    store = tmp_path_factory.mktemp("empty-store") / "mlflow.db"
    let_go(connected(f"sqlite:///{store}"))

    def give(folder: Path) -> None:
        (folder / "mlruns").mkdir()
        shutil.copy(store, folder / "mlruns")

    return give


@pytest.fixture
def ready_store(give_store: Callable[[Path], None], tmp_path: Path) -> None:
    """A store in the test's folder, for tests that are about something else."""
    give_store(tmp_path)


@pytest.fixture
def write_sweep(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a sweep file into the test's folder."""

    def write(text: str, name: str = "sweep.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs one command in this process."""

    def run(*arguments: str | Path) -> Answer:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse leaves so
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture
def bare_python(tmp_path: Path) -> Callable[..., Answer]:
    """Runs `python -m orchestrator` in a fresh interpreter where importing the named packages is
    forbidden.
    """

    def run(
        *arguments: str | Path, blocked: tuple[str, ...] = ("torch", "ray", "mlflow")
    ) -> Answer:
        code = BLOCKER.format(blocked=set(blocked)) + (
            "import os, sys\nfrom orchestrator.cli.main import main\ncode = main(sys.argv[1:])\n"
            "print(sum(os.times()[:2]), file=sys.stderr)\nsys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        *err, last = done.stderr.splitlines() or [""]
        cpu_s = float(last) if last.replace(".", "").isdigit() else float("nan")
        return Answer(done.returncode, done.stdout, "\n".join([*err, last]), cpu_s)

    return run
