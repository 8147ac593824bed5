"""A program that forks ranks with gloo and holds ring_v2 against the oracle: `python -m ...
WORLD_SIZE STORE CASES`.

CASES is JSON, a list of changes to `problems.params`. Prints one JSON line: for each case the
largest relative errors by name ("output", "grad_q", ...), over all ranks.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from implementations.ring import build
from orchestrator.workload import Config
from tests.implementations.problems import inputs, oracle_gradients, params, relative


def main(world_size: int, store: str, cases: list[dict[str, Any]]) -> None:
    """Fork the ranks and wait for them; rank 0 prints. Exit status 1 if any failed."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    children = []
    for rank in range(world_size):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _be(rank, world_size, store, cases)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(status)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    sys.exit(1 if any(statuses) else 0)


def _be(rank: int, world_size: int, store: str, cases: list[dict[str, Any]]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
    found = [_errors(rank, world_size, case) for case in cases]
    every: list[Any] = [None] * world_size
    dist.all_gather_object(every, found)
    if rank == 0:
        merged = [
            {name: max(errors[name] for errors in same) for name in same[0]}
            for same in zip(*every, strict=True)
        ]
        print(json.dumps(merged))


def _errors(rank: int, world_size: int, case: dict[str, Any]) -> dict[str, float]:
    of = params(**case, world_size=world_size)
    config = Config({**of.model_dump(exclude={"device"}), "rank": rank}, "cpu")
    whole = inputs(of)
    upstream = torch.randn(whole[0].shape, generator=torch.Generator().manual_seed(7)).to(
        whole[0].dtype
    )
    right = oracle_gradients(of, "qkv", whole, upstream)
    held = of.seq_len // world_size
    mine = slice(rank * held, (rank + 1) * held)
    leaves = [t[:, mine].clone().requires_grad_() for t in whole]
    out = build(config)(*leaves)
    grads = torch.autograd.grad(out, leaves, upstream[:, mine])
    found = {"output": out, **dict(zip(("grad_q", "grad_k", "grad_v"), grads, strict=True))}
    return {name: relative(value, right[name][:, mine]) for name, value in found.items()}


if __name__ == "__main__":
    assert Path(sys.argv[2]).parent.is_dir()
    main(int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
