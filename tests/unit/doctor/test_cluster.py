"""What doctor says of a cluster's nodes."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

import pytest

from orchestrator.doctor import cluster

ALIKE: dict[str, Any] = {
    "address": "10.0.0.1",
    "resources": {"CPU": 8.0, "GPU": 1.0},
    "python": platform.python_version(),
    "versions": {"ray": metadata.version("ray"), "torch": metadata.version("torch")},
    "ahead_s": 0.0,
    "cards": ["NVIDIA H200, 580.1, 140000 MiB"],
    "free_gib": 100.0,
}
WHOLE = {"CPU": 8.0, "GPU": 1.0}


def findings(node: dict[str, Any], free: dict[str, float] = WHOLE) -> list[tuple[str, str, str]]:
    answer = {"nodes": [{**ALIKE, **node}], "free": free, "all": WHOLE}
    return [
        (found.check, found.state, found.message)
        for found in cluster.judged("10.0.0.1:6379", answer)
    ]


def test_a_cluster_that_is_as_it_should_be() -> None:
    """One line for it, one for each node."""
    assert [state for _, state, _ in findings({})] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("node", "state", "text"),
    [
        ({"python": "3.8.1"}, "bad", "Python 3.8.1"),
        ({"versions": {"torch": None}}, "bad", "has no torch"),
        ({"versions": {"torch": "1.0.0"}}, "warn", "torch 1.0.0"),
        ({"ahead_s": 12.0}, "warn", "its clock is 12 s off"),
        ({"free_gib": 0.5}, "warn", "0.5 GiB of memory free"),
        ({"error": "does not answer"}, "bad", "does not answer"),
    ],
)
def test_what_is_wrong_with_a_node_is_said(node: dict[str, Any], state: str, text: str) -> None:
    """By its address."""
    assert any(
        (check, found) == ("node 10.0.0.1", state) and text in message
        for check, found, message in findings(node)
    )


def test_what_others_hold_is_said() -> None:
    """A sweep would wait for it."""
    assert ("cluster load", "warn", "6 of 8 CPUs are held by others") in findings(
        {}, {"CPU": 2.0, "GPU": 1.0}
    )


def test_a_cluster_that_refuses_is_bad() -> None:
    """With Ray's own reason."""
    (found,) = cluster.judged("10.0.0.1:6379", {"error": "AuthenticationError: no token"})
    assert (found.state, "no token" in found.message) == ("bad", True)
