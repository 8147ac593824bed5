"""The code behind an implementation is read, never imported; what changed is noticed."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

import pytest

from orchestrator.usercode import registry
from orchestrator.usercode.data_files import expanded
from orchestrator.usercode.registry import Target
from orchestrator.usercode.source import Source, module_file, source_hash, source_of

KERNEL = '#include "common.cuh"\n#include <stdio.h>\n__global__ void kernel() {}\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's folder: build imports a helper, which imports a package; something else lies beside
    them.
    """
    (tmp_path / "mine.py").write_text(
        "import helper\nraise SystemExit('never imported')\ndef build(c): ...\n"
    )
    (tmp_path / "helper.py").write_text("from pack import part\nimport torch, nowhere\n")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "part.py").write_text("from . import sister\n")
    (tmp_path / "pack" / "sister.py").write_text("X = 1\n")
    (tmp_path / "unrelated.py").write_text("")
    return tmp_path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages on sys.path, with `zzzkernels` 1.0 in it."""
    folder = tmp_path / "lib" / "site"
    install(folder, "1.0", "X = 1\n")
    monkeypatch.syspath_prepend(folder)
    return folder


def install(folder: Path, version: str, code: str) -> None:
    """What an installer leaves of a distribution `zzz-kernels` that has the package `zzzkernels`."""
    package, information = folder / "zzzkernels", folder / "zzz_kernels-1.0.dist-info"
    package.mkdir(parents=True, exist_ok=True)
    information.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("from zzzkernels.core import X\n")
    (package / "core.py").write_text(code)
    digest = hashlib.sha256(code.encode()).hexdigest()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: zzz-kernels\nVersion: {version}\n"
    )
    (information / "RECORD").write_text(
        f"zzzkernels/core.py,sha256={digest},7\n{information.name}/METADATA,,\n"
    )
    os.utime(folder)


def target(project: Path) -> Target:
    return Target("build", file=project / "mine.py")


def names(found: Source) -> set[str]:
    return {file.name for file in found.files}


def test_the_files_of_an_implementation_are_those_that_it_imports_from_beside_it(
    project: Path,
) -> None:
    """Directly or not, absolute or relative; not torch, and not what merely lies there."""
    found = source_of(target(project))
    assert names(found) == {"mine.py", "helper.py", "__init__.py", "part.py", "sister.py"}
    assert found.packages == {}


@pytest.mark.parametrize("name", ["mine.py", "helper.py", "pack/sister.py", "pack/__init__.py"])
def test_a_change_in_any_of_them_changes_the_hash(project: Path, name: str) -> None:
    """A comment counts: the harness cannot tell what matters."""
    before = source_hash(target(project))
    (project / "unrelated.py").write_text("changed")
    assert source_hash(target(project)) == before
    file = project / name
    file.write_text(file.read_text() + "# changed\n")
    assert source_hash(target(project)) != before


@pytest.mark.parametrize("code", ["import pack.deep.part", "from pack.deep.part import X"])
def test_every_init_on_the_way_to_a_module_belongs_to_it(project: Path, code: str) -> None:
    """It runs before the module does."""
    (project / "helper.py").write_text(code)
    (project / "pack" / "deep").mkdir()
    for name in ("pack/__init__.py", "pack/deep/__init__.py", "pack/deep/part.py"):
        (project / name).write_text("X = 1\n")
    below = {str(file.relative_to(project)) for file in source_of(target(project)).files}
    assert below == {
        "mine.py",
        "helper.py",
        "pack/__init__.py",
        "pack/deep/__init__.py",
        "pack/deep/part.py",
    }


@pytest.mark.parametrize(
    "code",
    [
        "load(name='k', sources=['csrc/kernel.cu'])",
        "here = Path(__file__).parent\nload(sources=[here / 'csrc' / 'kernel.cu'])",
        "sources = (Path(__file__).parent / 'csrc').glob('*.cu')",
    ],
)
@pytest.mark.parametrize("name", ["kernel.cu", "common.cuh"])
def test_kernels_that_the_code_names_belong_to_it_with_what_they_include(
    project: Path, code: str, name: str
) -> None:
    """Built at run time, they are the implementation."""
    (project / "csrc").mkdir()
    (project / "csrc" / "kernel.cu").write_text(KERNEL)
    (project / "csrc" / "common.cuh").write_text("#define N 1\n")
    (project / "csrc" / "unnamed.log").write_text("")
    (project / "helper.py").write_text(code)
    before = source_of(target(project))
    assert {"kernel.cu", "common.cuh"} < names(before)
    assert "unnamed.log" not in names(before)
    (project / "csrc" / name).write_text("// changed\n")
    assert source_hash(target(project)) != before.hash


def test_tables_that_the_code_reads_belong_to_it_and_its_logs_do_not(project: Path) -> None:
    """A tuned configuration decides the speed; what an earlier run printed does not."""
    (project / "helper.py").write_text("table, log = open('tuned.json'), open('run.log', 'w')\n")
    for name in ("tuned.json", "run.log"):
        (project / name).write_text("{}")
    assert names(source_of(target(project))) == {"mine.py", "helper.py", "tuned.json"}


def test_files_that_the_entry_names_belong_to_it(project: Path) -> None:
    """By path, by folder, by pattern; what is hidden is left out."""
    for name in ("a.txt", "data/b.bin", "data/.cache/c.bin", "weights/w1.dat", "weights/w2.dat"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    found = [
        file.name for text in ("a.txt", "data", "weights/*.dat") for file in expanded(text, project)
    ]
    assert found == ["a.txt", "b.bin", "w1.dat", "w2.dat"]
    before = source_hash(target(project), files=[project / "a.txt"])
    assert before != source_hash(target(project))
    (project / "a.txt").write_text("changed")
    assert source_hash(target(project), files=[project / "a.txt"]) != before


def test_an_installed_package_is_known_by_its_version_and_build(project: Path, site: Path) -> None:
    """Two builds of one version differ in what was installed."""
    (project / "helper.py").write_text("import zzzkernels\n")
    first = source_of(target(project))
    assert list(first.packages) == ["zzz-kernels"]
    assert first.packages["zzz-kernels"].startswith("1.0 (")
    assert names(first) == {"mine.py", "helper.py"}
    install(site, "1.0", "X = 2\n")
    second = source_of(target(project))
    install(site, "1.1", "X = 2\n")
    third = source_of(target(project))
    assert len({first.hash, second.hash, third.hash}) == 3
    assert third.packages["zzz-kernels"].startswith("1.1 (")


def test_an_implementation_of_an_installed_package_is_known_by_file_and_version(site: Path) -> None:
    """`use: zzzkernels.core:build`."""
    found = source_of(Target("build", module="zzzkernels.core"))
    assert names(found) == {"core.py"}
    assert list(found.packages) == ["zzz-kernels"]


@pytest.mark.parametrize("by_name", [True, False])
def test_a_package_that_is_only_on_the_path_is_known_by_its_content(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, by_name: bool
) -> None:
    """On PYTHONPATH, or installed to be edited: it has no version that could be trusted."""
    loose = tmp_path / "elsewhere" / "site-packages"
    (loose / "zzzloose").mkdir(parents=True)
    (loose / "zzzloose" / "__init__.py").write_text("from zzzloose.core import build\n")
    (loose / "zzzloose" / "core.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(loose)
    (project / "helper.py").write_text("from zzzloose import build\n")
    wanted = Target("build", module="zzzloose") if by_name else target(project)
    before = source_of(wanted)
    assert before.roots[loose / "zzzloose" / "core.py"] == loose
    (loose / "zzzloose" / "core.py").write_text("X = 2\n")
    assert source_hash(wanted) != before.hash


def test_a_file_called_like_the_package_that_it_wraps_has_the_packages_version(
    project: Path, site: Path
) -> None:
    """It imports the package, see neighbours."""
    (project / "zzzkernels.py").write_text("from zzzkernels import X\n")
    found = source_of(Target("build", file=project / "zzzkernels.py"))
    assert list(found.packages) == ["zzz-kernels"]


def test_what_differs_can_be_named(project: Path) -> None:
    """Files by their path from the sweep file's folder."""
    before = source_of(target(project)).described(project)
    (project / "pack" / "sister.py").write_text("X = 2\n")
    after = source_of(target(project)).described(project)
    changed = [name for name in after["files"] if after["files"][name] != before["files"][name]]
    assert changed == ["pack/sister.py"]


def test_an_import_added_later_is_followed_in_the_same_process(project: Path) -> None:
    """A notebook runs many sweeps, and edits files between them."""
    before = source_of(target(project)).files
    file = project / "mine.py"
    file.write_text("import unrelated\n" + file.read_text())
    os.utime(file, ns=(1, 1))
    assert set(source_of(target(project)).files) - set(before) == {project / "unrelated.py"}


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
        "x = '/', '..', '*', '[', '**/*.cu', 'a' * 300",
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
    assert (
        "implementations.ring" not in sys.modules or module_file("implementations.ring") is not None
    )


def test_registered_implementations_share_no_hash_with_their_siblings() -> None:
    """Standard and ring do not import each other, so a change to one leaves the other's rows alone."""
    found = {
        name: names(source_of(Target("build", module=f"implementations.{name}")))
        for name in ("standard", "ring")
    }
    assert "ring.py" not in found["standard"]
    assert "standard.py" not in found["ring"]


def test_the_hash_of_what_imports_torch_alone_is_that_of_its_files() -> None:
    """As it always was: sweeps of earlier versions go on. The project's `__init__` files define no
    implementation.
    """
    for name in registry.implementations():
        found = source_of(registry.implementation_target(name, "."))
        assert found.packages == {}
        digest = hashlib.sha256()
        for file in sorted(found.files, key=lambda path: (path.name, str(path))):
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        assert found.hash == digest.hexdigest()[:16]
