"""What is registered: the answer of `list`."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate

from orchestrator import registry


def as_object() -> dict[str, Any]:
    """Implementations (name, workload, form, needs, summary) and workloads (name, forms, params); JSON values."""
    return {
        "implementations": [
            {
                "name": name,
                "workload": entry.workload,
                "form": entry.form,
                "needs": entry.needs,
                "summary": entry.summary,
            }
            for name, entry in registry.implementations().items()
        ],
        "workloads": [_workload(name) for name in registry.workloads()],
    }


def as_text() -> str:
    """The same as two tables."""
    found = as_object()
    implementations = [
        (item["name"], item["workload"], item["form"], item["needs"] or "-", item["summary"])
        for item in found["implementations"]
    ]
    params = [
        (item["name"], param["name"], param["type"], param["default"])
        for item in found["workloads"]
        for param in item["params"]
    ]
    return "\n\n".join(
        [
            tabulate(implementations, headers=["Implementation", "Workload", "Form", "Needs", "What it is"]),
            tabulate(params, headers=["Workload", "Param", "Type", "Default"], disable_numparse=True),
            "A sweep may also name package.module:attribute or ./path/to/file.py:attribute.",
        ]
    )


def _workload(name: str) -> dict[str, Any]:
    workload = registry.workload(name, ".")
    schema = workload.params.model_json_schema()
    return {
        "name": name,
        "forms": list(workload.forms),
        "params": [
            {
                "name": param,
                "type": _type(schema["properties"][param]),
                "default": "required" if info.is_required() else str(info.get_default(call_default_factory=True)),
            }
            for param, info in workload.params.model_fields.items()
            if param != "device"
        ],
    }


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(_type(branch) for branch in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("const", schema.get("type", "any")))
