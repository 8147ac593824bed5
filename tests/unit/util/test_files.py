"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orchestrator.util.files import write_atomically


def test_text_arrives_as_it_was_given(tmp_path: Path) -> None:
    """No newline is translated and every character survives, in folders that were not there."""
    path = tmp_path / "new" / "folder" / "summary.txt"
    write_atomically(path, "✓\r\n\n")
    assert path.read_bytes() == "✓\r\n\n".encode()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up in fsync costs the new text, never the old."""
    path = tmp_path / "summary.txt"
    write_atomically(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    """The umask decides who may read, not the temporary file's mode."""
    mask = os.umask(0o022)
    try:
        write_atomically(tmp_path / "page.html", "")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o644
