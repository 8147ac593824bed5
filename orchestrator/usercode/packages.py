"""Which installed distribution a package belongs to, and which build of it is there; nothing is
imported.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

# in the environment of a record, or no matter of its figures
STATED = frozenset({"torch", "triton", "pydantic"})


@dataclass(frozen=True)
class Build:
    """An installed distribution.

    Attributes:
        contents: digest of what its RECORD says of its files, which tells two builds of one version
            apart.
    """

    name: str
    version: str
    contents: str = ""

    def __str__(self) -> str:
        return f"{self.version} ({self.contents})" if self.contents else self.version


def site_of(folder: Path) -> Path | None:
    """`folder` itself where installed packages lie in it; None: a folder of someone's own."""
    return folder if _information(folder) else None


def build_of(head: str, site: Path) -> Build | None:
    """The distribution in `site` that installed the top-level package `head`; None: it was put
    there by hand.

    One that was installed to be edited has no files there, and is none either.
    """
    changed_ns = site.stat().st_mtime_ns
    return _build_of(head, site, changed_ns)


@lru_cache(maxsize=1024)
def _build_of(head: str, site: Path, _changed_ns: int) -> Build | None:
    here = re.compile(rf"^{re.escape(head)}(/|\.py,|\.[\w.-]*so,)", re.MULTILINE)
    likely = _normal(head)
    for folder in sorted(
        _information(site), key=lambda path: _normal(path.name.partition("-")[0]) != likely
    ):
        record = folder / "RECORD"
        text = record.read_text(errors="replace") if record.is_file() else ""
        if here.search(text):
            found = metadata.PathDistribution(folder)
            return Build(str(found.metadata["Name"]), str(found.version), _contents(text))
    return None


def _contents(record: str) -> str:
    """A digest of the installed files' own hashes: not of scripts, nor of what an installer notes
    beside them.
    """
    lines = [
        line for line in record.splitlines() if "sha256=" in line and not line.startswith("..")
    ]
    kept = sorted(line for line in lines if ".dist-info/" not in line)
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:8]


def _information(folder: Path) -> tuple[Path, ...]:
    return _listed(folder, folder.stat().st_mtime_ns) if folder.is_dir() else ()


@lru_cache(maxsize=256)
def _listed(folder: Path, _changed_ns: int) -> tuple[Path, ...]:
    return tuple(path for path in folder.iterdir() if path.name.endswith(".dist-info"))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
