"""Comparison with a file under tests/golden; REGENERATE_GOLDEN=1 rewrites it, to be read before it
is committed.
"""

from __future__ import annotations

import os
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden"


def same_as_golden(name: str, text: str) -> None:
    """Fail unless `text` is what tests/golden/`name` holds, to the byte."""
    path = GOLDEN / name
    if os.environ.get("REGENERATE_GOLDEN"):
        path.write_text(text, encoding="utf-8", newline="")
    assert text == path.read_bytes().decode(), (
        f"{name} changed: REGENERATE_GOLDEN=1 pytest rewrites it; read the diff"
    )
