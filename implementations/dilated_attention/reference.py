"""The specification of dilated attention: the right answer in float64, whole or for sampled rows,
in bounded memory.

Beside the answer itself it holds tiles of scores, and as few heads of batch entries at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from orchestrator.workload import Expected, Problem

from .multihead_reference import multihead_reference
from .rows import (
    takes_part,
)
from .softmax import Unit, as_heads, attend, by_entry, gradients
from .task import Answer, Task, is_whole, live_rows, sampled


def reference(problem: Problem) -> Expected | Answer:
    """The right output, and the right gradients where `problem.upstream` is given.

    All rows are answered for where the trial's work is at most `problem.max_flops`; else the rows
    at sampled positions (see `sample_positions`), of every head and batch entry, and those where
    upstream is not 0. Rows of q, k, v and x whose gradient vanishes by the definition are left out
    (a softmax over one key has no slope), as is the bias of
    k_proj: the same vector added to all keys changes no softmax.

    Returns:
        Expected of the output, (batch, seq_len, heads, head_dim) or (batch, seq_len, heads *
        head_dim); with upstream, a mapping of "output" and "grad_" plus the name of each input and
        parameter whose gradient does not vanish.
    """
    with torch.no_grad():
        task = Task.of(problem)
        if problem.form == "multihead":
            return multihead_reference(problem, task)
        return _qkv_reference(problem, task)


def upstream(problem: Problem, shape: tuple[int, ...]) -> torch.Tensor:
    """A normal random gradient of the output, at the trial's dtype and device; if sampled, 0 at all
    other positions.
    """
    config = problem.config
    generator = torch.Generator(config.device).manual_seed(problem.seed + 2)
    if is_whole(problem):
        return torch.randn(shape, generator=generator, dtype=config.dtype, device=config.device)
    positions = sampled(problem)
    gradient = torch.zeros(shape, dtype=config.dtype, device=config.device)
    rows = (shape[0], len(positions), *shape[2:])
    gradient[:, positions] = torch.randn(
        rows, generator=generator, dtype=config.dtype, device=config.device
    )
    return gradient


def _qkv_reference(problem: Problem, task: Task) -> Expected | Answer:
    q, k, v = problem.inputs
    shape = (q.shape[0], len(task.positions), *q.shape[2:])
    out = torch.empty(shape, dtype=task.how.compute, device=q.device)
    grads = _Gradients.like(q, task) if problem.upstream is not None else None
    for run, heads in task.units():
        for entries in task.entries(q.shape[0], heads.stop - heads.start):
            rows = as_heads(q[entries, :, heads][:, task.positions].to(task.how.compute))
            keys, values = as_heads(k[entries, :, heads]), as_heads(v[entries, :, heads])
            unit = Unit(run, rows, keys, values, task.positions, task.how)
            merged, lse = attend(unit)
            count = entries.stop - entries.start
            out[entries, :, heads] = by_entry(task.how.rounded(merged * task.pattern.scale), count)
            if grads is not None and problem.upstream is not None:
                wanted = as_heads(problem.upstream[entries, :, heads][:, task.positions])
                found = gradients(unit, merged, lse, wanted.to(merged.dtype) * task.pattern.scale)
                grads.put(entries, heads, found)
    answer = task.expected(
        out, task.positions, task.by_head(lambda run: takes_part(run, task.positions))
    )
    return answer if grads is None else {"output": answer, **grads.expected()}


@dataclass(frozen=True)
class _Gradients:
    """Gradients of q, k and v at the kept positions, (b, K, H, d) each."""

    task: Task
    dq: torch.Tensor
    dk: torch.Tensor
    dv: torch.Tensor

    @classmethod
    def like(cls, q: torch.Tensor, task: Task) -> _Gradients:
        def empty(rows: int) -> torch.Tensor:
            return torch.empty(
                (q.shape[0], rows, *q.shape[2:]), dtype=task.how.compute, device=q.device
            )

        return cls(task, empty(len(task.positions)), empty(len(task.kept)), empty(len(task.kept)))

    def put(
        self, entries: slice, heads: slice, found: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    ) -> None:
        """Keep the rows asked for of one unit's gradients."""
        for held, grad, rows in zip(
            (self.dq, self.dk, self.dv), found, (None, self.task.kept, self.task.kept), strict=True
        ):
            asked = self.task.how.rounded(grad if rows is None else grad[rows])
            held[entries, :, heads] = by_entry(asked, entries.stop - entries.start)

    def expected(self) -> dict[str, Expected]:
        """By name, without the rows that vanish by the definition."""
        task = self.task
        slopes = live_rows(task)
        held = {
            "q": (self.dq, task.positions),
            "k": (self.dk, task.kept),
            "v": (self.dv, task.kept),
        }
        return {
            f"grad_{name}": task.expected(grad, positions, slopes[name][positions])
            for name, (grad, positions) in held.items()
        }
