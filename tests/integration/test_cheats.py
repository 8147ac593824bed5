"""Every cheat we know, as a user's file in a sweep: a mismatch each, and no figure of how fast it
was.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CHEATS = Path(__file__).parent / "toys" / "cheats.py"
SAID = {
    "remembers_its_first_answer": "relative error",
    "remembers_answers_by_tensor": "as it is timed",
    "remembers_answers_by_value": "on equal inputs|by the values of its inputs",
    "remembers_answers_it_has_met_often": "it remembers answers by the values of its inputs",
    "is_wrong_while_garbage_is_not_collected": "is nan, expected a finite value",
    "is_wrong_every_third_time": r"relative error 1\.0e\+00",
    "writes_into_its_input": "changed its input k",
    "writes_into_its_input_once_it_is_timed": "changed its input v",
    "returns_before_it_is_done": "elements are wrong",
    "leaves_nan": "is nan, expected a finite value",
    "swaps_batch_entries": "relative error ",
    "never_computes_the_last_head": r"output\[",
    "scales_by_two_thousandths_too_much": r"relative error 2\.0e-03",
    "one_wrong_row": r"output\[",
    "sees_the_future": "relative error",
    "attends_across_heads": "relative error",
    "averages_the_values": "relative error",
}
# 2 x 12,800 x 4 rows in float16; the others are small, causal and in float32.
LONG = "params: {seq_len: 12800, dtype: float16, causal: false}"
SWEEP = """\
name: cheats
workload: dilated_attention
implementations: [ENTRIES]
axes: {batch: [2]}
constants: {seq_len: 128, heads: 4, head_dim: 8, segment_lengths: [64], dilation_rates: [1], causal: true}
measure: {warmup_s: 0, min_time_s: 0, max_time_s: 5, min_repetitions: 20, target_ci: 0.9, remeasure: 0,
  sentinels: false, ceilings: false}
"""


@pytest.fixture(scope="module")
def rows(
    tmp_path_factory: pytest.TempPathFactory, give_store: Callable[[Path], None]
) -> dict[str, dict[str, Any]]:
    """The rows of one sweep of all cheats, the honest one first and last, by label."""
    folder = tmp_path_factory.mktemp("cheats")
    give_store(folder)
    (folder / "cheats.py").write_text(CHEATS.read_text())
    entries = ["{use: './cheats.py:honest', label: honest}"]
    for name in SAID:
        params = f", {LONG}" if name == "one_wrong_row" else ""
        entries.append(f"{{use: './cheats.py:{name}', label: {name}{params}}}")
    entries.append(f"{{use: './cheats.py:honest', label: honest-again, {LONG}}}")
    (folder / "sweep.yaml").write_text(SWEEP.replace("ENTRIES", ",\n  ".join(entries)))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "orchestrator",
            "sweep.yaml",
            "--device",
            "cpu",
            "--output",
            "out",
            "--json",
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 1, done.stderr
    return {row["implementation"]: row for row in json.loads(done.stdout)["rows"]}


def test_who_is_honest_is_ok(rows: dict[str, dict[str, Any]]) -> None:
    """Beside all of them, at both shapes and precisions."""
    assert {rows[name]["outcome"] for name in ("honest", "honest-again")} == {"ok"}


@pytest.mark.parametrize("name", SAID)
def test_a_cheat_is_a_mismatch_without_figures(name: str, rows: dict[str, dict[str, Any]]) -> None:
    """And its row says what was wrong, and where."""
    row = rows[name]
    assert row["outcome"] == "mismatch", row
    assert row["metrics"] is None
    assert re.search(SAID[name], row["error"]["message"])
