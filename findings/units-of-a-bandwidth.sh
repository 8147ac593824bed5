#!/usr/bin/env bash
# pint 0.25.3, unyt 3.2.0, astropy 8.0.2: three unit libraries read "Gb/s", "GB/s" and "cycle/s" as
# something else.
#
# In pint "Gb" is the gilbert, a magnetic unit, and "Mb" the megabarn, an area. In unyt "GB" is a
# billion bels, a ratio; it knows no bytes. A cycle is an angle in pint and astropy, so a clock of
# 1.7e9 cycles a second becomes 10.7 GHz, without a warning. Each is a valid unit, and only a later
# conversion to bytes would raise.
#
# Seen: pint "1 Gb/s" is 0.796 ampere/second, "1 Mb" 1e-22 m**2, 1.7e9 cycle/s in GHz 10.68; unyt 1
# GB/s 1.15e9 Np/s; astropy "Gb/s" gigabits, cycle/s 6.28 rad/s.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet pint==0.25.3 unyt==3.2.0 astropy==8.0.2 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import astropy.units
import pint
import unyt

registry = pint.UnitRegistry()
seen = {
    "pint Gb/s": f"{registry('1 Gb/s').to_base_units():.3g~}",
    "pint Mb": f"{registry('1 Mb').to_base_units():.3g~}",
    "pint cycle/s": f"{registry('1.7e9 cycle/s').to('GHz'):.4g~}",
    "unyt GB/s": f"{unyt.unyt_quantity(1, 'GB/s').in_base():.3g}",
    "astropy Gb/s": str(astropy.units.Unit("Gb/s").decompose()),
    "astropy cycle/s": str(astropy.units.Unit("cycle/s").decompose()),
}
print(seen)
if list(seen.values()) != [
    "0.796 A / s",
    "1e-22 m ** 2",
    "10.68 GHz",
    "1.15e+09 Np/s",
    "1e+09 bit / s",
    "6.28319 rad / s",
]:
    sys.exit("changed")
EOF
