"""The project beside its peers, through the orchestrator itself: peers are users' files, verified
like any other.

    python benchmarks/peers.py [options of `run`]          # -S axes.seq_len=[1024] --device cpu, for a first look

Peers come from PyPI into an environment of their own, benchmarks/peers/.venv, without their
requirements (they would bring another torch); each user's file adds it to its path. torchscale is
not among them: its release on PyPI, 0.3.0, has no dilated attention.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
SWEEPS = ("dilated.yaml", "dense.yaml")


def install() -> None:
    """Install what is missing, once for each state of requirements.txt."""
    requirements, home = PEERS / "requirements.txt", PEERS / ".venv"
    done = home / "installed.txt"
    if done.exists() and done.read_text(encoding="utf-8") == requirements.read_text(
        encoding="utf-8"
    ):
        return
    venv.create(home, with_pip=True)
    command = [
        home / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "-r",
        requirements,
    ]
    subprocess.run([str(part) for part in command], check=True)
    done.write_text(requirements.read_text(encoding="utf-8"), encoding="utf-8")


def main(options: list[str]) -> int:
    """Run both sweeps; the worse of their exit codes."""
    install()
    runs = [
        [sys.executable, "-m", "orchestrator", "run", str(PEERS / sweep), *options]
        for sweep in SWEEPS
    ]
    return max(subprocess.run(run, check=False).returncode for run in runs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
