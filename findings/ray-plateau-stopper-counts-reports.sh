#!/usr/bin/env bash
# Ray Tune 2.60.0: ExperimentPlateauStopper counts reports and not models, and never stops after a
# NaN.
#
# `top` is described as the number of best models. Every report of every trial is entered, so one
# trial that reports the same value three times fills the three best places and ends the
# experiment. The places are sorted: a NaN that comes first stays first for good in mode min, the
# deviation is NaN, and no plateau is found.
#
# Seen with top=3: one trial reporting 5, 5, 5 stops all; nan, then 5 four times from four trials:
# never; without the NaN: after the third.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet 'ray[tune]==2.60.0'
cd "$work"
export HOME=$work
"$venv/bin/python" - <<'EOF'
import logging
import os
import sys
import warnings

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from ray.tune.stopper import ExperimentPlateauStopper


def stops(reports):
    stopper = ExperimentPlateauStopper("m", top=3, mode="min")
    answers = []
    for trial, value in reports:
        stopper(trial, {"m": value})
        answers.append(bool(stopper.stop_all()))
    return answers


four = [(trial, 5.0) for trial in "bcde"]
seen = {
    "one trial": stops([("a", 5.0)] * 3),
    "with nan": stops([("a", float("nan")), *four]),
    "without": stops(four),
}
print(seen)
expected = {
    "one trial": [False, False, True],
    "with nan": [False] * 5,
    "without": [False, False, True, True],
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
