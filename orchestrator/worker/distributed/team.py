"""The processes of a trial over ranks: how they meet, and how tensors and orders go between rank 0
and the others.

All of it goes through a group of the harness's own, by gloo and host memory, so that nothing of it
is on a card or in the implementation's process group while calls are timed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any

from orchestrator.trial import RENDEZVOUS

if TYPE_CHECKING:
    import torch

START_AHEAD_S = 0.5e-3  # between the agreement on a common start and the start
MARGIN_S = 60.0  # what a collective may wait beyond the attempt's timeout, which is to end it first

Described = tuple[tuple[int, ...], str]  # shape and dtype of a tensor that will be sent


@dataclass(frozen=True)
class Team:
    """This process's place among the ranks of its attempt.

    Attributes:
        rank: this process's.
        world_size: how many there are.
        device: of the trial, in this process.
        one_node: whether all share a machine, and so a monotonic clock.
        control: the harness's own process group.
    """

    rank: int
    world_size: int
    device: torch.device
    one_node: bool
    control: Any

    @classmethod
    def join(cls, device: torch.device, timeout_s: float) -> Team:
        """Meet the other ranks; afterwards the default process group is there, with NCCL on CUDA,
        else gloo.
        """
        import torch.distributed as dist

        rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        rendezvous = os.environ[RENDEZVOUS]
        timeout = timedelta(seconds=timeout_s + MARGIN_S)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(
            backend, init_method=rendezvous, rank=rank, world_size=world_size, timeout=timeout
        )
        control = dist.new_group(backend="gloo", timeout=timeout)
        return cls(rank, world_size, device, rendezvous.startswith("file"), control)

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which decides; the others do as it says."""
        return self.rank == 0

    def tell(self, order: Any) -> Any:
        """Rank 0's order, at every rank; what the others pass is ignored."""
        import torch.distributed as dist

        held = [order]
        dist.broadcast_object_list(held, src=0, group=self.control)
        return held[0]

    def collect(self, value: Any) -> list[Any]:
        """At rank 0 every rank's value, in order; elsewhere nothing."""
        import torch.distributed as dist

        held: list[Any] = [None] * self.world_size if self.leads else []
        dist.gather_object(value, held if self.leads else None, dst=0, group=self.control)
        return held

    def align(self) -> None:
        """Return at every rank at the same time, as nearly as hosts can: an order to start that
        waits for nobody.

        Ranks of one machine agree on a moment of its clock; over nodes they leave a barrier
        together.
        """
        import torch.distributed as dist

        dist.barrier(group=self.control)
        if not self.one_node:
            return
        start = self.tell(perf_counter() + START_AHEAD_S)
        while perf_counter() < start:
            pass

    def send(self, tensors: Sequence[torch.Tensor], to: int) -> None:
        """Tensors to a rank that calls `receive` for as many of these shapes and dtypes."""
        import torch.distributed as dist

        for tensor in tensors:
            data = _as_bytes(tensor.detach().cpu())
            if data.numel():
                dist.send(data, to, group=self.control)

    def receive(self, described: Sequence[Described], source: int) -> list[torch.Tensor]:
        """What a rank sends, on this rank's device."""
        import torch
        import torch.distributed as dist

        found = []
        for shape, dtype in described:
            tensor = torch.empty(shape, dtype=getattr(torch, dtype))
            data = _as_bytes(tensor)
            if data.numel():
                dist.recv(data, source, group=self.control)
            found.append(tensor.to(self.device))
        return found

    def gather(self, tensors: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
        """At rank 0 every rank's tensors, in order of rank; elsewhere nothing."""
        described = self.collect(describe(tensors))
        if not self.leads:
            self.send(tensors, 0)
            return []
        others = [self.receive(described[rank], rank) for rank in range(1, self.world_size)]
        return [[tensor.detach() for tensor in tensors], *others]


def describe(tensors: Sequence[torch.Tensor]) -> list[Described]:
    """Shapes and dtypes, for `Team.receive`."""
    return [(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for tensor in tensors]


def _as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """The memory of a tensor on the host as bytes; of a contiguous one, without a copy."""
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8)
