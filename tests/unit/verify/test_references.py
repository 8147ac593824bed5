"""References that trials on the same problems share."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from orchestrator.verify.references import SharedReferences
from tests.unit.verify.test_verifier import verifier, wide


def softmax(x: torch.Tensor) -> torch.Tensor:
    return torch.softmax(x, -1)


def wrong(x: torch.Tensor) -> torch.Tensor:
    return softmax(x) * (1 + 0.1 * torch.eye(*x.shape))


@pytest.mark.parametrize("backward", [False, True])
def test_what_one_trial_asked_for_is_not_computed_for_the_next(backward: bool) -> None:
    """The right one after it costs no reference, and the wrong one is refused by the same."""
    asked = []

    def reference(problem: Any) -> Any:
        asked.append(problem.dtype)
        return wide(softmax)(problem)

    how: dict[str, Any] = {"backward": backward, "names": ("x",), "shared": SharedReferences()}
    assert verifier(softmax, reference, **how).verify("before").ok
    spent = len(asked)
    assert spent > 0
    assert verifier(softmax, reference, **how).verify("before").ok
    assert len(asked) == spent
    assert not verifier(wrong, reference, **how).verify("before").ok


def test_a_note_on_one_trial_is_not_said_of_the_next() -> None:
    """An output that is right as the reference in the own dtype is; one that is right anyhow."""

    def normed(x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)

    shared = SharedReferences()
    verifier(normed, wide(normed), shared=shared, dtype="float16").verify("before")
    for reference, *_ in shared.by_problem.values():
        reference.as_plain = True
    verdict = verifier(normed, wide(normed), shared=shared, dtype="float16").verify("before")
    assert verdict.ok
    assert not any("itself" in note for note in verdict.notes)
