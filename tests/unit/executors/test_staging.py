"""What must travel to a cluster is gathered, and found there by the paths that the attempts are
given.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.executors.staging import Staging
from orchestrator.supervisor.supervisor import STAGED_FILES
from tests.support.attempts import attempt


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two folders with files of equal names, each with what its implementation needs."""
    for folder in ("old", "new"):
        for name, text in {
            "attn.py": "from kern.fast import go\nSOURCES = ['csrc/k.cu']\ndef build(c): return go\n",
            "kern/__init__.py": "SCALE = 2\n",
            "kern/fast.py": "from . import SCALE\ndef go(x): ...\n",
            "csrc/k.cu": f"// {folder}\n",
            "table.dat": folder,
        }.items():
            path = tmp_path / "project" / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return tmp_path / "project"


def staged(
    tmp_path: Path, project: Path, *references: str, files: tuple[Path, ...] = ()
) -> Staging:
    folder = tmp_path / "staged"
    folder.mkdir()
    return Staging(folder, str(project), set(references), files)


def test_both_sides_of_a_paired_comparison_are_given_their_own_path(
    tmp_path: Path, project: Path
) -> None:
    """Each names a file that is there, its own."""
    found = staged(tmp_path, project, "./old/attn.py:build", "./new/attn.py:build")
    first = attempt("old", use="./old/attn.py:build")
    pair = first.model_copy(
        update={"rival": first.trial.model_copy(update={"use": "./new/attn.py:build"})}
    )
    sent = found.translate(pair)
    assert sent.rival is not None
    later = found.translate(first.model_copy(update={"screened_next": (pair.rival,)}))
    assert later.screened_next == (sent.rival,)
    for trial, folder in ((sent.trial, "old"), (sent.rival, "new")):
        place = found.folder / STAGED_FILES / trial.use.partition(":")[0]
        assert place.parent.name == folder
        assert (place.parent / "csrc" / "k.cu").read_text() == f"// {folder}\n"
        assert (place.parent / "kern" / "__init__.py").is_file()
    assert sent.trial.trial_id == pair.trial.trial_id


def test_files_that_an_entry_names_travel_to_the_same_place_beside_the_code(
    tmp_path: Path, project: Path
) -> None:
    """The code finds them by its own path."""
    found = staged(tmp_path, project, "./old/attn.py:build", files=(project / "old" / "table.dat",))
    place = found.folder / STAGED_FILES / found.paths["./old/attn.py:build"].partition(":")[0]
    assert (place.parent / "table.dat").read_text() == "old"


@pytest.mark.parametrize("reference", ["zzztravels.core:build", "./uses.py:build"])
def test_a_package_that_is_only_on_the_path_travels_by_its_name(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    """The folder that is sent is on the path over there; named by the sweep, or imported by a file
    of it.
    """
    package = tmp_path / "loose" / "zzztravels"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "core.py").write_text("def build(c): ...\n")
    (project / "uses.py").write_text("from zzztravels.core import build\n")
    monkeypatch.syspath_prepend(tmp_path / "loose")
    found = staged(tmp_path, project, reference)
    assert (found.folder / "zzztravels" / "core.py").is_file()
    assert (found.folder / "zzztravels" / "__init__.py").is_file()


def test_the_projects_packages_travel_whole(tmp_path: Path, project: Path) -> None:
    """A registered name needs no translation."""
    found = staged(tmp_path, project, "standard", "dilated_attention")
    assert dict(found.paths) == {}
    assert (found.folder / "orchestrator" / "workload.py").is_file()
    assert (found.folder / "implementations" / "standard.py").is_file()
