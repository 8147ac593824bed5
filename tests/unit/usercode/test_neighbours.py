"""Each folder's files import their own neighbours, whatever else the process has imported."""

from __future__ import annotations

import importlib
import inspect
import linecache
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.usercode.imported import imported_since
from orchestrator.usercode.neighbours import import_file, loaded_from
from tests.support.forgetful import users_files_forgotten

Two = Callable[..., tuple[ModuleType, ModuleType]]


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """The process is left as it was found."""
    with users_files_forgotten():
        yield


@pytest.fixture
def two(tmp_path: Path) -> Two:
    """Two folders with the same files, in which WHO is replaced by the folder's name; their
    `mine.py`, imported.
    """

    def make(**files: str) -> tuple[ModuleType, ModuleType]:
        for folder in ("old", "new"):
            for name, text in files.items():
                path = tmp_path / folder / (name.replace("__in__", "/") + ".py")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text.replace("WHO", folder))
        return import_file(tmp_path / "old" / "mine.py"), import_file(tmp_path / "new" / "mine.py")

    return make


@pytest.mark.parametrize(
    "code",
    [
        "from zzzhelper import who\ndef say(): return who()",
        "import zzzhelper\ndef say(): return zzzhelper.who()",
        "import zzzhelper as h\ndef say(): return h.who()",
        "import os, zzzhelper\ndef say(): return os.fspath(zzzhelper.who())",
        "from zzzhelper import *\ndef say(): return who()",
        "def say():\n    from zzzhelper import who\n    return who()",
        "class A:\n    import zzzhelper\ndef say(): return A.zzzhelper.who()",
        "from .zzzhelper import who\ndef say(): return who()",
    ],
)
def test_two_folders_with_a_module_of_one_name_each_get_their_own(two: Two, code: str) -> None:
    """However the import is written, at the top of the file or inside."""
    old, new = two(mine=code, zzzhelper="def who(): return 'WHO'")
    assert (old.say(), new.say()) == ("old", "new")
    assert "zzzhelper" not in sys.modules


@pytest.mark.parametrize(
    "code",
    [
        "import zzzkern.fast\ndef say(): return zzzkern.fast.go(), zzzkern.NAME",
        "from zzzkern.fast import go\nfrom zzzkern import NAME\ndef say(): return go(), NAME",
        "import zzzkern.fast as f, zzzkern\ndef say(): return f.go(), zzzkern.NAME",
    ],
)
def test_packages_beside_the_file_are_its_own_with_everything_in_them(two: Two, code: str) -> None:
    """Their `__init__`, relative imports, and absolute ones from the package back to the folder."""
    old, new = two(
        mine=code,
        zzzhelper="WHOM = 'WHO'",
        zzzkern__in____init__="NAME = 'kern of WHO'",
        zzzkern__in__part="from zzzhelper import WHOM",
        zzzkern__in__fast="from . import NAME\nfrom .part import WHOM\ndef go(): return WHOM + NAME[-3:]",
    )
    assert (old.say(), new.say()) == (("oldold", "kern of old"), ("newnew", "kern of new"))


def test_a_folder_without_an_init_is_a_package_too(two: Two) -> None:
    """A namespace package, as for a script."""
    old, new = two(mine="from zzzspace.part import X", zzzspace__in__part="X = 'WHO'")
    assert (old.X, new.X) == ("old", "new")


def test_a_neighbour_wins_over_an_installed_package(tmp_path: Path) -> None:
    """And the rest of the process goes on with the installed one."""
    (tmp_path / "tabulate.py").write_text("tabulate = 'mine'\n")
    (tmp_path / "mine.py").write_text("from tabulate import tabulate as found\n")
    assert import_file(tmp_path / "mine.py").found == "mine"
    assert callable(importlib.import_module("tabulate").tabulate)


def test_a_folder_that_only_bears_a_packages_name_does_not_hide_it(tmp_path: Path) -> None:
    """`tabulate/` with results in it, say."""
    (tmp_path / "tabulate").mkdir()
    (tmp_path / "mine.py").write_text("from tabulate import tabulate\n")
    assert callable(import_file(tmp_path / "mine.py").tabulate)


def test_a_file_called_like_the_package_that_it_wraps_imports_the_package(tmp_path: Path) -> None:
    """`flash_attn.py` with `from flash_attn import ...` in it."""
    (tmp_path / "tabulate.py").write_text("from tabulate import tabulate\n")
    assert callable(import_file(tmp_path / "tabulate.py").tabulate)


def test_the_harness_is_never_a_neighbour(tmp_path: Path) -> None:
    """A workload in a checkout of this project is made of the class that the harness knows."""
    (tmp_path / "orchestrator").mkdir()
    (tmp_path / "orchestrator" / "__init__.py").write_text("raise SystemExit\n")
    (tmp_path / "mine.py").write_text("from orchestrator.workload import Workload\n")
    assert (
        import_file(tmp_path / "mine.py").Workload
        is importlib.import_module("orchestrator.workload").Workload
    )


def test_what_an_ordinary_import_finds_at_the_same_place_is_one_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current folder is on `sys.path`: its modules are not loaded twice."""
    (tmp_path / "zzzbeside.py").write_text("X = object()\n")
    (tmp_path / "mine.py").write_text("from zzzbeside import X\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert import_file(tmp_path / "mine.py").X is importlib.import_module("zzzbeside").X


def test_source_lines_and_tracebacks_are_those_of_the_file(tmp_path: Path) -> None:
    """torch.compile and Triton read the source of what they compile."""
    text = "import os, zzzbeside.part\n\ndef build(c):\n    import zzzbeside\n    return zzzbeside.part.fail()\n"
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "zzzbeside").mkdir()
    (tmp_path / "zzzbeside" / "__init__.py").touch()
    (tmp_path / "zzzbeside" / "part.py").write_text("\n\ndef fail():\n    return 1 / 0\n")
    module = import_file(tmp_path / "mine.py")
    assert inspect.getsource(module) == text
    assert inspect.getsource(module.build) == text.partition("\n\n")[2]
    with pytest.raises(ZeroDivisionError) as caught:
        module.build(None)
    frames = traceback.extract_tb(caught.value.__traceback__)[-2:]
    assert [(frame.filename, frame.lineno) for frame in frames] == [
        (str(tmp_path / "mine.py"), 5),
        (str(tmp_path / "zzzbeside" / "part.py"), 4),
    ]
    assert linecache.getline(frames[-1].filename, 4) == "    return 1 / 0\n"
    assert not list(tmp_path.rglob("*.pyc"))


def test_values_of_a_neighbours_class_can_be_pickled(two: Two) -> None:
    """Each comes back as its own folder's class."""
    old, new = two(mine="from zzzkinds import Kind", zzzkinds="class Kind:\n    who = 'WHO'")
    assert [type(pickle.loads(pickle.dumps(one.Kind()))) for one in (old, new)] == [
        old.Kind,
        new.Kind,
    ]


def test_a_plain_name_asked_for_while_running_is_the_neighbour_too(tmp_path: Path) -> None:
    """`importlib.import_module` in a user's file finds one module, the one that `import` finds."""
    (tmp_path / "zzzlate.py").write_text("X = object()\n")
    (tmp_path / "mine.py").write_text(
        "import importlib, zzzlate\nX = importlib.import_module('zzzlate').X\n"
    )
    module = import_file(tmp_path / "mine.py")
    assert module.X is module.zzzlate.X


def test_a_plain_name_of_two_folders_is_refused_rather_than_guessed(two: Two) -> None:
    """Also where it was unambiguous before the second folder came."""
    code = "import importlib\ndef say(): return importlib.import_module('zzzlate').X"
    old, new = two(mine=code, zzzlate="X = 'WHO'")
    for module in (old, new):
        with pytest.raises(ImportError, match=r"'zzzlate' is a module of .*old and .*new"):
            module.say()


def test_a_path_of_its_own_for_modules_that_are_already_another_folders_is_refused(
    two: Two,
) -> None:
    """`sys.path.insert` in both files: the second would run the first one's code."""
    code = "import sys, pathlib\nsys.path.insert(0, str(pathlib.Path(__file__).parent / 'src'))\nimport zzzlib\n"
    with pytest.raises(
        ImportError,
        match=r"means zzzlib of .*new/src/zzzlib.py, but .*old/src/zzzlib.py was imported",
    ):
        two(mine=code, src__in__zzzlib="X = 'WHO'")


def test_an_operator_of_torch_that_two_folders_define_is_refused(two: Two) -> None:
    """Torch keeps the last definition, and the first file would run it."""
    pytest.importorskip("torch")
    code = (
        "import torch\n@torch.library.custom_op('zzzours::op', mutates_args=())\n"
        "def op(x: torch.Tensor) -> torch.Tensor:\n    return x + 1\n"
    )
    with pytest.raises(ImportError, match=r"both define the operator zzzours::op"):
        two(mine=code)


def test_a_file_that_does_not_parse_says_where(tmp_path: Path) -> None:
    """As an import does."""
    (tmp_path / "mine.py").write_text("x = 1\ndef broken(:\n")
    with pytest.raises(SyntaxError) as caught:
        import_file(tmp_path / "mine.py")
    assert (caught.value.filename, caught.value.lineno) == (str(tmp_path / "mine.py"), 2)


def test_a_long_chain_of_branches_and_terms_compiles(tmp_path: Path) -> None:
    """Generated code may be deep: statements are walked without recursion, expressions not at all."""
    branches = "if x == 0: y = 0\n" + "".join(
        f"elif x == {number}: y = {number}\n" for number in range(1, 400)
    )
    (tmp_path / "mine.py").write_text(f"x = 399\n{branches}z = {' + '.join(['1'] * 900)}\n")
    module = import_file(tmp_path / "mine.py")
    assert (module.y, module.z) == (399, 900)


def test_the_file_itself_may_be_imported_by_its_neighbours(tmp_path: Path) -> None:
    """It is one module, by whatever way it is reached."""
    (tmp_path / "mine.py").write_text("X = object()\nfrom zzzback import Y\n")
    (tmp_path / "zzzback.py").write_text("from mine import X as Y\n")
    module = import_file(tmp_path / "mine.py")
    assert module.X is module.Y


class _Namespace:
    """What some packages put into `sys.modules`: no module, and without what modules have."""

    __slots__ = ()


class _Lazy:
    """Another of its kind: it has an answer to every name, itself."""

    def __getattr__(self, _name: str) -> object:
        return self


@pytest.mark.parametrize("stranger", [_Namespace(), _Lazy(), None])
def test_what_is_no_module_in_sys_modules_is_passed_over(
    two: Two, monkeypatch: pytest.MonkeyPatch, stranger: object
) -> None:
    """Cython's `cython.parallel` is such a one; it belongs to no folder."""
    monkeypatch.setitem(sys.modules, "strange.inner", stranger)
    monkeypatch.setitem(sys.modules, "strange", stranger)
    old, new = two(mine="import helper\nfrom_whom = helper.WHO", helper="WHO = 'WHO'")
    assert (old.from_whom, new.from_whom) == ("old", "new")
    assert "strange" not in imported_since(frozenset(), "/").packages
    assert not [name for name in loaded_from(Path("/")) if name.startswith("strange")]


def test_nothing_is_changed_for_who_imports_no_file() -> None:
    """The finders are there from the first file on."""
    code = (
        "import sys; before = list(sys.meta_path); import orchestrator.usercode.neighbours; "
        "assert before == sys.meta_path"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
