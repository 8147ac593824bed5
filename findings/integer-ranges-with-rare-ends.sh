#!/usr/bin/env bash
# hyperopt 0.3.0 and nevergrad 1.0.12: the smallest and the largest value of an integer range are
# drawn half as often as the others.
#
# Both draw a real number between the bounds and round it, so the two ends get half an interval
# each. hp.uniformint is named for a uniform integer, and set_integer_casting of nevergrad's Scalar
# widens no bound either. Of a range of two values nothing is seen; of 1 to 4 the ends get a sixth
# each, and for sizes the ends are often the best. Optuna draws evenly.
#
# Seen for 1 to 4, shares of the four: hyperopt 0.16, 0.34, 0.34, 0.17, nevergrad 0.19, 0.32, 0.33,
# 0.16, Optuna 0.25 each.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet hyperopt==0.3.0 nevergrad==1.0.12 optuna==5.0.0 \
    numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys
import warnings
from collections import Counter

warnings.simplefilter("ignore")
import nevergrad
import numpy as np
import optuna
from hyperopt import hp
from hyperopt.pyll.stochastic import sample

optuna.logging.set_verbosity(optuna.logging.ERROR)
draws = 3000
rng = np.random.default_rng(0)
space = hp.uniformint("x", 1, 4)
scalar = nevergrad.p.Scalar(lower=1, upper=4).set_integer_casting()
scalar.random_state.seed(0)
study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))


def shares(values):
    counts = Counter(int(value) for value in values)
    return [round(counts[value] / draws, 3) for value in range(1, 5)]


seen = {
    "hyperopt": shares(sample(space, rng=rng) for _ in range(draws)),
    "nevergrad": shares(scalar.sample().value for _ in range(draws)),
    "optuna": shares(study.ask().suggest_int("x", 1, 4) for _ in range(draws)),
}
print(seen)
for name in ("hyperopt", "nevergrad"):
    low, *middle, high = seen[name]
    if not (max(low, high) < 0.22 and min(middle) > 0.28):
        sys.exit(f"changed: {name}")
if not all(0.22 < share < 0.28 for share in seen["optuna"]):
    sys.exit("changed: optuna")
EOF
