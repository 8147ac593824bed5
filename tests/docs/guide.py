"""The guides as programs: their blocks, and a folder in which they are carried out one after the
other.

What follows the language in a block's opening line says what the block is::

    ```bash run            is carried out, and must end with exit code 0
    ```bash run exit=1     ... with this exit code
    ```python run          is carried out
    ```yaml file=a.yaml    is written to that file
    ```text output         lines that the block before must have printed; numbers may differ, ... stands for anything

A line `<!-- goes on from first-sweep.md -->` starts a guide in the folder that another one left.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
GUIDES = [README, *sorted(path for path in DOCS.glob("*.md") if path.name != "LOG.md")]
ABOUT_OWN_CODE = {
    "flashinfer-definitions", "gallery", "gpu-mode-tasks", "in-place", "kernel-against-torch",
    "model-shapes", "own-workload", "problem-folders", "which-kernel",
}  # fmt: skip
FIRST = {"README", "first-sweep"}
LENT = ("sweeps", "docs")  # what a reader has in the checkout where they type
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
# What the machine may do to a row; `unproven` among them, as calls are told apart by their times
FLAGS = re.compile(r"✓( (noisy|throttled|contended|unproven|allocation_retries),?)+")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what its opening line says beside it, its text, its line in the
    guide.
    """

    language: str
    words: tuple[str, ...]
    body: str
    line: int

    def option(self, name, default=None):
        """The value of `name=value` in the opening line."""
        return next(
            (word.partition("=")[2] for word in self.words if word.startswith(f"{name}=")), default
        )


@dataclass(frozen=True)
class Guide:
    """A page of docs/."""

    path: Path

    def __str__(self):
        return self.path.stem

    @property
    def text(self):
        return self.path.read_text(encoding="utf-8")

    @property
    def blocks(self):
        found = []
        for match in FENCE.finditer(self.text):
            language, *words = match["info"].split() or [""]
            found.append(
                Block(
                    language,
                    tuple(words),
                    match["body"],
                    self.text.count("\n", 0, match.start()) + 1,
                )
            )
        return found

    @property
    def before(self):
        """The guide that this one goes on from, or None."""
        match = re.search(r"<!-- goes on from (\S+) -->", self.text)
        return Guide(DOCS / match[1]) if match else None


def carried_out(names, others=False):
    """The guides with blocks that are run: those of these names, or the others."""
    guides = [Guide(path) for path in GUIDES if (path.stem in names) is not others]
    return [guide for guide in guides if any("run" in block.words for block in guide.blocks)]


class Reader:
    """Someone who follows guides: one folder per guide, each guide carried out once.

    Where a guide of FIRST begins nothing was run before; elsewhere `give_store` has put an MLflow
    store, which takes long to make.
    """

    def __init__(self, home, give_store):
        self.home = home
        self._give_store = give_store
        self._done = {}

    def follow(self, guide):
        """Carry the guide out, and before it the one that it goes on from; the folder it leaves."""
        if guide.path in self._done:
            assert self._done[guide.path] is not None, (
                f"{guide.path.name} failed, and this guide goes on from it"
            )
            return self._done[guide.path]
        self._done[guide.path] = None
        folder = self.home / guide.path.stem
        if guide.before is None:
            folder.mkdir()
            for name in LENT:
                (folder / name).symlink_to(ROOT / name)
            if guide.path.stem not in FIRST:
                self._give_store(folder)
        else:
            shutil.copytree(self.follow(guide.before), folder, symlinks=True)
        printed = ""
        for block in guide.blocks:
            printed = self._step(folder, block, printed, f"{guide.path.name}:{block.line}")
        self._done[guide.path] = folder
        return folder

    def _step(self, folder, block, printed, place):
        if (name := block.option("file")) is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(block.body, encoding="utf-8")
        if "output" in block.words:
            check_output(block.body, printed, place)
        if "run" not in block.words:
            return printed
        done = carry_out(block, folder)
        wanted = int(block.option("exit", "0"))
        assert done.returncode == wanted, (
            f"{place}: exit {done.returncode}, not {wanted}\n{done.stdout}{done.stderr}"
        )
        return done.stdout + done.stderr


def carry_out(block, folder):
    """Run a bash or Python block in `folder`, as a reader would whose virtual environment is
    active.
    """
    binaries = str(Path(sys.executable).parent)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY")},
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "120",
    }
    line = (
        ["bash", "-eu", "-c", block.body]
        if block.language == "bash"
        else [sys.executable, "-c", block.body]
    )
    return subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, timeout=560
    )


def check_output(expected, printed, place):
    """Each line of `expected` must have been printed, in this order; numbers, flags and column
    widths may differ.
    """
    lines = iter([alike(line) for line in printed.splitlines()])
    for line in filter(str.strip, expected.splitlines()):
        pattern = ".*".join(map(re.escape, re.split(r" ?\.\.\. ?", alike(line))))
        assert any(re.fullmatch(pattern, other) for other in lines), (
            f"{place}: not printed, or not here: {line!r}\n{printed}"
        )


def alike(line):
    """The line without what differs from one machine, or one day, to the next."""
    line = FLAGS.sub("✓", line)
    line = re.sub(r"~(?=\d)", "", line)  # mark of a speed of disturbed rows
    line = re.sub(r"\[[\d., ]*\]", "", line)  # an interval, that not every row has
    line = re.sub(r"(^|\s)\*(?=\s)|(?<=\d)\*", " ", line)  # mark of the fastest
    line = re.sub(r"\b\d{8}_\d{6}(_[0-9a-f]{4})?\b", "ID", line)
    line = re.sub(r"\b[0-9a-f]{16}\b", "HASH", line)
    line = re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "0", line)
    return re.sub(r"[\s]+", " ", re.sub(r"[-=]{3,}", "-", line)).strip()
