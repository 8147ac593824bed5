"""What is registered, and what of it this machine can run: the answer of `list`."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from typing import Any

from orchestrator.formatting import counted, table_text
from orchestrator.machine import nvml
from orchestrator.machine.environment import usable_cores
from orchestrator.usercode import registry, workloads


def as_object() -> dict[str, Any]:
    """What this machine has, implementations and workloads; JSON values.

    An implementation has name, workload, form, needs, summary, explain (how it chooses among its
    plans) and `missing`: what it needs and this machine lacks, an empty list where it can run here.
    A workload has name, forms and params.
    """
    gpus = nvml.count()
    implementations = []
    for name, entry in registry.implementations().items():
        described = {
            "name": name,
            "workload": entry.workload,
            "form": entry.form,
            "needs": entry.needs,
            "missing": missing(entry.needs, gpus),
            "summary": entry.summary,
            "explain": entry.explain,
        }
        implementations.append(described)
    return {
        "machine": {"cores": usable_cores(), "gpus": gpus},
        "implementations": implementations,
        "workloads": [_workload(name) for name in registry.workloads()],
    }


def as_text() -> str:
    """The same as two tables."""
    found = as_object()
    implementations = []
    for item in found["implementations"]:
        cells = [item["name"], item["workload"], item["form"], item["needs"] or "-"]
        cells += [_here(item["missing"]), item["summary"]]
        implementations.append(cells)
    params = []
    for item in found["workloads"]:
        for param in item["params"]:
            cells = [item["name"], param["name"], param["type"], str(param["default"])]
            params.append(cells)
    headings = ["Implementation", "Workload", "Form", "Needs", "Here", "What it is"]
    parts = [
        table_text(headings, implementations, wrapped=(3, 5)),
        table_text(["Workload", "Param", "Type", "Default"], params, wrapped=(2,)),
        f"This machine: {_machine(found['machine'])}.",
    ]
    parts += [f"! {text}" for text in (*registry.broken(), *_unusable(found))]
    formats = ", ".join(f"{name}:PATH" for name in workloads.adapters())
    parts.append(
        "A sweep may also name package.module:attribute or ./path/to/file.py:attribute;\n"
        "for a workload also ./path/to/file.py, or a path in another format:\n"
        f"{formats}."
    )
    return "\n\n".join(parts)


def _unusable(found: Mapping[str, Any]) -> list[str]:
    """The registered workloads that cannot be imported, each with the reason."""
    reasons = []
    for item in found["workloads"]:
        reasons += [f"the workload {item['name']} {why}" for why in item.get("missing", ())]
    return reasons


def explanations() -> str:
    """How each implementation that has a choice chooses."""
    parts = []
    for name, entry in registry.implementations().items():
        if entry.explain:
            parts.append(f"{name} chooses:\n{entry.explain}")
    return "\n\n".join(parts)


def missing(needs: str, gpus: int) -> list[str]:
    """The parts of `needs` that a machine with so many GPUs lacks; importing nothing.

    Args:
        needs: what a registry entry states, by commas: "CUDA", "4 GPUs", or the name of a Python
            package.
        gpus: GPUs that this process may use.
    """
    parts = [part.strip() for part in needs.split(",") if part.strip()]
    return [part for part in parts if not _has(part, gpus)]


def _has(part: str, gpus: int) -> bool:
    if part == "CUDA":
        return gpus >= 1
    count = re.fullmatch(r"(\d+) GPUs?", part)
    if count:
        return gpus >= int(count[1])
    return part.isidentifier() and importlib.util.find_spec(part) is not None


def _here(lacking: list[str]) -> str:
    if not lacking:
        return "yes"
    return f"no {', no '.join(lacking)}"


def _machine(machine: dict[str, int]) -> str:
    gpus = counted(machine["gpus"], "GPU") if machine["gpus"] else "no GPUs"
    return f"{counted(machine['cores'], 'core')}, {gpus}"


def _workload(name: str) -> dict[str, Any]:
    try:
        workload = registry.workload(name, ".")
    except Exception as error:  # noqa: BLE001 - somebody else's code, which need not work here
        why = f"cannot be imported: {type(error).__name__}: {error}"
        return {"name": name, "forms": [], "params": [], "missing": [why]}
    properties = workload.params.model_json_schema().get("properties", {})
    params = []
    for param, info in workload.params.model_fields.items():
        if param == "device":
            continue
        default = "required"
        if not info.is_required():
            default = str(info.get_default(call_default_factory=True))
        params.append({"name": param, "type": _type(properties[param]), "default": default})
    return {"name": name, "forms": list(workload.forms), "params": params}


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(_type(branch) for branch in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("const", schema.get("type", "any")))
