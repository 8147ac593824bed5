"""The same trials that do nothing, driven by this project and by Ray Tune, in turns.

    PYTHONPATH=. python3 benchmarks/tune_driver.py [TRIALS] [--slots N] [--times N]

Ours is the sweep of benchmarks/scale.py: journal, staleness and reports included. Tune's is a class
trainable that returns at once, in its fastest way to run many trials: actors are reused and nothing
is checkpointed. Each runs in a process of its own, from its first line to its end, so that both
start Ray. Wall times in seconds, and the ratio of their medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TUNE = """
import sys
from ray import tune, train
import ray

class Nothing(tune.Trainable):
    def setup(self, config):
        pass
    def step(self):
        return {"latency_ms": 1.0, "done": True}
    def reset_config(self, config):
        return True
    def save_checkpoint(self, folder):
        return None
    def load_checkpoint(self, state):
        pass

trials, slots, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
ray.init(address="local", num_cpus=slots, include_dashboard=False, log_to_driver=False,
         configure_logging=False, logging_level=50, _node_ip_address="127.0.0.2")
tuner = tune.Tuner(
    tune.with_resources(Nothing, {"cpu": 1}),
    param_space={"number": tune.grid_search(list(range(trials)))},
    tune_config=tune.TuneConfig(reuse_actors=True, metric="latency_ms", mode="min"),
    run_config=tune.RunConfig(storage_path=folder, name="nothing", verbose=0),
)
found = tuner.fit()
assert len(found) == trials and not found.errors
"""


def ours(trials: int, slots: int, folder: Path) -> list[str]:
    """The command of our sweep."""
    return [sys.executable, str(HERE / "scale.py"), str(trials), "--slots", str(slots), "--child", str(folder)]  # fmt: skip


def tunes(trials: int, slots: int, folder: Path) -> list[str]:
    """The command of Tune's."""
    return [sys.executable, "-c", TUNE, str(trials), str(slots), str(folder)]


def wall_s(command: list[str], folder: Path) -> float:
    """Seconds that a command takes; the benchmark ends with its output where it fails."""
    quiet = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    environment = {**os.environ, **quiet} if "-c" in command else dict(os.environ)
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{command[1]}: {done.stderr[-3000:]}")
    return time.monotonic() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trials", nargs="?", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--times", type=int, default=1, help="runs of each side, in turns")
    options = parser.parse_args()
    walls: dict[str, list[float]] = {"ours": [], "tune": []}
    for _ in range(options.times):
        for name, command in (("ours", ours), ("tune", tunes)):
            with tempfile.TemporaryDirectory(prefix="drivers-") as text:
                folder = Path(text)
                walls[name].append(wall_s(command(options.trials, options.slots, folder), folder))
                print(f"{name}: {walls[name][-1]:.1f} s", file=sys.stderr, flush=True)
    medians = {name: statistics.median(found) for name, found in walls.items()}
    print(f"{options.trials} trials, {options.slots} slots, {os.cpu_count()} cores")
    print(f"ours {medians['ours']:.1f} s, Ray Tune {medians['tune']:.1f} s")
    print(f"ratio {medians['ours'] / medians['tune']:.3f}")


if __name__ == "__main__":
    main()
