"""Names of workloads and implementations: registered ones, modules and files, found without
importing torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import catalog
from orchestrator.cli.adopt import adopt
from orchestrator.errors import RequestError, UnknownNameError, suggestion
from orchestrator.usercode import registry, workloads
from orchestrator.usercode.registry import Target, locate
from tests.support.sweeps import TOYS


def test_the_five_are_registered_for_dilated_attention() -> None:
    """With the form that each is called by."""
    found = registry.implementations()
    assert {name: entry.form for name, entry in found.items()} == {
        "standard": "qkv",
        "improved": "qkv",
        "multihead_standard": "multihead",
        "multihead_improved": "multihead",
        "ring_v2": "qkv",
    }
    assert (
        {entry.workload for entry in found.values()}
        == set(registry.workloads())
        == {"dilated_attention"}
    )


def test_a_reference_is_a_registered_name_a_module_or_a_file(tmp_path: Path) -> None:
    """A relative file starts from the folder of the sweep file."""
    (tmp_path / "mine.py").touch()
    assert registry.implementation_target("standard", tmp_path).module == "implementations.standard"
    assert locate("a.b:c", tmp_path, (), "implementation") == Target("c", module="a.b")
    assert locate("./mine.py:c", tmp_path, (), "implementation") == Target(
        "c", file=tmp_path / "mine.py"
    )


@pytest.mark.parametrize(
    "ref",
    [
        "",
        ":",
        "a",
        "a:",
        ":b",
        "a:b c",
        "a..b:c",
        "a/b:c",
        "1a:b",
        "mine.py",
        "none.py:b",
        "\0.py:b",
    ],
)
def test_anything_else_is_refused(tmp_path: Path, ref: str) -> None:
    """With what it could be."""
    with pytest.raises(UnknownNameError, match="implementation"):
        locate(ref, tmp_path, ["standard"], "implementation")


def test_a_file_without_an_attribute_is_told_how_to_name_one(tmp_path: Path) -> None:
    """The most likely slip."""
    with pytest.raises(UnknownNameError, match=r"or mine.py:build"):
        locate("mine.py", tmp_path, ["standard"], "implementation")


def test_the_nearest_name_is_suggested_or_else_all_of_them() -> None:
    """Nothing where there is nothing to choose from."""
    assert suggestion("standrd", ["standard", "ring"]) == " (did you mean 'standard'?)"
    assert suggestion("x", ["standard", "ring"]) == " (known: ring, standard)"
    assert suggestion("x", []) == ""


def test_a_users_build_function_is_imported_and_states_its_form(tmp_path: Path) -> None:
    """An attribute of the function says it; without one the workload's default holds."""
    (tmp_path / "mine.py").write_text(
        "from beside import VALUE\ndef build(c): return VALUE\ndef multi(c): ...\nmulti.form = 'multihead'\nthree = 3\n"
    )
    (tmp_path / "beside.py").write_text("VALUE = 7\n")
    build, form = registry.build_function("mine.py:build", tmp_path)
    assert (build(None), form) == (7, None)
    assert registry.build_function("mine.py:multi", tmp_path)[1] == "multihead"
    with pytest.raises(UnknownNameError, match="is a int, not a function"):
        registry.build_function("mine.py:three", tmp_path)
    with pytest.raises(UnknownNameError, match=r"has no attribute 'biuld'.*did you mean 'build'"):
        registry.build_function("mine.py:biuld", tmp_path)


def test_files_of_one_name_in_two_folders_are_two_modules(tmp_path: Path) -> None:
    """Both may be called my_attention.py."""
    for value in (1, 2):
        (tmp_path / str(value)).mkdir()
        (tmp_path / str(value) / "same.py").write_text(f"def build(c): return {value}\n")
    assert [
        registry.build_function(f"{value}/same.py:build", tmp_path)[0](None) for value in (1, 2)
    ] == [1, 2]


def test_a_file_that_fails_to_import_fails_again_the_next_time(tmp_path: Path) -> None:
    """Half a module is not kept."""
    (tmp_path / "bad.py").write_text("def build(c): ...\n1 / 0\n")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            registry.build_function("bad.py:build", tmp_path)


def test_a_users_workload_is_a_workload() -> None:
    """From a file, by attribute."""
    assert registry.workload("matmul.py:WORKLOAD", TOYS).name == "matmul"
    with pytest.raises(UnknownNameError, match="is a function, not a workload"):
        registry.workload("matmul.py:right", TOYS)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package whose registry works and one of whose workloads does not, and one that does not."""
    described = {
        "helpful": "[orchestrator.registries]\nhelpful = helpful_kernels\n",
        "hapless": "[orchestrator.registries]\nhapless = hapless_kernels\n"
        "[orchestrator.adapters]\nhapless = hapless_kernels:ADAPTER\n",
    }
    for name, text in described.items():
        about = tmp_path / f"{name}-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (about / "entry_points.txt").write_text(text)
    (tmp_path / "hapless_kernels.py").write_text("import no_such_module_anywhere\n")
    (tmp_path / "helpful_kernels.py").write_text(
        "from orchestrator.workload import Registered\n"
        "WORKLOADS = {'helped': 'hapless_kernels:WORKLOAD'}\n"
        "IMPLEMENTATIONS = {'help': Registered('m:build', 'helped', 'default', 'helps')}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for known in (registry._found, workloads.adapters):
        known.cache_clear()
    yield
    for known in (registry._found, workloads.adapters):
        known.cache_clear()


@pytest.mark.usefixtures("packages")
def test_a_package_that_cannot_be_imported_hinders_no_other(tmp_path: Path) -> None:
    """It is named with the reason where something is not found, and by `list`."""
    assert {"help", "standard"} <= set(registry.implementations())
    why = "cannot be imported: ModuleNotFoundError: No module named 'no_such_module_anywhere'"
    with pytest.raises(UnknownNameError, match=f"the registry hapless of hapless {why}"):
        registry.workload("helpd", tmp_path)
    listed = catalog.as_text()
    assert f"! the registry hapless of hapless {why}" in listed
    assert f"! the workload helped {why}" in listed


@pytest.mark.usefixtures("packages")
def test_an_adapter_that_cannot_be_imported_is_left_out(tmp_path: Path) -> None:
    """Of what `adopt` looks for; a sweep that names it is refused with the reason."""
    with pytest.raises(RequestError, match="holds no problems of a format that is known here"):
        adopt(tmp_path)
    with pytest.raises(UnknownNameError, match="the adapter hapless cannot be imported"):
        workloads.find("hapless:.", tmp_path)
