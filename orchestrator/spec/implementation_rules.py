"""Whether an entry of `implementations` names what can be called as one.

Told from the text of its file; only what is installed is imported, by another Python.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache

from orchestrator.errors import UnknownNameError
from orchestrator.spec.models import ImplementationSpec
from orchestrator.usercode import callables, registry, source, workloads
from orchestrator.usercode.text import file_facts
from orchestrator.usercode.workload_file import FileWorkload
from orchestrator.util import subprocesses
from orchestrator.workload import Workload

ASK_S = 120.0
_ASK = """
import importlib, json, sys
try:
    found = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
except AttributeError:
    import difflib
    names = [name for name in dir(sys.modules[sys.argv[1]]) if not name.startswith("_")]
    said = f"{sys.argv[1]} has no {sys.argv[2]!r}"
    for near in difflib.get_close_matches(sys.argv[2], names, n=1):
        said += f" (did you mean {near!r}?)"
else:
    said = ""
    if not callable(found):
        said = f"{sys.argv[2]} is a {type(found).__name__}, which cannot be called"
print(json.dumps(said))
"""


def complaint(
    entry: ImplementationSpec, workload: Workload, base_dir: str, options: Collection[str]
) -> str:
    """Why the entry names no implementation of the workload; empty where it may. `options` are the
    names of those that the whole sweep gives.

    Raises:
        UnknownNameError: it names nothing.
    """
    if entry.use in registry.implementations():
        source.check(registry.implementation_target(entry.use, base_dir))
        if not entry.call:
            return ""
        return (
            f"{entry.use} is registered with its own keywords: call: is for functions of one's own"
        )
    adapted = workloads.adapted(entry.use, base_dir)
    if adapted is not None:
        adapter, path = adapted
        return adapter.check(path, workload)
    target = registry.implementation_target(entry.use, base_dir)
    file = target.file
    if file is None:
        # An installed package may make its attributes in C or at run time: its text tells nothing.
        file = source.module_file(str(target.module))
        if file is None or "site-packages" in file.parts:
            return asked(str(target.module), target.attribute)
    source.check(target)
    inputs: tuple[str, ...] | None
    if isinstance(workload, FileWorkload):
        inputs = workload.facts.arguments
    else:  # None: the workload does not say what it calls an implementation with
        inputs = tuple(workload.input_names.get(workload.forms[0], ())) or None
    return callables.complaint_in_text(
        file_facts.parsed(file),
        target.attribute,
        inputs,
        entry.call,
        entry.options,
        old_form=not isinstance(workload, FileWorkload),
        params={*workload.params.model_fields, *entry.options, *options},
    )


@lru_cache(maxsize=256)
def asked(module: str, attribute: str) -> str:
    """Why an attribute of an installed package cannot be called; empty if it can.

    Another Python process imports it: here the import would cost seconds, and stay.

    Raises:
        UnknownNameError: there is no such module, or it cannot be imported.
    """
    if not source.may_be_elsewhere(module) and source.module_file(module) is None:
        raise UnknownNameError(
            f"there is no module {module!r}: install it, or name a file path/to/file.py"
        )
    kept = file_facts.cache_folder() / "callables" / f"{module}-{attribute}-{_version(module)}.json"
    with suppress(OSError, ValueError):
        return str(json.loads(kept.read_text(encoding="utf-8")))
    line = [sys.executable, "-c", _ASK, module, attribute]
    try:
        answer = subprocesses.last_json_line(subprocesses.run(line, "", ASK_S))
    except subprocess.TimeoutExpired:
        return ""  # the trial that imports it will say what is wrong
    except ValueError as error:
        raise UnknownNameError(f"{module} cannot be imported: {error}") from None
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(answer), encoding="utf-8")
    return str(answer)


def _version(module: str) -> str:
    """The versions of the module's package and of Python, by which an answer is kept."""
    version = "unknown"
    with suppress(importlib.metadata.PackageNotFoundError):
        version = importlib.metadata.version(module.partition(".")[0])
    return f"{version}-{sys.version_info[0]}.{sys.version_info[1]}"
