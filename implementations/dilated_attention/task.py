"""What both forms of the reference share: the pattern, the arithmetic, the rows to answer for."""

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
from .softmax import Arithmetic, room
from .work import work

SAMPLE = (32, 512)  # fewest and most positions of a sample
HEAD_BYTES = 32 * 2**20  # of one float64 tensor of a few heads; on a GPU `room` times as many
Answer = Mapping[str, torch.Tensor | Expected]


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
        if not is_whole(problem):
            positions = sorted_union(sampled(problem), live.nonzero().flatten())
            more = sample_positions(pattern, 8 * SAMPLE[1], problem.seed + 1, config.device)
            kept = sorted_union(positions, more)
        how = Arithmetic(problem.dtype, config.causal)
        return cls(pattern, how, config.head_dim, positions, live[positions], kept)

    def units(self) -> Iterator[tuple[HeadRun, slice]]:
        """A few heads at a time that share their pieces."""
        for run in self.pattern.head_runs:
            for heads in _slices(run.first_head, run.last_head, self._heads_at_a_time):
                yield run, heads

    def entries(self, batch: int, heads: int) -> Iterator[slice]:
        """As many batch entries at a time as there is room for, of so many heads each."""
        return _slices(0, batch, max(1, self._heads_at_a_time // heads))

    @property
    def _heads_at_a_time(self) -> int:
        bytes_of_head = 8 * self.pattern.seq_len * self.head_dim
        return max(1, HEAD_BYTES * room(self.positions.device) // bytes_of_head)

    def by_head(self, of_run: Callable[[HeadRun], torch.Tensor]) -> torch.Tensor:
        """(rows, heads) bool of what `of_run` says of each run's rows."""
        return torch.cat(
            [of_run(run)[:, None].expand(-1, run.heads) for run in self.pattern.head_runs], dim=1
        )

    def block(
        self, batch: torch.Tensor, position: torch.Tensor, head: torch.Tensor
    ) -> torch.Tensor:
        """One block per batch entry, head and segment of the head's shortest segment length."""
        runs = self.pattern.head_runs
        by_run = torch.tensor([(run.finest, run.heads) for run in runs], device=position.device)
        finest = by_run[:, 0].repeat_interleave(by_run[:, 1])
        return (batch * self.pattern.heads + head) * self.pattern.seq_len + position // finest[head]

    def absent(self) -> torch.Tensor | None:
        """(1, n, H) bool: rows in no branch, whose output is exactly 0; None: there are none."""
        if self.pattern.full_coverage:
            return None
        everything = torch.arange(self.pattern.seq_len, device=self.positions.device)
        return ~self.by_head(lambda run: takes_part(run, everything))[None]

    def expected(
        self, values: torch.Tensor, positions: torch.Tensor, present: torch.Tensor
    ) -> Expected:
        """The present rows ((P, H) bool) of values (b, P, H, d) at these positions."""
        mask = present.expand(values.shape[0], *present.shape)
        batch, slot, head = mask.nonzero(as_tuple=True)
        position = positions[slot]
        return Expected(
            values[mask], (batch, position, head), self.block(batch, position, head), self.absent()
        )


def _slices(first: int, last: int, most: int) -> Iterator[slice]:
    """From `first` up to `last`, at most so many in each."""
    for start in range(first, last, most):
        yield slice(start, min(start + most, last))


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


def is_whole(problem: Problem) -> bool:
    """Whether all rows are answered for."""
    return work(problem.config, problem.form).flops <= problem.max_flops


def sampled(problem: Problem) -> torch.Tensor:
    """The sorted positions, (P,), of the sample that this problem is judged on."""
    config, pattern = problem.config, Pattern.of(problem.config)
    widest = max(piece.selected for piece in pattern.pieces)
    per_position = 4 * config.batch * config.heads * config.head_dim * widest
    limit = min(max(int(problem.max_flops) // per_position, SAMPLE[0]), SAMPLE[1])
    return sample_positions(pattern, limit, problem.seed, config.device)
