"""Files beside a user's code that are no Python: kernels that it builds, tables that it reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

C_LIKE = frozenset(
    {
        ".c",
        ".cc",
        ".cpp",
        ".cxx",
        ".cu",
        ".cuh",
        ".h",
        ".hh",
        ".hpp",
        ".inl",
        ".hip",
        ".metal",
        ".cl",
    }
)
BUILT = frozenset({".ptx", ".cubin", ".fatbin", ".hsaco", ".so", ".asm", ".s", ".ll", ".mlir"})
READ = frozenset(
    {
        ".json",
        ".yaml",
        ".yml",
        ".toml",
        ".csv",
        ".npy",
        ".npz",
        ".pt",
        ".pth",
        ".safetensors",
        ".bin",
    }
)
SUFFIXES = C_LIKE | BUILT | READ
MOST_FILES = 1000
MAX_READ_BYTES = 2**26  # of a larger file size and time of change stand for the content

_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]+"([^"\n]+)"', re.MULTILINE)
_PATH_LIKE = re.compile(r"[\w.+*?\[\]-][\w./+*?\[\] -]*")


def named_files(file: Path, texts: Iterable[str]) -> frozenset[Path]:
    """The data files that the texts in a Python file name: `k.cu`, `csrc/k.cu`, or `csrc` and
    `*.cu`.

    Looked for in the file's folder, and in folders below it that the texts name as well.
    """
    names = [text for text in texts if _PATH_LIKE.fullmatch(text) and ".." not in text]
    plain = [name for name in names if not _is_pattern(name)]
    folders = [file.parent]
    for _ in range(2):
        for folder, name in list(product(folders, plain)):
            place = folder / name
            if place.is_dir() and place not in folders:
                folders.append(place)
    wanted = [name for name in names if Path(name).suffix in SUFFIXES]
    found: set[Path] = set()
    for folder in folders:
        for name in wanted:
            places = folder.glob(name) if _is_pattern(name) else [folder / name]
            found |= {place.resolve() for place in places if place.is_file()}
    return frozenset(sorted(found)[:MOST_FILES])


def included_files(start: Path) -> frozenset[Path]:
    """`start` and, of code in the C family, every file that it includes by `#include "..."`."""
    seen: set[Path] = set()
    queue = [start]
    while queue:
        file = queue.pop()
        if file in seen:
            continue
        seen.add(file)
        if file.suffix in C_LIKE and file.stat().st_size <= MAX_READ_BYTES:
            for match in _INCLUDE.findall(file.read_bytes()):
                place = file.parent / match.decode(errors="replace")
                if place.is_file():
                    queue.append(place.resolve())
    return frozenset(seen)


def expanded(pattern: str, base_dir: Path) -> Iterator[Path]:
    """The files that an entry of `files:` means: a file, every file below a folder, or those that
    match a pattern.
    """
    place = base_dir / pattern
    found = [place]
    if _is_pattern(pattern) and not Path(pattern).is_absolute():
        found = sorted(base_dir.glob(pattern))
    for one in found:
        inside = sorted(one.rglob("*")) if one.is_dir() else [one]
        for file in inside:
            below = file.relative_to(one).parts
            hidden = any(part.startswith(".") or part == "__pycache__" for part in below)
            if file.is_file() and not hidden:
                yield file.resolve()


def content_hash_of(file: Path) -> str:
    """12 hexadecimal digits over the content of a file; of a large one, over its size and time of
    change.
    """
    status = file.stat()
    if status.st_size > MAX_READ_BYTES:
        return hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:12]
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def _is_pattern(text: str) -> bool:
    return any(sign in text for sign in "*?[")
