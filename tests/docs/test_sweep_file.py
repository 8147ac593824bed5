"""The reference of the sweep file is complete and its defaults are the true ones."""

import json
import re

import pytest

from orchestrator.spec.models import PROTOCOL_DEFAULTS, ImplementationSpec, SweepSpec
from orchestrator.util.frozen_model import FrozenModel
from tests.docs.guide import DOCS


def fields(model, prefix=""):
    """(dotted name, default as YAML, or `required`) of every field; of a field that is a model, its
    own fields.
    """
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, FrozenModel):
            yield from fields(kind, f"{prefix}{name}.")
        else:
            yield (
                f"{prefix}{name}",
                "required" if info.is_required() else as_yaml(info.get_default()),
            )


def as_yaml(value):
    if isinstance(value, str):
        return value or '""'
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


EVERY = [*fields(SweepSpec), *fields(ImplementationSpec, "implementations.")]


@pytest.fixture(scope="module")
def table():
    """Field -> the cells of its row."""
    found = {}
    for line in (DOCS / "sweep-file.md").read_text().splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), cells[1:])
    return found


@pytest.mark.parametrize(("name", "default"), EVERY, ids=[name for name, _ in EVERY])
def test_every_field_is_there_with_its_default(table, name, default):
    """A field that is added must be told of; a default that changes must be told, too."""
    assert name in table, f"docs/sweep-file.md says nothing of {name}"
    assert table[name][0].strip("`") == default


def test_nothing_is_told_of_that_does_not_exist(table):
    """Each name in the tables is a field."""
    assert set(table) <= {name for name, _ in EVERY}


@pytest.mark.parametrize(("column", "device"), [(1, "cuda"), (2, "cpu")])
def test_the_protocols_of_the_devices_are_the_true_ones(table, column, device):
    """What `null` stands for."""
    told = {name: float(table[f"measure.{name}"][column]) for name in PROTOCOL_DEFAULTS[device]}
    assert told == PROTOCOL_DEFAULTS[device]
