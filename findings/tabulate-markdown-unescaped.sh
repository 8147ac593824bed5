#!/usr/bin/env bash
# tabulate 0.10.0: a cell can break a Markdown table, and a misspelt format is no error.
#
# tablefmt "html" and "latex" escape what has a meaning there. "github" and "pipe" print a
# vertical bar as it is, which adds a column to that row. A name that tabulate does not know
# ("markdown", "csv") gives the default "simple" layout without a word.
#
# Seen: github and pipe keep "a|b"; html escapes "<"; "markdown" equals "simple".
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

row, headers = [["a|b", "<"]], ["x", "y"]
seen = {
    "github": "a|b" in tabulate(row, headers, tablefmt="github"),
    "pipe": "a|b" in tabulate(row, headers, tablefmt="pipe"),
    "html": "&lt;" in tabulate(row, headers, tablefmt="html"),
    "unknown": tabulate(row, headers, tablefmt="markdown")
    == tabulate(row, headers, tablefmt="simple"),
}
print(seen)
if not all(seen.values()):
    sys.exit(f"changed: {seen}")
EOF
