"""The source code that each implementation of a sweep stands for. Read, never imported."""

from __future__ import annotations

from pathlib import Path

from orchestrator.plan.sweep import Sweep
from orchestrator.spec.models import ImplementationSpec
from orchestrator.usercode import workloads
from orchestrator.usercode.data_files import expanded
from orchestrator.usercode.source import Source, source_of


def sources(sweep: Sweep) -> dict[str, Source]:
    """Label -> the source code that defines the implementation and the workload."""
    workload = workloads.targets(sweep.spec.workload, sweep.base_dir)
    found = {}
    for entry in sweep.spec.implementations:
        targets = workloads.implementation_targets(entry.use, sweep.base_dir)
        found[entry.label] = source_of(
            *targets, *workload, files=entry_files(entry, sweep.base_dir)
        )
    return found


def entry_files(entry: ImplementationSpec, base_dir: str) -> list[Path]:
    """The files that `files:` of an entry means."""
    files: list[Path] = []
    for pattern in entry.files:
        files += expanded(pattern, Path(base_dir))
    return files
