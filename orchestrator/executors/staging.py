"""Gathers what must travel to a cluster's nodes: the project's packages and the user's files."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from orchestrator.supervisor.supervisor import STAGED_FILES
from orchestrator.trial import Attempt
from orchestrator.usercode import registry
from orchestrator.usercode.source import closure

PACKAGES = ("orchestrator", registry.REGISTRY)


class Staging:
    """A folder to send, and the paths by which the files in it are found over there.

    Args:
        folder: an empty folder; it becomes the workers' current directory.
        base_dir: the folder that relative paths of the sweep file start from.
        references: every `use` and `workload` of the sweep; those that name files are copied, with what they import
            from beside them.
    """

    def __init__(self, folder: Path, base_dir: str, references: set[str]) -> None:
        self.folder = folder
        for package in PACKAGES:
            source = Path(str(importlib.import_module(package).__file__)).parent
            shutil.copytree(source, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        self.paths: Mapping[str, str] = {ref: self._copy(ref, base_dir) for ref in sorted(references) if _is_file(ref)}

    def translate(self, attempt: Attempt) -> Attempt:
        """The attempt with its files' paths as they are on a node; its identity is left alone."""
        trial = attempt.trial
        trial = trial.model_copy(update={"use": self.paths.get(trial.use, trial.use)})
        workload = self.paths.get(attempt.workload, attempt.workload)
        return attempt.model_copy(update={"trial": trial, "workload": workload})

    def _copy(self, reference: str, base_dir: str) -> str:
        target = registry.locate(reference, base_dir, (), "implementation")
        assert target.file is not None
        for file in closure(target.file, target.file.parent):
            place = self.folder / STAGED_FILES / file.relative_to(file.anchor)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, place)
        return f"{target.file.relative_to(target.file.anchor)}:{target.attribute}"


def _is_file(reference: str) -> bool:
    return reference.rpartition(":")[0].endswith(".py")
