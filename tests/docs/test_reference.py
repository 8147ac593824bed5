"""The reference of every module is written from its docstrings, without a complaint."""

import os
import subprocess
import sys

import pytest

from tests.docs.guide import DOCS, ROOT


@pytest.mark.slow
def test_every_module_has_its_page(tmp_path):
    """One page per module, and pdoc says nothing."""
    line = [sys.executable, str(DOCS / "reference.py"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=560
    )
    assert (done.returncode, done.stderr) == (0, "")
    written = {
        path.relative_to(tmp_path).with_suffix("").as_posix().replace("/", ".")
        for path in tmp_path.rglob("*.html")
    }
    assert modules() <= written


def modules():
    """Dotted names of what is in the two packages, less the files to be copied and what runs when
    imported.
    """
    files = [
        path for name in ("orchestrator", "implementations") for path in (ROOT / name).rglob("*.py")
    ]
    names = {
        path.relative_to(ROOT)
        .with_suffix("")
        .as_posix()
        .replace("/", ".")
        .removesuffix(".__init__")
        for path in files
    }
    return {
        name
        for name in names
        if not name.startswith("implementations.starter") and not name.endswith("__main__")
    }
