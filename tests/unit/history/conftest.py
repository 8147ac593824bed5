"""A folder with a sweep file in it, and the sweeps that a test runs there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.swept import Store, prepare


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty results folder, and what runs sweeps into it."""
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return Store(monkeypatch)
