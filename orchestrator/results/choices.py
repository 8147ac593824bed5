"""Writes what a search chose to a file that implementations load; see orchestrator/chosen.py."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from orchestrator.chosen import FORMAT
from orchestrator.errors import RequestError
from orchestrator.results.answers import Answer
from orchestrator.results.results import Results
from orchestrator.results.rows import Row
from orchestrator.spec.models import SweepSpec
from orchestrator.util.files import nearest_existing, write_atomically


def refuse(spec: SweepSpec, file: str) -> None:
    """Refuse to export what nobody chose, or to where it cannot be written.

    Raises:
        RequestError: the sweep is no search, or the file cannot be written.
    """
    refuse_other_than_search(spec)
    path = Path(file).absolute()
    if path.is_dir():
        raise RequestError(f"--export: {file} is a folder: name a file in it")
    existing = nearest_existing(path.parent)
    if not existing.is_dir():
        raise RequestError(f"--export: {file} cannot be written: {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RequestError(f"--export: {file} cannot be written: no permission for {existing}")


def refuse_other_than_search(spec: SweepSpec) -> None:
    """Refuse to export what nobody chose.

    Raises:
        RequestError: the sweep is no search.
    """
    if not spec.search.active:
        raise RequestError(
            f"--export writes what a search chose, and {spec.name} runs every point: "
            "give it a search.strategy (docs/search.md)"
        )


def write(results: Results, file: str) -> int:
    """Write the best of each search that has one; returns how many searches have none.

    Raises:
        RequestError: the sweep is no search, or the file cannot be written.
    """
    meta = results.meta
    refuse_other_than_search(meta.spec)
    choices = []
    for answer in results.answers:
        if answer.best is not None:
            choice = _choice(meta.spec, answer, answer.best)
            choices.append(choice)
    content = {
        "format": FORMAT,
        "sweep_id": meta.sweep_id,
        "name": meta.name,
        "workload": meta.spec.workload,
        "device": meta.device,
        "metric": meta.spec.search.metric,
        "choices": choices,
    }
    try:
        write_atomically(Path(file), json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise RequestError(
            f"--export: {file} cannot be written ({error.strerror}): name another file with "
            f"`orchestrator report {meta.sweep_id} --export FILE`"
        ) from None
    return len(results.answers) - len(choices)


def _choice(spec: SweepSpec, answer: Answer, best: Row) -> dict[str, Any]:
    """One search: its point, what it chose, and how good that is."""
    searched = {name: best.params[name] for name in spec.searched if name in best.params}
    others = dict(best.params)
    for name in searched:
        del others[name]
    return {
        "implementation": best.implementation,
        "use": best.trial.use,
        "params": others,
        "options": dict(best.trial.options),
        "searched_params": searched,
        "trial_id": best.trial_id,
        "value": answer.value,
        "flags": list(best.flags),
    }
