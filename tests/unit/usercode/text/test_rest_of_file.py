"""Whether two versions of a file pose one problem."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.usercode.text.rest_of_file import rest_of_file

FILE = """\
import torch
from tools import faster

SCALE = 2


def inputs(rows):
    return (torch.randn(rows) * SCALE,)


def reference(x):
    return shared(x)


def shared(x):
    return x + 1


def _own(x):
    return faster(shared(x))


def fast(x):
    return _own(x)
"""


@pytest.mark.parametrize(
    ("before", "after", "alike"),
    [
        ("return _own(x)", "return _own(x) * 1", True),  # the implementation
        ("return faster(shared(x))", "return faster(x)", True),  # its own
        ("from tools import faster", "import tools as faster", True),  # likewise
        ("import torch\n", "import torch  # a remark\n\n", True),
        ("import torch\n", "import torch, os\n", False),  # what nothing uses may do something
        ("SCALE = 2", "SCALE = 3", False),
        ("return x + 1", "return x + 2", False),  # what the reference uses, too
        ("torch.randn", "torch.rand", False),
        ("import torch\n", "import torch\n\ntorch.set_num_threads(1)\n", False),
    ],
)
def test_only_the_implementation_and_what_it_alone_uses_may_differ(
    tmp_path: Path, before: str, after: str, alike: bool
) -> None:
    """Comments may, too."""
    assert FILE.count(before) == 1
    was, now = tmp_path / "was.py", tmp_path / "now.py"
    was.write_text(FILE)
    now.write_text(FILE.replace(before, after))
    assert (rest_of_file(was, {"fast"}) == rest_of_file(now, {"fast"})) is alike


def test_a_function_that_is_new_beside_it_is_part_of_the_rest(tmp_path: Path) -> None:
    """Unless only the implementation uses it."""
    was, now = tmp_path / "was.py", tmp_path / "now.py"
    was.write_text(FILE)
    now.write_text(FILE + "\n\ndef other(x):\n    return x\n")
    assert rest_of_file(was, {"fast"}) != rest_of_file(now, {"fast"})
    used = FILE.replace("return _own(x)", "return _own(other(x))")
    assert used != FILE
    now.write_text(used + "\n\ndef other(x):\n    return x\n")
    assert rest_of_file(was, {"fast"}) == rest_of_file(now, {"fast"})


def test_modules_are_those_that_the_rest_imports(tmp_path: Path) -> None:
    """What only the implementation imports is its own."""
    file = tmp_path / "file.py"
    file.write_text(FILE)
    assert rest_of_file(file, {"fast"}).modules == {"torch"}
    assert rest_of_file(file, set()).modules == {"torch", "tools"}
