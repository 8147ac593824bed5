"""Matrix product of 8-bit floats with a scale for each row of either side, out in bfloat16."""

import torch

SLICE = 128
LARGEST = 448  # of float8_e4m3fn

columns = {"m": "M", "n": "N", "k": "K"}


def inputs(m: int, n: int, k: int, out_dtype: torch.dtype = torch.bfloat16):
    a, scale_a = _quantised(torch.randn(m, k) * torch.rand(m, 1))
    b, scale_b = _quantised(torch.randn(n, k) * torch.rand(n, 1))
    return a, scale_a, b, scale_b, out_dtype


def _quantised(x):
    scale = x.abs().amax(dim=1, keepdim=True) / LARGEST
    return (x / scale).to(torch.float8_e4m3fn), scale


def reference(a, scale_a, b, scale_b, out_dtype):
    wide = scale_a.dtype
    return (a.to(wide) * scale_a) @ (b.to(wide) * scale_b).mT


def work(m, n, k):
    return {"flops": 2 * m * n * k, "bytes": m * k + n * k + 4 * (m + n) + 2 * m * n}


def library(a, scale_a, b, scale_b, out_dtype):
    """On the tensor cores of a GPU from Hopper on, where k and n are multiples of 16."""
    if not a.is_cuda:
        raise NotImplementedError("needs CUDA: torch scales by rows on a GPU alone")
    return torch._scaled_mm(a, b.mT, scale_a, scale_b.mT, out_dtype=out_dtype, use_fast_accum=False)


def dequantised(a, scale_a, b, scale_b, out_dtype):
    """Scales first, then a product in float32."""
    return ((a.float() * scale_a) @ (b.float() * scale_b).mT).to(out_dtype)


def scaled_at_the_end(a, scale_a, b, scale_b, out_dtype):
    """Slice by slice of k, summed in float32; the scales are applied to the sum."""
    total = torch.zeros(len(a), len(b), device=a.device)
    for start in range(0, a.shape[1], SLICE):
        part = slice(start, start + SLICE)
        total += a[:, part].float() @ b[:, part].float().mT
    return (total * scale_a * scale_b.mT).to(out_dtype)


def scales_swapped(a, scale_a, b, scale_b, out_dtype):
    """Wrong: either side is scaled by the other's, which shapes allow where m and n are equal."""
    total = a.float() @ b.float().mT
    return (total * scale_b[: len(a)] * scale_a[: len(b)].mT).to(out_dtype)
