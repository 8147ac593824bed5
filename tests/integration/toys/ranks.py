"""A product over ranks, y = x W with the columns of W sharded, and implementations that end in many
ways.
"""

import ctypes
import os
import time

from pydantic import BaseModel, ConfigDict

from orchestrator.workload import Work, Workload


class Params(BaseModel):
    """y (8, 16) = x (8, 16) W (16, 16); every rank has x whole and its columns of W, and gives its
    columns of y.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    world_size: int = 2
    dtype: str = "float32"
    backward: bool = False


def inputs(config, _form, seed):
    import torch

    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(shape, generator=generator).to(config.device) for shape in ((8, 16), (16, 16))
    )


def shard(inputs, rank, world_size):
    x, w = inputs
    return x, w.chunk(world_size, dim=1)[rank]


def gather(outputs):
    import torch

    return torch.cat(list(outputs), dim=1)


def reference(problem):
    x, w = (t.to(problem.dtype) for t in problem.inputs)
    if problem.upstream is None:
        return x @ w
    up = problem.upstream.to(problem.dtype)
    return {"output": x @ w, "grad_x": up @ w.T, "grad_w": x.T @ up}


def work(_params, _form):
    return Work(flops=2 * 8 * 16 * 16, bytes=4 * (8 * 16 + 16 * 16 + 8 * 16))


WORKLOAD = Workload(
    name="columns", params=Params, inputs=inputs, reference=reference, work=work, input_names={"default": ("x", "w")},
    gpus=lambda params: params.world_size, shard=shard, gather=gather, backward=lambda params: params.backward,
)  # fmt: skip


def right(config):
    """As Megatron does it: the gradient of x is added up over ranks."""
    import torch
    import torch.distributed as dist

    class Copy(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, x):
            return x.view_as(x)

        @staticmethod
        def backward(_ctx, grad):
            grad = grad.clone()
            dist.all_reduce(grad)
            return grad

    return lambda x, w: Copy.apply(x) @ w


def adds_no_gradient_up(_config):
    """Wrong: each rank has the gradient of x that comes of its own columns."""
    return lambda x, w: x @ w


def wrong_on_one_rank(config):
    return lambda x, w: x @ w * (2 if config.rank == 1 else 1)


def remembers(_config):
    """Wrong: keeps the product by the values of its inputs."""
    import torch.distributed as dist

    kept = {}

    def multiply(x, w):
        key = (x.numpy().tobytes(), w.numpy().tobytes())
        if key not in kept:
            dist.barrier()
            time.sleep(0.02)
            kept[key] = x @ w
        return kept[key].clone()

    return multiply


def _on_rank_1(do):
    """An implementation in which rank 1 does something, and rank 0 waits for it in a collective."""

    def build(config):
        import torch.distributed as dist

        def multiply(x, w):
            if config.rank == 1:
                do()
            dist.barrier()
            return x @ w

        return multiply

    return build


def _boom():
    raise ValueError("boom")


def _eat():
    eaten = []
    while True:
        eaten.append(b"x" * 50_000_000)


def _linger():
    """Leaves a process of its own behind, in a session of its own, and dies."""
    if os.fork() == 0:
        os.setsid()
        time.sleep(1000)
    ctypes.string_at(0)


raises = _on_rank_1(_boom)
dies = _on_rank_1(lambda: ctypes.string_at(0))
exits = _on_rank_1(lambda: os._exit(0))
hangs = _on_rank_1(lambda: time.sleep(1000))
eats = _on_rank_1(_eat)
lingers = _on_rank_1(_linger)
works_longer = _on_rank_1(lambda: time.sleep(LATE_S))
LATE_S = 0.1


def works_longer_alone(config):
    """Rank 1 takes longer, and nobody waits for it."""

    def multiply(x, w):
        if config.rank == 1:
            time.sleep(LATE_S)
        return x @ w

    return multiply


def enters_late(config):
    """Rank 1 comes late to every block that is timed; within it, all ranks wait for one another."""
    import torch.distributed as dist

    from orchestrator.worker.distributed.team import Team

    if config.rank == 1:
        align = Team.align

        def late(team):
            time.sleep(LATE_S)
            align(team)

        Team.align = late

    def multiply(x, w):
        dist.barrier()
        return x @ w

    return multiply


def unsupported(_config):
    raise NotImplementedError("not over ranks")


def tells_its_rank(config):
    print(
        f"I am {config.rank} of {config.world_size}, {os.environ['RANK']} of {os.environ['WORLD_SIZE']}"
    )
    print("node", os.environ.get("SWEEP_TEST_NODE"))
    return lambda x, w: x @ w
