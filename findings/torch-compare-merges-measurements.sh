#!/usr/bin/env bash
# torch 2.13.0: torch.utils.benchmark.Compare merges measurements with equal labels into a number
# that nobody measured.
#
# Two Measurements with the same label, sub_label and description are taken for repetitions and
# their times are pooled, each block with equal weight whatever its number of runs. A kernel before
# and after a change, described alike, gets one cell between the two; the table does not say so.
#
# Seen: 1 ms and 3 ms in one cell: 2.0; with two descriptions: 1.0 and 3.0. Merging 1 ms (1,000
# runs) with 10 ms (1 run): median 5.5 ms.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

from torch.utils.benchmark import Compare, Measurement
from torch.utils.benchmark.utils.common import TaskSpec


def measured(milliseconds, description="torch", runs=1):
    task = TaskSpec("f(x)", "", description=description)
    return Measurement(runs, [milliseconds / 1000 * runs], task)


def numbers(*measurements):
    table = str(Compare(list(measurements)))
    row = next(line for line in table.splitlines() if line.lstrip().startswith("f(x)"))
    return [cell.strip() for cell in row.split("|")[1:]]


one_cell = numbers(measured(1), measured(3))
two_cells = numbers(measured(1, "before"), measured(3, "after"))
(pooled,) = Measurement.merge([measured(1, runs=1000), measured(10)])
seen = (one_cell, two_cells, round(pooled.median * 1000, 3))
print("one cell, two cells, merged median in ms:", seen)
if [float(cell) for cell in one_cell + two_cells] != [2, 1, 3] or seen[2] != 5.5:
    sys.exit(f"changed: {seen}")
EOF
