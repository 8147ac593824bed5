"""`compare --again` in one process: where that can be, what is measured, and what is said of it."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pytest

from orchestrator.cli import comparing
from orchestrator.compare import one_process
from orchestrator.compare.again import Side
from orchestrator.plan.sweep import Sweep

FILE = """\
import torch


def inputs(rows: int):
    return (torch.randn(rows),)


def reference(x):
    return x * 2


def double(x):
    return x + x


def twice(x):
    return 2 * x
"""
SWEEP = """\
name: small
workload: ./double.py
implementations: ["./double.py:double", {use: "./double.py:twice", files: ["*.txt"]}]
axes: {rows: [8, 16]}
exclude: ["implementation == 'double:twice' and rows == 8"]
"""


def checkout(folder: Path, file: str = FILE, sweep: str = SWEEP) -> Side:
    """A checkout with a sweep file and the file that it names."""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    (folder / "double.py").write_text(file)
    (folder / "notes.txt").touch()
    (folder / "small.yaml").write_text(sweep)
    return Side.of(str(folder / "small.yaml"))


def both(base: Side, candidate: Side, only: str | None = None) -> tuple[Sweep, Sweep]:
    """Both sides' sweeps."""
    was, now = (Sweep.load(side.file, (), only) for side in (base, candidate))
    return was, now


def apart(base: Side, candidate: Side) -> str | None:
    """Why they are measured in rounds."""
    return one_process.why_apart((base, candidate), both(base, candidate))


def test_checkouts_whose_implementation_changed_share_a_process(tmp_path: Path) -> None:
    """The file poses the same problem, whatever its implementations do."""
    base = checkout(tmp_path / "base")
    candidate = checkout(tmp_path / "candidate", FILE.replace("x + x", "x.add(x)"))
    assert apart(base, candidate) is None


@pytest.mark.parametrize(
    ("file", "sweep", "why"),
    [
        (FILE.replace("x * 2", "2 * x"), SWEEP, "differs in more than what is measured"),
        (FILE.replace("randn", "rand"), SWEEP, "differs in more than what is measured"),
        (FILE, SWEEP.replace("[8, 16]", "[8]"), "their sweep files differ"),
        (FILE.replace("import torch", "import torch, tools"), SWEEP, None),
    ],
)
def test_what_keeps_them_apart_is_named(
    tmp_path: Path, file: str, sweep: str, why: str | None
) -> None:
    """Another problem, other points; a neighbour that a file imports is its own and does not."""
    base, candidate = checkout(tmp_path / "base"), checkout(tmp_path / "candidate", file, sweep)
    for side in (base, candidate):
        (side.root / "tools.py").touch()
    if why is None:
        (base.root / "double.py").write_text(file)
        assert apart(base, candidate) is None
    else:
        assert why in str(apart(base, candidate))


@pytest.mark.parametrize("file_of_tools", ["tools.py", "tools/__init__.py"])
@pytest.mark.parametrize("shared", [False, True])
def test_a_neighbour_may_differ_where_only_implementations_use_it(
    tmp_path: Path, shared: bool, file_of_tools: str
) -> None:
    """A module or a package; not where the reference does, too."""
    file = "from tools import twice_of\n" + FILE.replace("x + x", "twice_of(x)")
    if shared:
        file = file.replace("x * 2", "twice_of(x)")
    sides = [checkout(tmp_path / name, file) for name in ("base", "candidate")]
    for side, body in zip(sides, ("x + x", "x * 2"), strict=True):
        (side.root / file_of_tools).parent.mkdir(exist_ok=True)
        (side.root / file_of_tools).write_text(f"def twice_of(x):\n    return {body}\n")
    expected = "what double.py imports differs" if shared else None
    assert apart(sides[0], sides[1]) == expected


def test_a_package_of_a_checkout_keeps_them_apart(tmp_path: Path) -> None:
    """By its name a process finds one of it; so does a checkout that has an orchestrator."""
    own = "import mine\n" + FILE
    sides = []
    for name in ("base", "candidate"):
        side = checkout(tmp_path / name)
        folder = side.root / "kernels"
        folder.mkdir()
        (side.root / "mine").mkdir()
        (side.root / "mine" / "__init__.py").touch()
        for file in ("double.py", "notes.txt", "small.yaml"):
            shutil.copy(side.root / file, folder / file)
        sides.append(Side(folder / "small.yaml", side.root))
    # Only then, for the workload is imported where the sweep is read, and this name is not found.
    loaded = both(*sides)
    for side in sides:
        (side.file.parent / "double.py").write_text(own)
    pair = (sides[0], sides[1])
    assert "mine is imported by its name" in str(one_process.why_apart(pair, loaded))
    (sides[0].root / "orchestrator").mkdir()
    (sides[0].root / "orchestrator" / "__init__.py").touch()
    assert "an orchestrator of its own" in str(one_process.why_apart(pair, loaded))


def test_checkouts_that_differ_in_a_package_are_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the package of one is found for both; when they run, each finds its own."""
    sides = []
    for name, body in (("base", "x + x"), ("candidate", "x.add(x)")):
        root = checkout(tmp_path / name).root
        (root / "doubling").mkdir()
        (root / "doubling" / "__init__.py").write_text(f"def twice_of(x):\n    return {body}\n")
        (root / "kernels").mkdir()
        shutil.copy(root / "notes.txt", root / "kernels")
        (root / "kernels" / "small.yaml").write_text(SWEEP)
        own = "from doubling import twice_of\n" + FILE.replace("x + x", "twice_of(x)")
        (root / "kernels" / "double.py").write_text(own)
        sides.append(Side(root / "kernels" / "small.yaml", root))
    monkeypatch.syspath_prepend(str(sides[1].root))
    loaded = both(*sides)
    comparing._refuse_same_files(sides[0], sides[1], loaded)
    assert one_process.differing(*loaded) == ()  # as far as this process sees
    assert "doubling" in str(one_process.why_apart((sides[0], sides[1]), loaded))


def test_each_implementation_is_measured_beside_itself(tmp_path: Path) -> None:
    """At the points of the base, which `--only` chose; the candidate's code by its own path."""
    base = checkout(tmp_path / "base")
    candidate = checkout(tmp_path / "candidate", FILE.replace("x + x", "x.add(x)"))
    was, now = both(base, candidate, "rows == 16")
    found = one_process.in_turns(was, now, "double:twice")
    (trial,) = (trial for trial in found.trials if trial.trial_id in found.rivals)
    assert trial.params["rows"] == 16
    assert trial.trial_id in {known.trial_id for known in was.trials}
    rival = found.rivals[trial.trial_id]
    assert rival.implementation == "double:twice (candidate)"
    entry = found.entries[rival.implementation]
    assert entry.use == f"{candidate.root / 'double.py'}:twice"
    assert entry.files == [str(candidate.root / "notes.txt")]
    assert len(found.trials) == 2


def test_only_what_differs_is_measured(tmp_path: Path) -> None:
    """A neighbour that changed belongs to the code of the implementation that imports it."""
    split = SWEEP.replace('"./double.py:double"', '"./other.py:double"')
    sides = [checkout(tmp_path / name, sweep=split) for name in ("base", "candidate")]
    for side, body in zip(sides, ("x + x", "x.add(x)"), strict=True):
        (side.root / "other.py").write_text(f"def double(x):\n    return {body}\n")
    assert one_process.differing(*both(*sides)) == ("other:double",)


@pytest.mark.parametrize(
    ("only", "found"),
    [("implementation == 'double:double'", ["double:double"]), ("rows == 16", None)],
)
def test_only_what_is_asked_for_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only: str, found: list[str] | None
) -> None:
    """An implementation of which `--only` leaves no row takes no part."""
    base = checkout(tmp_path / "base")
    candidate = checkout(tmp_path / "candidate", FILE.replace("x + x", "x.add(x)"))
    loaded = both(base, candidate, only)
    measured: list[str] = []

    def run(sweep: Sweep, *_more: object) -> None:
        assert len(sweep.trials) > 0
        measured.append(sweep.trials[0].implementation)

    monkeypatch.setattr(one_process, "measured", run)
    monkeypatch.setattr(one_process, "judge", lambda *_more: "judged")
    options = argparse.Namespace(fail_memory=None, same_code=False, quiet=True, fail_slower=None)
    said = comparing._in_one_process((base, candidate), loaded, (5,), tmp_path, options)
    assert said == "judged"
    assert measured == (found or ["double:double", "double:twice"])
