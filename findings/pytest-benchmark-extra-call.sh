#!/usr/bin/env bash
# pytest-benchmark 5.3.1: the result that a test checks need not come from a timed call.
#
# With more than one iteration a round keeps no result, so the function is called once more after
# the timing. rounds=5, iterations=2, warmup_rounds=1 is 12 calls, and 13 happen; a function with
# state, or one that donates its input, sees one call too many. With iterations=1 the count is
# right.
#
# Seen: 13 calls and the result of the 13th; 6 calls for iterations=1 (5 rounds and a warm-up).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet pytest-benchmark==5.3.1 pytest==9.2.0
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import pytest

test = '''
import pytest


@pytest.mark.parametrize("iterations, calls", [(2, 13), (1, 6)])
def test_calls(benchmark, iterations, calls):
    seen = []
    result = benchmark.pedantic(
        lambda: seen.append(0) or len(seen), rounds=5, iterations=iterations, warmup_rounds=1
    )
    print("iterations", iterations, "calls", len(seen), "result", result)
    assert len(seen) == result == calls
'''
with open("test_calls.py", "w") as file:
    file.write(test)
options = ["-q", "-s", "-p", "no:cacheprovider", "--benchmark-quiet"]
if pytest.main([*options, "test_calls.py"]) != 0:
    sys.exit("changed: another number of calls")
EOF
