#!/usr/bin/env bash
# pydantic 2.14.3, humanfriendly 10.0, bitmath 2.1.1: "1 Gb" is a gigabit or a gigabyte, and "1
# Mbit" a megabyte, by the parser.
#
# pydantic's ByteSize knows bits by the name "bit" and ignores case, so "Gb" is a gigabyte; "3 bit"
# are 0 bytes. humanfriendly looks at the first letter alone: "Mbit" and "MBit" are megabytes. Both
# accept "1g". bitmath tells b from B. None warns, and the results differ by eight.
#
# Seen in bytes: "1 Gb" 1e9, 1e9, 125e6; "1 Mbit" 125000, 1000000, 125000, in the order above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet pydantic==2.14.3 humanfriendly==10.0 bitmath==2.1.1
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import bitmath
import humanfriendly
import pydantic

size = pydantic.TypeAdapter(pydantic.ByteSize)
seen = {
    text: [
        int(size.validate_python(text)),
        humanfriendly.parse_size(text),
        int(bitmath.parse_string(in_bitmath).bytes),
    ]
    for text, in_bitmath in (("1 Gb", "1 Gb"), ("1 Mbit", "1 Mb"), ("1 GB", "1 GB"))
}
print("(pydantic, humanfriendly, bitmath):", seen)
if list(seen.values()) != [[10**9, 10**9, 125 * 10**6], [125000, 10**6, 125000], [10**9] * 3]:
    sys.exit("changed")
EOF
