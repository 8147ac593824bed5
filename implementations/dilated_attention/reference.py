"""The specification of dilated attention: the right answer in float64, whole or for sampled rows, in bounded memory.

Beside the answer itself and one batch entry of what it is made from, it holds tiles of scores and few heads at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

from orchestrator.workload import Expected, Problem

from .pattern import HeadRun, Pattern
from .rows import (
    attends_beyond_itself,
    sample_positions,
    seen_by,
    sorted_union,
    takes_part,
)
from .softmax import Arithmetic, Unit, attend, gradients
from .work import work

SAMPLE = (32, 512)  # fewest and most positions of a sample
HEAD_BYTES = 32 * 2**20  # of one float64 tensor of a few heads

Answer = Mapping[str, torch.Tensor | Expected]


def reference(problem: Problem) -> Expected | Answer:
    """The right output, and the right gradients where `problem.upstream` is given.

    All rows are answered for where the trial's work is at most `problem.max_flops`; else the rows at sampled positions
    (see `sample_positions`), of every head and batch entry, and those where upstream is not 0. Rows of q, k, v and x
    whose gradient vanishes by the definition are left out (a softmax over one key has no slope), as is the bias of
    k_proj: the same vector added to all keys changes no softmax.

    Returns:
        Expected of the output, (batch, seq_len, heads, head_dim) or (batch, seq_len, heads * head_dim); with upstream,
        a mapping of "output" and "grad_" plus the name of each input and parameter whose gradient does not vanish.
    """
    with torch.no_grad():
        task = Task.of(problem)
        if problem.form == "multihead":
            from .multihead_reference import multihead_reference

            return multihead_reference(problem, task)
        return _qkv_reference(problem, task)


def upstream(problem: Problem, shape: tuple[int, ...]) -> torch.Tensor:
    """A normal random gradient of the output, at the trial's dtype and device; if sampled, 0 at all other positions."""
    config = problem.config
    generator = torch.Generator(config.device).manual_seed(problem.seed + 2)
    if _whole(problem):
        return torch.randn(shape, generator=generator, dtype=config.dtype, device=config.device)
    positions = _sample(problem)
    gradient = torch.zeros(shape, dtype=config.dtype, device=config.device)
    rows = (shape[0], len(positions), *shape[2:])
    gradient[:, positions] = torch.randn(rows, generator=generator, dtype=config.dtype, device=config.device)
    return gradient


@dataclass(frozen=True)
class Task:
    """What both forms share: the pattern, the arithmetic and the rows to answer for.

    Attributes:
        positions: (P,) sorted positions whose output is answered for.
        sources: (P,) bool, where upstream is not 0 (all False without one).
        kept: (K,) sorted positions whose gradients are answered for.
    """

    pattern: Pattern
    how: Arithmetic
    head_dim: int
    positions: torch.Tensor
    sources: torch.Tensor
    kept: torch.Tensor

    @classmethod
    def of(cls, problem: Problem) -> Task:
        """Of everything, or of a sample where the work exceeds what the problem allows."""
        config, pattern = problem.config, Pattern.of(problem.config)
        everything = torch.arange(pattern.seq_len, device=config.device)
        positions = kept = everything
        live = torch.zeros_like(everything, dtype=torch.bool)
        if problem.upstream is not None:
            live = problem.upstream.flatten(2).ne(0).any(-1).any(0)
        if not _whole(problem):
            positions = sorted_union(_sample(problem), live.nonzero().flatten())
            more = sample_positions(pattern, 8 * SAMPLE[1], problem.seed + 1, config.device)
            kept = sorted_union(positions, more)
        how = Arithmetic(problem.dtype, config.causal)
        return cls(pattern, how, config.head_dim, positions, live[positions], kept)

    def units(self) -> Iterator[tuple[HeadRun, slice]]:
        """A few heads at a time that share their pieces."""
        most = max(1, HEAD_BYTES // (8 * self.pattern.seq_len * self.head_dim))
        for run in self.pattern.head_runs:
            for first in range(run.first_head, run.last_head, most):
                yield run, slice(first, min(first + most, run.last_head))

    def by_head(self, of_run: Callable[[HeadRun], torch.Tensor]) -> torch.Tensor:
        """(rows, heads) bool of what `of_run` says of each run's rows."""
        return torch.cat([of_run(run)[:, None].expand(-1, run.heads) for run in self.pattern.head_runs], dim=1)

    def block(self, batch: torch.Tensor, position: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        """One block per batch entry, head and segment of the head's shortest segment length."""
        finest = torch.tensor(
            [run.finest for run in self.pattern.head_runs for _ in range(run.heads)], device=position.device
        )
        return (batch * self.pattern.heads + head) * self.pattern.seq_len + position // finest[head]

    def absent(self) -> torch.Tensor | None:
        """(1, n, H) bool: rows in no branch, whose output is exactly 0; None: there are none."""
        if self.pattern.full_coverage:
            return None
        everything = torch.arange(self.pattern.seq_len, device=self.positions.device)
        return ~self.by_head(lambda run: takes_part(run, everything))[None]

    def expected(self, values: torch.Tensor, positions: torch.Tensor, present: torch.Tensor) -> Expected:
        """The present rows ((P, H) bool) of values (b, P, H, d) at these positions."""
        mask = present.expand(values.shape[0], *present.shape)
        batch, slot, head = mask.nonzero(as_tuple=True)
        position = positions[slot]
        return Expected(values[mask], (batch, position, head), self.block(batch, position, head), self.absent())


def _qkv_reference(problem: Problem, task: Task) -> Expected | Answer:
    q, k, v = problem.inputs
    shape = (q.shape[0], len(task.positions), *q.shape[2:])
    out = torch.empty(shape, dtype=task.how.compute, device=q.device)
    grads = _Gradients.like(q, task) if problem.upstream is not None else None
    for run, heads in task.units():
        for b in range(q.shape[0]):
            near = tuple(t[b, :, heads].to(task.how.compute) for t in (q, k, v))
            unit = Unit(run, near[0][task.positions], near[1], near[2], task.positions, task.how)
            merged, lse = attend(unit)
            out[b, :, heads] = task.how.rounded(merged * task.pattern.scale)
            if grads is not None and problem.upstream is not None:
                wanted = problem.upstream[b][task.positions, heads].to(merged.dtype) * task.pattern.scale
                grads.put(b, heads, gradients(unit, merged, lse, wanted))
    answer = task.expected(out, task.positions, task.by_head(lambda run: takes_part(run, task.positions)))
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
            return torch.empty((q.shape[0], rows, *q.shape[2:]), dtype=task.how.compute, device=q.device)

        return cls(task, empty(len(task.positions)), empty(len(task.kept)), empty(len(task.kept)))

    def put(self, b: int, heads: slice, found: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
        """Keep the rows asked for of one unit's gradients."""
        for held, grad, rows in zip(
            (self.dq, self.dk, self.dv), found, (None, self.task.kept, self.task.kept), strict=True
        ):
            held[b, :, heads] = self.task.how.rounded(grad if rows is None else grad[rows])

    def expected(self) -> dict[str, Expected]:
        """By name, without the rows that vanish by the definition."""
        task = self.task
        slopes = live_rows(task)
        held = {"q": (self.dq, task.positions), "k": (self.dk, task.kept), "v": (self.dv, task.kept)}
        return {
            f"grad_{name}": task.expected(grad, positions, slopes[name][positions])
            for name, (grad, positions) in held.items()
            if slopes[name][positions].any()
        }


def live_rows(task: Task) -> dict[str, torch.Tensor]:
    """(n, H) bool for "q", "k" and "v": the rows whose gradient does not vanish by the definition."""
    sources, n, causal = task.positions[task.sources], task.pattern.seq_len, task.how.causal

    def sloped(run: HeadRun) -> torch.Tensor:
        return sources[attends_beyond_itself(run, sources, causal)]

    def q_rows(run: HeadRun) -> torch.Tensor:
        mask = torch.zeros(n, dtype=torch.bool, device=sources.device)
        mask[sloped(run)] = True
        return mask

    return {
        "q": task.by_head(q_rows),
        "k": task.by_head(lambda run: seen_by(run, sloped(run), n, causal)),
        "v": task.by_head(lambda run: seen_by(run, sources, n, causal)),
    }


def _whole(problem: Problem) -> bool:
    return work(problem.config, problem.form).flops <= problem.max_flops


def _sample(problem: Problem) -> torch.Tensor:
    config, pattern = problem.config, Pattern.of(problem.config)
    widest = max(piece.selected for piece in pattern.pieces)
    per_position = 4 * config.batch * config.heads * config.head_dim * widest
    limit = min(max(int(problem.max_flops) // per_position, SAMPLE[0]), SAMPLE[1])
    return sample_positions(pattern, limit, problem.seed, config.device)
