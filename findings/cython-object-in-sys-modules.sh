#!/usr/bin/env bash
# Cython 3.3.1: importing it puts objects into sys.modules that are no modules.
#
# `import cython` alone registers `cython.parallel`, an instance of a plain class without __name__,
# __file__ or __spec__. Code that walks sys.modules and reads module.__name__ raises AttributeError,
# although nobody asked for Cython: a package that imports it is enough. cython.cimports is no module
# either; asking it for an attribute adds to sys.modules, so that a loop which has not copied it ends
# with a RuntimeError.
#
# Seen: cython.parallel is a CythonDotParallel without __name__ and __spec__; cython.cimports is a
# CythonCImports and has a __name__; before the import: none. The loop without a
# copy: "dictionary changed size during iteration".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet cython==3.3.1
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys
from types import ModuleType


def strangers():
    found = {}
    for name, one in list(sys.modules.items()):
        if not isinstance(one, ModuleType):
            found[name] = (type(one).__name__, hasattr(one, "__name__"), hasattr(one, "__spec__"))
    return found


before = strangers()
import cython  # noqa: E402

try:
    [hasattr(one, "__spec__") for one in sys.modules.values()]
    loop = "ended"
except RuntimeError as error:
    loop = str(error)
after = strangers()
print(before)
print(after)
print(loop)
if loop != "dictionary changed size during iteration":
    sys.exit("changed")
if before or after.get("cython.parallel") != ("CythonDotParallel", False, False):
    sys.exit("changed")
if "cython.cimports" not in after:
    sys.exit("changed")
EOF
