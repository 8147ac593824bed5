#!/usr/bin/env bash
# tabulate 0.10.0: a cell that is a string need not be printed as it is.
#
# A column whose strings all look like numbers is parsed and formatted with six digits: a version
# loses its zero, a hexadecimal identifier such as 1234e5 becomes a power of ten, a large integer
# next to a fraction loses its digits. A single text in the column leaves all of them alone, so
# the same identifier is printed in two ways. disable_numparse=True keeps strings.
#
# Seen: '1.10' -> 1.1, '1234e5' -> 1.234e+08, '1152921504606846977' -> 1.15292e+18.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet tabulate==0.10.0
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

from tabulate import tabulate


def cells(*column, **options):
    rows = [[cell] for cell in column]
    return tabulate(rows, tablefmt="plain", **options).split()


seen = [
    cells("1.10", "1.9"),
    cells("1234e5", "99e2"),
    cells("1234e5", "abcd12"),
    cells("1152921504606846977", "1.5"),
    cells("1.10", "1234e5", disable_numparse=True),
]
print(seen)
expected = [
    ["1.1", "1.9"],
    ["1.234e+08", "9900"],
    ["1234e5", "abcd12"],
    ["1.15292e+18", "1.5"],
    ["1.10", "1234e5"],
]
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
