"""The code behind an implementation is read, never imported; what changed is noticed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from orchestrator.usercode.registry import Target
from orchestrator.usercode.source import closure, module_file, source_hash


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's folder: build imports a helper, which imports a package; something else lies beside them."""
    (tmp_path / "mine.py").write_text("import helper\nraise SystemExit('never imported')\ndef build(c): ...\n")
    (tmp_path / "helper.py").write_text("from pack import part\nimport torch, nowhere\n")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "part.py").write_text("from . import sister\n")
    (tmp_path / "pack" / "sister.py").write_text("X = 1\n")
    (tmp_path / "unrelated.py").write_text("")
    return tmp_path


def target(project: Path) -> Target:
    return Target("build", file=project / "mine.py")


def test_the_files_of_an_implementation_are_those_that_it_imports_from_beside_it(project: Path) -> None:
    """Directly or not, absolute or relative; not torch, and not what merely lies there."""
    found = {file.name for file in closure(project / "mine.py", project)}
    assert found == {"mine.py", "helper.py", "__init__.py", "part.py", "sister.py"}


@pytest.mark.parametrize("name", ["mine.py", "helper.py", "pack/sister.py"])
def test_a_change_in_any_of_them_changes_the_hash(project: Path, name: str) -> None:
    """A comment counts: the harness cannot tell what matters."""
    before = source_hash(target(project))
    (project / "unrelated.py").write_text("changed")
    assert source_hash(target(project)) == before
    file = project / name
    file.write_text(file.read_text() + "# changed\n")
    assert source_hash(target(project)) != before


def test_an_import_added_later_is_followed_in_the_same_process(project: Path) -> None:
    """A notebook runs many sweeps, and edits files between them."""
    before = closure(project / "mine.py", project)
    file = project / "mine.py"
    file.write_text("import unrelated\n" + file.read_text())
    os.utime(file, ns=(1, 1))
    assert closure(file, project) - before == {project / "unrelated.py"}


def test_the_hash_does_not_depend_on_where_the_project_lies(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nor on when its files were written: a checkout elsewhere resumes."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "project"
    shutil.copytree(project, elsewhere)
    assert source_hash(target(elsewhere)) == source_hash(target(project))


@pytest.mark.parametrize(
    "content",
    [
        "from " + "." * 60 + " import x",
        "def broken(:",
        "\0",
        "x = " + "(" * 5000,
        "import mine",
        "from helper import *",
        "from .. import mine",
    ],
)
def test_no_file_is_too_odd_to_be_read(project: Path, content: str) -> None:
    """What cannot be read is left to the trial that imports it; circles end."""
    (project / "helper.py").write_text(content)
    assert source_hash(target(project))


def test_a_module_is_found_without_being_imported() -> None:
    """By looking along sys.path; one that is nowhere has no file."""
    assert module_file("orchestrator.errors") == Path("orchestrator/errors.py").resolve()
    assert module_file("implementations") == Path("implementations/__init__.py").resolve()
    assert module_file("nowhere.at.all") is None
    assert "implementations.ring" not in sys.modules or module_file("implementations.ring") is not None


def test_registered_implementations_share_no_hash_with_their_siblings() -> None:
    """Standard and ring do not import each other, so a change to one leaves the other's rows alone."""
    files = {name: closure(Path(f"implementations/{name}.py").resolve(), Path.cwd()) for name in ("standard", "ring")}
    assert not any(file.name == "ring.py" for file in files["standard"])
    assert not any(file.name == "standard.py" for file in files["ring"])
    assert source_hash(Target("build", module="implementations.standard")) != source_hash(
        Target("build", module="implementations.ring")
    )
