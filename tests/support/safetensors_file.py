"""Writes safetensors files, which the project reads and does not write."""

import json
from pathlib import Path

import torch

NAMES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.bool: "BOOL",
}


def save(path: Path, **tensors: torch.Tensor) -> None:
    """A safetensors file, written as its documentation says."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        content = bytes(tensor.contiguous().flatten().view(torch.uint8).tolist())
        offsets = [len(data), len(data) + len(content)]
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": offsets,
        }
        data += content
    text = json.dumps({"__metadata__": {"of": "a test"}, **header}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
