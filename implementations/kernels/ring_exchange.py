"""What the ranks of a group send each other: rows of shared pieces, gathered, summed, handed out.

Every exchange is started, runs on the process group's own stream behind the local work, and is
waited for where its rows are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist

from .ring_shares import Shares

# torch 2.13 names them anew; before, the old names stand for the same functions.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


class Shared:
    """One rank's part in a piece that its group shares. Tensors are rows first: (rows, b, g, ...).

    Attributes:
        shares: who holds and who computes which rows.
        member: this rank's number within the group.
        group: the process group; None: all ranks.
        positions: that this rank holds and that take part, counted from its own first one.
        order: the rows that this rank holds, by who computes them.
        padded: where the group's rows lie in a gathered tensor, each rank's padded to `most`.
        sends, receives: rows to and from each rank of the group, where rows are computed elsewhere.
    """

    def __init__(self, shares: Shares, member: int, group: Any, device: torch.device) -> None:
        self.shares, self.member, self.group = shares, member, group
        members = range(len(shares.ranks))
        sent = shares.sent(member)
        rows_of = [
            range(other * self.most, other * self.most + len(shares.positions[other]))
            for other in members
        ]
        self.positions = torch.tensor(shares.positions[member], dtype=torch.int64, device=device)
        self.order = torch.tensor(list(chain.from_iterable(sent)), dtype=torch.int64, device=device)
        self.padded = torch.tensor(
            list(chain.from_iterable(rows_of)), dtype=torch.int64, device=device
        )
        self.sends = [len(rows) for rows in sent]
        self.receives = [len(shares.sent(other)[member]) for other in members]

    @property
    def most(self) -> int:
        """The most rows that a rank of the group holds: each rank's padded share of a gather."""
        return max(len(positions) for positions in self.shares.positions)

    @property
    def even(self) -> bool:
        """Whether all ranks of the group hold the same number of rows."""
        return self.most * len(self.shares.ranks) == self.shares.rows

    @property
    def heads(self) -> slice:
        """Of the piece."""
        return slice(self.shares.piece.first_head, self.shares.piece.last_head)

    def take(self, t: torch.Tensor) -> torch.Tensor:
        """(b, n, H, ...) of this rank -> (rows, b, g, ...): its rows of the piece, copied."""
        return t.transpose(0, 1)[:, :, self.heads].index_select(0, self.positions)

    def put(self, t: torch.Tensor, rows: torch.Tensor, add: bool) -> None:
        """Write or add what `take` would read."""
        view = t.transpose(0, 1)[:, :, self.heads]
        if add:
            view.index_add_(0, self.positions, rows.to(t.dtype))
        else:
            view.index_copy_(0, self.positions, rows.to(t.dtype))

    def gather(self, rows: torch.Tensor) -> Pending:
        """Start to gather the rows of all ranks of the group: (rows of the group, b, g, ...)."""
        mine = rows
        if len(rows) < self.most:
            mine = rows.new_zeros(self.most, *rows.shape[1:])
            mine[: len(rows)] = rows
        out = rows.new_empty(len(self.shares.ranks) * self.most, *rows.shape[1:])
        work = _all_gather(out, mine.contiguous(), group=self.group, async_op=True)
        return Pending(work, out, None if self.even else self.padded)

    def reduce(self, rows: torch.Tensor) -> Pending:
        """Start to sum (rows of the group, ...) over its ranks; each gets the rows it holds."""
        whole = rows
        if not self.even:
            whole = rows.new_zeros(len(self.shares.ranks) * self.most, *rows.shape[1:])
            whole.index_copy_(0, self.padded, rows)
        out = rows.new_empty(self.most, *rows.shape[1:])
        work = _reduce_scatter(out, whole, group=self.group, async_op=True)
        return Pending(work, out, first=len(self.positions))

    def hand_out(self, rows: torch.Tensor) -> Pending:
        """Start to send rows to the ranks that compute them, and to receive those of this rank."""
        out = rows.new_empty(sum(self.receives), *rows.shape[1:])
        given = rows.index_select(0, self.order)
        work = dist.all_to_all_single(
            out, given, self.receives, self.sends, group=self.group, async_op=True
        )
        return Pending(work, out)

    def hand_back(self, rows: torch.Tensor) -> Pending:
        """The way back of `hand_out`: rows that this rank computed to those that hold them."""
        out = rows.new_empty(sum(self.sends), *rows.shape[1:])
        work = dist.all_to_all_single(
            out, rows.contiguous(), self.sends, self.receives, group=self.group, async_op=True
        )
        return Pending(work, out, back=self.order)


@dataclass
class Pending:
    """A collective under way.

    Attributes:
        keep: which rows of what arrives count; None: all.
        first: how many, from the start; None: all.
        back: where each row goes; None: where it lies.
    """

    work: Any
    out: torch.Tensor
    keep: torch.Tensor | None = None
    first: int | None = None
    back: torch.Tensor | None = None

    def wait(self) -> torch.Tensor:
        """What arrived; on CUDA the current stream waits, not the host."""
        self.work.wait()
        if self.keep is not None:
            return self.out.index_select(0, self.keep)
        if self.first is not None:
            return self.out[: self.first]
        if self.back is not None:
            return torch.empty_like(self.out).index_copy_(0, self.back, self.out)
        return self.out


@dataclass
class Arrived:
    """Rows that need no communication, in the place of a `Pending`."""

    rows: torch.Tensor

    def wait(self) -> torch.Tensor:
        """They are there."""
        return self.rows
