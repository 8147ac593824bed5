"""The registry: names, lazy imports, and the use from Python that the README shows."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from implementations import IMPLEMENTATIONS, WORKLOADS, DilatedAttentionParams, load
from orchestrator.workload import Workload
from tests.implementations.problems import params


def test_names_and_workload_are_known_without_torch():
    """`plan` and `list` validate params in an interpreter that never imports torch."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from implementations import IMPLEMENTATIONS, WORKLOADS, DilatedAttentionParams, load\n"
        "from implementations.dilated_attention import WORKLOAD\n"
        "params = WORKLOAD.params(batch=1, seq_len=8, heads=2, segment_lengths=[8], dilation_rates=[2])\n"
        "print(WORKLOAD.work(params, 'multihead').flops, load('improved').name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("improved\n")


def test_the_use_from_python():
    """The README's example, and the multihead form of it."""
    problem = DilatedAttentionParams(
        batch=1,
        seq_len=64,
        heads=6,
        head_dim=8,
        segment_lengths=[16, 64],
        dilation_rates=[1, 2],
        device="cpu",
    )
    q, k, v = torch.randn(3, 1, 64, 6, 8).unbind()
    assert load("improved").build(problem)(q, k, v).shape == (1, 64, 6, 8)
    layer = load("multihead_improved").build(problem)
    assert layer(torch.randn(1, 64, 48)).shape == (1, 64, 48)


def test_an_unknown_name_is_refused_with_the_nearest():
    """The message lists what exists."""
    with pytest.raises(KeyError, match="did you mean 'improved'"):
        load("improve")


def test_the_workload_is_where_the_registry_says():
    """And heads the table as the seed's was."""
    from implementations.dilated_attention import WORKLOAD

    assert WORKLOADS == {"dilated_attention": "implementations.dilated_attention:WORKLOAD"}
    assert isinstance(WORKLOAD, Workload)
    assert list(WORKLOAD.columns.values()) == ["Batch", "Seq Len", "Heads"]
    written = {"segment_lengths": ["seq_len // 4", "seq_len"], "dilation_rates": [1, 2]}
    assert WORKLOAD.header(written) == ("Segments: seq_len // 4, seq_len; rates 1, 2",)
    assert WORKLOAD.header({}) == ()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tf32_is_a_precision_of_float32_alone(dtype):
    """It loosens no other dtype's floor."""
    from implementations.dilated_attention import WORKLOAD

    precision = WORKLOAD.precision(params(dtype=dtype, matmul_precision="tf32"))
    assert precision == ("tf32" if dtype == "float32" else dtype)


@pytest.mark.parametrize("name", sorted(set(IMPLEMENTATIONS) - {"ring_v2"}))
def test_several_devices_are_refused_as_unsupported(name):
    """NotImplementedError is how an implementation says so; ring_v2 alone works over ranks."""
    with pytest.raises(NotImplementedError, match="world_size is 2"):
        load(name).build(params(world_size=2))
