"""What `list` answers."""

import json

import pytest

from orchestrator import catalog, cli, nvml, registry
from orchestrator.workload import Registered


@pytest.mark.parametrize(
    ("needs", "gpus", "missing"),
    [
        ("", 0, []),
        ("CUDA", 0, ["CUDA"]),
        ("CUDA", 1, []),
        ("4 GPUs", 2, ["4 GPUs"]),
        ("4 GPUs", 4, []),
        ("1 GPU, json", 1, []),
        ("CUDA, no_such_package", 1, ["no_such_package"]),
        ("a good mood", 8, ["a good mood"]),
    ],
)
def test_needs_are_held_against_the_machine(needs, gpus, missing):
    """GPUs by count, packages by name; what nobody understands is missing rather than there."""
    assert catalog.missing(needs, gpus) == missing


@pytest.fixture
def one_that_needs_four_gpus(monkeypatch):
    entry = Registered("somewhere:build", "dilated_attention", "qkv", "spread over four", needs="4 GPUs")
    ours = registry.implementations()
    monkeypatch.setattr(registry, "implementations", lambda: {**ours, "spread": entry})
    monkeypatch.setattr(nvml, "count", lambda: 1)


@pytest.mark.usefixtures("one_that_needs_four_gpus")
def test_the_table_says_what_this_machine_lacks(capsys):
    """One line per implementation, and what there is at the end."""
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "no 4 GPUs" in next(line for line in lines if line.startswith("spread"))
    assert " yes " in next(line for line in lines if line.startswith("standard"))
    assert any(line.startswith("This machine:") and line.endswith("1 GPU.") for line in lines)


@pytest.mark.usefixtures("one_that_needs_four_gpus")
def test_json_lists_what_is_missing(capsys):
    """Empty where it can run here."""
    assert cli.main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    missing = {item["name"]: item["missing"] for item in found["implementations"]}
    assert missing["spread"] == ["4 GPUs"]
    assert missing["standard"] == []
    assert found["machine"]["gpus"] == 1
