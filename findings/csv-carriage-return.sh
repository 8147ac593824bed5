#!/usr/bin/env bash
# CPython 3.11, module csv (no package to install): a field with a carriage return splits its row.
#
# The writer quotes a field that holds a delimiter, a quote or a character of its lineterminator.
# With lineterminator="\n" a bare "\r", as a progress bar leaves in a captured message, is written
# unquoted. The reader takes "\r" for the end of a row whatever terminator was written.
#
# Seen: the row ["a\rb", "c"] reads back as ["a"], ["b", "c"]; with the default "\r\n" it is whole.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3.11 -m venv "$venv"
cd "$work"
"$venv/bin/python" - <<'EOF'
import csv
import io
import sys


def back(**options):
    stream = io.StringIO(newline="")
    csv.writer(stream, **options).writerow(["a\rb", "c"])
    return list(csv.reader(io.StringIO(stream.getvalue(), newline="")))


seen = [back(lineterminator="\n"), back()]
print(sys.version.split()[0], seen)
if seen != [[["a"], ["b", "c"]], [["a\rb", "c"]]]:
    sys.exit(f"changed: {seen}")
EOF
