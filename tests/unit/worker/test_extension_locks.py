"""A trial that was killed while it compiled stops no other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.worker import extension_locks

HOLDER = """
import sys
from orchestrator.worker.extension_locks import build_extensions_apart
build_extensions_apart()
print("holding", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(extension_locks.VARIABLE, raising=False)
    monkeypatch.setattr(extension_locks, "_in_use", {})
    return tmp_path / "gpu-sweep-orchestrator" / "torch_extensions"


def left_lock(folder: Path) -> Path:
    """As torch leaves one when it is killed."""
    lock = folder / "my_kernel" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    return lock


def test_what_a_dead_process_left_is_taken_away(folder: Path) -> None:
    """Nobody else builds there."""
    lock = left_lock(folder)
    extension_locks.build_extensions_apart()
    assert not lock.exists()
    close()


def test_a_lock_is_left_while_another_trial_may_hold_it(folder: Path) -> None:
    """It may be compiling."""
    line = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "holding\n"
        lock = left_lock(folder)
        extension_locks.build_extensions_apart()
        assert lock.exists()
        other.communicate("")
    close()


def test_a_folder_of_the_users_own_is_left_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may build there."""
    lock = left_lock(tmp_path / "theirs")
    monkeypatch.setenv(extension_locks.VARIABLE, str(tmp_path / "theirs"))
    extension_locks.build_extensions_apart()
    assert lock.exists()
    assert not folder.exists()


def close() -> None:
    for handle in extension_locks._in_use.values():
        os.close(handle)
