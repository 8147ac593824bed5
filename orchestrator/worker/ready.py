"""Makes a process ready for any attempt on a GPU, before its attempt is known.

CUDA starts, and the driver loads each of torch's kernels when it is first used, some 20 ms for each
file of them. The verifier uses about thirty. So an operator of our own, attention written out, is
verified here once as a trial is: what that loads is what every trial's verification needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from orchestrator.usercode.implementation import Implementation
from orchestrator.verify.caller import Caller
from orchestrator.verify.verifier import Verifier
from orchestrator.workload import Config, Expected, Problem, Work, Workload

if TYPE_CHECKING:
    import torch

DTYPE = "float32"  # the kernels of others are in the same files
ENTRIES, ROWS, WIDTH = 2, 64, 32


class _Params(BaseModel):
    model_config = ConfigDict(frozen=True)
    dtype: str = DTYPE


def ready_on_cuda() -> None:
    """Start CUDA on the first visible GPU and load the kernels that verification uses."""
    import torch

    torch.cuda.set_device(0)
    torch.cuda.init()  # type: ignore[no-untyped-call]
    ready_on("cuda")
    torch.cuda.synchronize()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def ready_on(device: str) -> None:
    """Verify the operator on a device.

    Raises:
        AssertionError: it was refused: the device does not compute, or the rule is wrong.
    """
    from orchestrator.verify.rule.noise import forget_pools

    workload = Workload(
        name="ready",
        params=_Params,
        inputs=_inputs,
        reference=_reference,
        work=lambda _params, _form: Work(flops=1, bytes=1),
        input_names={"default": ("q", "k", "v")},
    )
    config = Config({"dtype": DTYPE}, device)
    built = Implementation(_attention, config, "default", False, ("q", "k", "v"))
    verifier = Verifier(Caller(workload, _Params(), built, 1, 2), None, None)
    verdict = verifier.verify("before", structures=True)
    assert verdict.ok, verdict
    verdict = verifier.verify_rewritten("after", verifier.caller.inputs("timed", 0), 1.0)
    assert verdict.ok, verdict
    forget_pools()


def _inputs(config: Config, _form: str, seed: int) -> tuple[torch.Tensor, ...]:
    import torch

    generator = torch.Generator(config.device).manual_seed(seed)
    shape = (3, ENTRIES, ROWS, WIDTH)
    drawn = torch.randn(shape, generator=generator, dtype=config.dtype, device=config.device)
    return drawn.unbind()


def _attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    weights: torch.Tensor = (q @ k.transpose(-1, -2) * WIDTH**-0.5).softmax(-1)
    return weights @ v


def _reference(problem: Problem) -> Expected:
    """Attention in pieces, as references that must not hold all scores are written: every other
    row, keys one half after the other.
    """
    import torch

    q, k, v = (one.to(problem.dtype) for one in problem.inputs)
    rows = torch.arange(0, ROWS, 2, device=q.device)
    index = (
        torch.arange(ENTRIES, device=q.device).repeat_interleave(len(rows)),
        rows.repeat(ENTRIES),
    )
    out = torch.zeros_like(q)
    sums = torch.full_like(q[..., 0], -torch.inf)
    for keys in torch.arange(ROWS, device=q.device).chunk(2):
        scores = (q * WIDTH**-0.5) @ k[:, keys].transpose(-1, -2)
        scores = scores.masked_fill(keys < 0, -torch.inf)
        top = torch.maximum(scores.amax(-1, keepdim=True), scores[..., :1])
        weights = scores.sub_(top).exp_()
        total = weights.sum(-1, keepdim=True)
        found, more = weights @ v[:, keys] / total, (top + total.log())[..., 0]
        merged = torch.logaddexp(sums, more)
        out = out * (sums - merged).exp()[..., None] + found * (more - merged).exp()[..., None]
        sums = merged
    return Expected(out[index], index)
