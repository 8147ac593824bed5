"""Probes a GPU's memory and arithmetic, in a process of its own."""

from __future__ import annotations

from orchestrator.util.frozen_model import FrozenModel

SIZE = 512
PATTERN_BYTES = 2**26


class ProbeRequest(FrozenModel):
    """Which GPUs to probe: `gpus` of them, from `device` on ("cuda", "cuda:1")."""

    device: str
    gpus: int


class ProbeResult(FrozenModel):
    """What is wrong with which GPU, one sentence each."""

    faults: tuple[str, ...]


def probe(request_json: str) -> ProbeResult:
    """Probe the GPUs that a ProbeRequest names, given as JSON text. CUDA's errors raise."""
    wrong = []
    for name in _devices(ProbeRequest.model_validate_json(request_json)):
        fault = fault_of(name)
        if fault is not None:
            wrong.append(f"{name}: {fault}")
    return ProbeResult(faults=tuple(wrong))


def fault_of(device: str) -> str | None:
    """What a device computes or stores wrongly; None: nothing.

    A product of small integers is exact in float32, in any order of the sums and with or without
    tf32. A pattern written to memory must be read back unchanged.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    left = torch.randint(-8, 9, (SIZE, SIZE), generator=generator).float()
    right = torch.randint(-8, 9, (SIZE, SIZE), generator=generator).float()
    if not torch.equal((left.to(device) @ right.to(device)).cpu(), left @ right):
        return "a product of integers is wrong"
    pattern = torch.arange(PATTERN_BYTES // 8)
    if not torch.equal(pattern.to(device).clone().cpu(), pattern):
        return "memory does not hold what is written to it"
    return None


def _devices(request: ProbeRequest) -> list[str]:
    """The names that torch has for the devices."""
    kind, _, first = request.device.partition(":")
    return [f"{kind}:{int(first or 0) + offset}" for offset in range(max(1, request.gpus))]
