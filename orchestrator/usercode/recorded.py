"""Recorded tensors as inputs: `recorded("dumps/*.safetensors")`, read by name and mapped into
memory.

The files are part of what defines the workload, since its text names them: another content makes
rows stale. The format is that of the safetensors documentation: eight bytes of length, a JSON
header of dtype, shape and offsets, the data.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import suggestion

if TYPE_CHECKING:
    import torch

DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "C64": "complex64",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
MOST_HEADER = 100_000_000  # bytes, as the format states


class RecordingError(ValueError):
    """A recording that is not there, is damaged, or is not what was declared."""


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: its file, dtype, shape, and the bytes from `start` on."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int


class Recording(Mapping[str, "torch.Tensor"]):
    """The tensors of some files by name, each read when it is asked for, on the default device.

    Args:
        places: name -> where it lies.
        shown: the files, for messages.
    """

    def __init__(self, places: Mapping[str, Place], shown: str) -> None:
        self._places = dict(places)
        self._shown = shown

    def __getitem__(self, name: str) -> torch.Tensor:
        import numpy as np
        import torch

        if name not in self._places:
            raise RecordingError(
                f"{self._shown} holds no tensor {name!r}{suggestion(name, self._places)}"
            )
        place = self._places[name]
        dtype = getattr(torch, place.dtype)
        if math.prod(place.shape) == 0:
            return torch.empty(place.shape, dtype=dtype)
        count = math.prod(place.shape) * dtype.itemsize
        # Copied on writing: a call that writes into its input leaves the file as it is
        mapped = np.memmap(place.file, dtype=np.uint8, mode="c", offset=place.start, shape=(count,))
        tensor = torch.frombuffer(mapped, dtype=dtype).reshape(place.shape)
        return tensor.to(torch.get_default_device())

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def recorded(
    pattern: str, expected: Mapping[str, tuple[Sequence[int | None], torch.dtype]] | None = None
) -> Recording:
    """The tensors in safetensors files.

    Args:
        pattern: of the files, from the folder of the file that calls this; `*` and `?` as a shell
            has them.
        expected: name -> (shape, dtype) that it must have; None in a shape is any size.

    Raises:
        RecordingError: no file matches, one is damaged, a name stands in two, or a tensor is not as
            expected.
    """
    caller = inspect.stack()[1].filename
    folder = Path(caller).resolve().parent
    files = sorted(folder.glob(pattern))
    if not files:
        raise RecordingError(f"no file matches {pattern!r} in {folder}")
    places: dict[str, Place] = {}
    for file in files:
        for name, place in _header(file):
            if name in places:
                raise RecordingError(
                    f"the tensor {name!r} stands in {places[name].file.name} and in {file.name}"
                )
            places[name] = place
    for name, (shape, dtype) in (expected or {}).items():
        _check(name, places, tuple(shape), str(dtype).removeprefix("torch."), pattern)
    return Recording(places, pattern)


def tensor(file: Path, name: str, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """One tensor of one file.

    Raises:
        RecordingError: the file is damaged, or the tensor is not there or not as expected.
    """
    places = dict(_header(file))
    _check(name, places, tuple(shape), str(dtype).removeprefix("torch."), file.name)
    return Recording(places, file.name)[name]


def _check(
    name: str, places: Mapping[str, Place], shape: tuple[int | None, ...], dtype: str, shown: str
) -> None:
    if name not in places:
        raise RecordingError(f"{shown} holds no tensor {name!r}{suggestion(name, places)}")
    found = places[name]
    fits = len(shape) == len(found.shape)
    for wanted, size in zip(shape, found.shape, strict=False):
        fits = fits and wanted in (None, size)
    if not fits or found.dtype != dtype:
        raise RecordingError(
            f"{found.file.name}: {name} is {found.dtype} of shape {found.shape}, "
            f"expected {dtype} of shape {shape}"
        )


def _header(file: Path) -> list[tuple[str, Place]]:
    """The tensors that a file's header names, and where they lie."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > min(size - 8, MOST_HEADER):
            raise RecordingError(
                f"{file.name} is not a safetensors file: "
                f"its header would take {length} bytes of {size}"
            )
        try:
            header: dict[str, Any] = json.loads(opened.read(length))
        except ValueError as error:
            raise RecordingError(f"{file.name} is not a safetensors file: {error}") from None
    found = []
    for name, described in header.items():
        if name == "__metadata__":
            continue
        if described["dtype"] not in DTYPES:
            raise RecordingError(
                f"{file.name}: {name} is of dtype {described['dtype']}, which is not known here"
            )
        start, end = (8 + length + offset for offset in described["data_offsets"])
        if not 0 <= start <= end <= size:
            raise RecordingError(f"{file.name}: {name} ends beyond the end of the file")
        found.append(
            (name, Place(file, DTYPES[described["dtype"]], tuple(described["shape"]), start))
        )
    return found
