"""The notebook was run from top to bottom, shows what it came to, and still runs."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.docs.guide import DOCS, ROOT

NOTEBOOK = DOCS / "notebooks" / "first_sweep.ipynb"
LENGTHS, FEWER = "[512, 1024, 2048, 4096]", "[64, 128]"
LONGEST, SHORTER = "max_time_s: 2", "max_time_s: 0.1"


@pytest.fixture(scope="module")
def cells():
    """Its cells of code."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(cells):
    return [output for cell in cells for output in cell["outputs"]]


def test_every_cell_was_run_in_its_order(cells):
    """Once each, from a fresh kernel, without an error or a warning."""
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert {output["output_type"] for output in outputs(cells)} == {"stream", "execute_result"}
    assert {output["name"] for output in outputs(cells) if output["output_type"] == "stream"} == {
        "stdout"
    }


def test_it_shows_the_table_and_the_figures(cells):
    """The table as text, frames as HTML, curves as pictures."""
    printed = "".join("".join(output.get("text", "")) for output in outputs(cells))
    assert "| ring_v2 " in printed
    assert "✗ mismatch" in printed
    shown = [kind for output in outputs(cells) for kind in output.get("data", {})]
    assert shown.count("image/png") == 4
    assert shown.count("text/html") == 2


def test_it_names_no_folder_of_the_machine_it_was_run_on():
    """Paths in it are relative."""
    text = re.sub(r'"image/png": "[^"]*"', "", NOTEBOOK.read_text(encoding="utf-8"))
    assert not re.findall(
        r'(?<![\w.:/<])/(?:home|root|tmp|work|usr|Users|opt|mnt|var)\b[^"\s]*', text
    )


@pytest.mark.slow
def test_it_still_runs(cells, tmp_path):
    """All of its code, over two shapes that take no time, as a program."""
    code = "\n".join("".join(cell["source"]) for cell in cells)
    assert LENGTHS in code
    assert LONGEST in code
    program = code.replace("%matplotlib inline\n", "").replace(
        "tempfile.mkdtemp()", repr(str(tmp_path))
    )
    program = program.replace(LENGTHS, FEWER).replace(LONGEST, SHORTER)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-c", program]
    done = subprocess.run(
        line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=560
    )
    assert done.returncode == 0, done.stderr
    assert "6 rows with a time" in done.stdout
