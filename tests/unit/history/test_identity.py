"""What has to be the same for a row to stand for another: nothing of the file is forgotten."""

from __future__ import annotations

from orchestrator.history.identity import asked, changes
from orchestrator.spec.models import MeasureSpec, ResourceSpec, SweepSpec, VerifySpec

SPEC = SweepSpec.model_validate({"name": "a", "workload": "w", "implementations": ("i",)})
# How many rounds a row has is seen from its records; these are part of its environment, or say
# where it runs and for how long.
ELSEWHERE = {
    "measure": {"repeats"},
    "verify": set(),
    "resources": {
        "cpus",
        "gpu_memory_gib",
        "timeout_s",
        "accelerator",
        "per_accelerator",
        "wait_s",
    },
}


def test_every_field_that_can_change_a_row_is_asked_for() -> None:
    """A field that is new to the sweep file has to be put into one of the two."""
    stated = asked(SPEC, "cpu")
    models = {"measure": MeasureSpec, "verify": VerifySpec, "resources": ResourceSpec}
    for name, model in models.items():
        known = {key.partition(".")[2] for key in stated if key.startswith(f"{name}.")}
        assert known | ELSEWHERE[name] == set(model.model_fields)
    assert {"workload", "seed", "max_concurrent", "measured"} <= stated.keys()


def test_a_change_names_the_field_with_both_values() -> None:
    """One level of nesting is opened; what is absent is none."""
    was = {"torch": "2.12", "variables": {"A": "1"}, "same": 3}
    now = {"torch": "2.13", "variables": {"A": "1", "B": "2"}, "same": 3}
    assert changes(was, now) == ["torch: 2.12, now 2.13", "variables.B: none, now 2"]
    assert changes(was, was) == []
