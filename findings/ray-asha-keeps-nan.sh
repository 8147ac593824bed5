#!/usr/bin/env bash
# Ray Tune 2.60.0: ASHA never stops a trial that reports NaN, and stops one that reports infinity.
#
# ASHA stops a trial whose result is less than a percentile of the others. No comparison with NaN
# is true, and the percentile leaves NaN out, so a kernel that returns NaN gets the budget of a
# good one at every rung. MedianStoppingRule stops the same trial.
#
# Seen, mode min, one report each of 1, 2, nan, inf, 3: ASHA continue, stop, continue, stop, stop;
# the median rule stops nan.
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
from unittest.mock import MagicMock

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule

values = (1.0, 2.0, float("nan"), float("inf"), 3.0)


def decisions(scheduler):
    answers = []
    for number, value in enumerate(values):
        trial, result = MagicMock(trial_id=str(number)), {"training_iteration": 1, "m": value}
        scheduler.on_trial_add(MagicMock(), trial)
        answers.append(scheduler.on_trial_result(MagicMock(), trial, result))
        scheduler.on_trial_complete(MagicMock(), trial, result)
    return answers


goal = {"metric": "m", "mode": "min"}
asha = decisions(ASHAScheduler(**goal, grace_period=1, reduction_factor=2))
rule = MedianStoppingRule(
    **goal, time_attr="training_iteration", grace_period=0, min_samples_required=2
)
median = decisions(rule)
print("values", values, "ASHA", asha, "median", median)
if asha != ["CONTINUE", "STOP", "CONTINUE", "STOP", "STOP"] or median[2] != "STOP":
    sys.exit("changed")
EOF
