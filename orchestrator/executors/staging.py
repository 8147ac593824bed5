"""Copies the project's packages and the user's files into a folder for a cluster's nodes."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from orchestrator.supervisor.supervisor import STAGED_FILES
from orchestrator.trial import Attempt, Trial
from orchestrator.usercode import registry, workloads
from orchestrator.usercode.registry import Target
from orchestrator.usercode.source import Source, source_of

PACKAGES = ("orchestrator", registry.REGISTRY)


class Staging:
    """A folder to send, and the paths of its files on the nodes.

    Args:
        folder: an empty folder; it becomes the workers' current directory, and the first on their
            `sys.path`.
        base_dir: the folder that relative paths of the sweep file start from.
        references: every `use` and `workload` of the sweep. Those that name files are copied with
            everything that belongs to them; of modules what is on `sys.path` without being
            installed.
        files: other files that implementations read, absolute.
    """

    def __init__(
        self, folder: Path, base_dir: str, references: set[str], files: Iterable[Path] = ()
    ) -> None:
        self.folder = folder
        for package in PACKAGES:
            source = Path(str(importlib.import_module(package).__file__)).parent
            shutil.copytree(source, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        for file in files:
            self._copy(file, None)
        self.paths: dict[str, str] = {}
        for reference in sorted(references):
            path = self._gather(reference, base_dir)
            if path is not None:
                self.paths[reference] = path

    def translate(self, attempt: Attempt) -> Attempt:
        """The attempt with its files' paths on a node; its identity is unchanged."""
        translated = {
            "trial": self._translated(attempt.trial),
            "screened": tuple(map(self._translated, attempt.screened)),
            "screened_next": tuple(map(self._translated, attempt.screened_next)),
            "workload": self.paths.get(attempt.workload, attempt.workload),
        }
        if attempt.rival is not None:
            translated["rival"] = self._translated(attempt.rival)
        if attempt.incumbent is not None:
            translated["incumbent"] = self._translated(attempt.incumbent)
        return attempt.model_copy(update=translated)

    def _translated(self, trial: Trial) -> Trial:
        return trial.model_copy(update={"use": self.paths.get(trial.use, trial.use)})

    def _gather(self, reference: str, base_dir: str) -> str | None:
        """Copy what a reference needs; the reference on a node, or None if it stays the same."""
        name, _, _ = reference.partition(":")
        adapted = workloads.adapted(reference, base_dir)
        if adapted is not None:
            adapter, path = adapted
            targets = [Target("", file=file) for file in adapter.files(path)]
            self._copy_all(source_of(*targets))
            return f"{name}:{_inside(path)}"
        alone = workloads.file_of(reference, base_dir)
        if alone is not None:
            self._copy_all(source_of(Target("", file=alone)))
            return str(_inside(alone))
        known = dict(registry.workloads())
        for label, found in registry.implementations().items():
            known[label] = found.target
        target = registry.locate(known.get(reference, reference), base_dir, (), "implementation")
        if target.module is not None and target.module.partition(".")[0] in PACKAGES:
            return None
        self._copy_all(source_of(target))
        if target.file is None:
            return None
        return f"{_inside(target.file)}:{target.attribute}"

    def _copy_all(self, source: Source) -> None:
        for file in source.files:
            self._copy(file, source.roots.get(file))

    def _copy(self, file: Path, root: Path | None) -> None:
        """Copy a file below STAGED_FILES, or, if it is imported by name, to where that finds it."""
        if root is None:
            inside = Path(STAGED_FILES) / _inside(file)
        else:
            inside = file.relative_to(root)
        place = self.folder / inside
        if inside.parts[0] in PACKAGES or place.exists():
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, place)


def _inside(path: Path) -> Path:
    """Where a path lies below the folder of staged files."""
    return path.relative_to(path.anchor)
