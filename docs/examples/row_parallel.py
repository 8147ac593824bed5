"""A matrix product over ranks, as tensor parallelism splits it: y = x W, each rank with a part of
the inner dimension.

Every rank multiplies its columns of x by its rows of W. The sum of these products over all ranks is
y, which every rank is to have whole.
"""

from pydantic import BaseModel, ConfigDict

from orchestrator.workload import Work, Workload


class Params(BaseModel):
    """y (rows, width) = x (rows, inner) W (inner, width)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    rows: int = 64
    inner: int = 256
    width: int = 64
    dtype: str = "float32"
    world_size: int = 2


def inputs(config, _form, seed):
    """x and W, whole: the harness gives each rank its share of them."""
    import torch

    generator = torch.Generator(config.device).manual_seed(seed)
    kind = {"generator": generator, "dtype": config.dtype, "device": config.device}
    x = torch.randn(config.rows, config.inner, **kind)
    return x, torch.randn(config.inner, config.width, **kind) * config.inner**-0.5


def shard(inputs, rank, world_size):
    """Columns of x, rows of W."""
    x, w = inputs
    return x.chunk(world_size, dim=1)[rank], w.chunk(world_size, dim=0)[rank]


def gather(outputs):
    """Every rank has a whole y: (world_size, rows, width)."""
    import torch

    return torch.stack(list(outputs))


def reference(problem):
    """The whole y, once for each rank."""
    x, w = (t.to(problem.dtype) for t in problem.inputs)
    return (x @ w).expand(problem.config.world_size, -1, -1)


def work(params, _form):
    """Of all ranks together."""
    size = {"float32": 4, "float16": 2, "bfloat16": 2}[params.dtype]
    moved = (
        params.inner * (params.rows + params.width) + params.world_size * params.rows * params.width
    )
    return Work(flops=2 * params.rows * params.inner * params.width, bytes=size * moved)


WORKLOAD = Workload(
    name="row_parallel",
    params=Params,
    inputs=inputs,
    reference=reference,
    work=work,
    gpus=lambda params: params.world_size,
    shard=shard,
    gather=gather,
    input_names={"default": ("x", "w")},
    columns={"inner": "Inner", "world_size": "Ranks"},
)


def all_reduce(_config):
    """One collective that adds up and hands out."""
    import torch.distributed as dist

    def multiply(x, w):
        y = x @ w
        dist.all_reduce(y)
        return y

    return multiply


def gather_and_add(config):
    """Gathers every rank's product and adds them up on each: more bytes, the same answer."""
    import torch
    import torch.distributed as dist

    def multiply(x, w):
        y = x @ w
        parts = [torch.empty_like(y) for _ in range(config.world_size)]
        dist.all_gather(parts, y)
        return torch.stack(parts).sum(0)

    return multiply


def forgets_a_rank(config):
    """Wrong: leaves the last rank's product out."""
    import torch
    import torch.distributed as dist

    def multiply(x, w):
        y = x @ w
        parts = [torch.empty_like(y) for _ in range(config.world_size)]
        dist.all_gather(parts, y)
        return torch.stack(parts[:-1]).sum(0)

    return multiply
