"""What has no effect is told before a sweep runs, one line a key."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.plan.no_effect import keys_without_effect
from tests.support.sweeps import sweep

SEARCH = "{strategy: random, samples: 2, over: [batch]}"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"resources": "{gpu_memory_gib: 8}"}, "resources.gpu_memory_gib has no effect on a CPU"),
        ({"resources": "{cpus: 64}"}, "resources.cpus: 64 is more than the 2"),
        (
            {"max_concurrent": "8"},
            "max_concurrent: 8 is more than there is room for, so 2 run at a time",
        ),
        ({"search": "{samples: 5}"}, "search.samples has no effect without search.strategy"),
        (
            {"search": SEARCH.replace("}", ", metric: energy_mj_per_token}")},
            "search.metric: energy_mj_per_token is measured on a GPU alone",
        ),
    ],
)
def test_each_key_is_named(fields: dict[str, Any], said: str) -> None:
    """On a CPU with two cores and room for two trials."""
    found = keys_without_effect(sweep(**fields), "cpu", cores=2, slots=2)
    assert len(found) == 1
    assert found[0].startswith(said)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"resources": "{gpu_memory_gib: 8}"},
        {"search": SEARCH},
        {"max_concurrent": "2"},
    ],
)
def test_nothing_is_said_of_what_has_its_effect(fields: dict[str, Any]) -> None:
    """On a GPU, or with the strategy that it is for."""
    assert keys_without_effect(sweep(**fields), "cuda", cores=2, slots=2) == []


def test_what_is_not_known_is_not_mentioned() -> None:
    """Of a cluster nobody knows the cores before it answers."""
    quiet = sweep(resources="{cpus: 64}", max_concurrent="8")
    assert keys_without_effect(quiet, "cpu", cores=0, slots=0) == []
