"""A small workload, and implementations of it that are right, wrong, and worse: a user's file as
the tests see it.
"""

import ctypes
import os
import time

from pydantic import BaseModel, ConfigDict

from orchestrator.workload import Work, Workload


class Params(BaseModel):
    """C = A B, both n by n."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    n: int
    dtype: str = "float32"


def inputs(config, _form, seed):
    import torch

    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(config.n, config.n, generator=generator) for _ in range(2)]
    return tuple(matrix.to(config.device, config.dtype) for matrix in draw)


def reference(problem):
    a, b = problem.inputs
    return a.to(problem.dtype) @ b.to(problem.dtype)


def work(params, _form):
    return Work(flops=2 * params.n**3, bytes=12 * params.n**2)


WORKLOAD = Workload(
    name="matmul", params=Params, inputs=inputs, reference=reference, work=work, columns={"n": "N"}
)  # fmt: skip


def right(_config):
    return lambda a, b: a @ b


def forgets_a_transpose(_config):
    return lambda a, b: a @ b.T


def raises(_config):
    def matmul(a, b):
        raise RuntimeError("the tiles do not fit")

    return matmul


def dies(_config):
    return lambda a, b: ctypes.string_at(0)


def hangs(_config):
    return lambda a, b: time.sleep(1000)


def eats_memory(_config):
    def matmul(a, b):
        eaten = []
        while True:
            eaten.append(b"x" * 50_000_000)

    return matmul


def kills_its_supervisor(_config):
    """Ends the process that holds the slot, once: the file named by the environment says that it
    happened.
    """

    def matmul(a, b):
        mark = os.environ["SUPERVISOR_KILLED"]
        if not os.path.exists(mark):
            open(mark, "w").close()
            _kill_supervisor()
        return a @ b

    return matmul


def _kill_supervisor():
    import psutil

    for parent in psutil.Process().parents():
        if parent.name().startswith("ray::"):
            parent.kill()
            time.sleep(1000)


def tells_where_it_runs(_config):
    import orchestrator

    print("cwd", os.getcwd())
    print("orchestrator", orchestrator.__file__)
    print("node", os.environ.get("SWEEP_TEST_NODE"))
    time.sleep(1.0)  # long enough for every node to take its share
    return lambda a, b: a @ b
