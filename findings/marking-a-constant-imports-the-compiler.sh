#!/usr/bin/env bash
# torch 2.13.0: a mark on a function imports the whole compiler, compiled or not.
#
# torch.compiler.assume_constant_result, allow_in_graph, substitute_in_graph and disable are made
# for code that may one day be traced; is_compiling, in the same namespace, costs nothing. Applying
# one of the four, as a decorator at import, imports torch._dynamo and with it torch.distributed.fsdp,
# torch.distributed.tensor and hundreds of other modules: most of a second of CPU time, nearly as
# much as torch itself. A library that marks one function makes every program that imports it pay.
#
# Seen: 0 modules for is_compiling; for each of the marks torch._dynamo and more than 300 modules in
# all, torch.distributed.fsdp among them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
cat > mark.py <<'EOF'
import sys
import time

import torch

MARKS = {
    "is_compiling": lambda: torch.compiler.is_compiling(),
    "assume_constant_result": lambda: torch.compiler.assume_constant_result(lambda: 1),
    "allow_in_graph": lambda: torch.compiler.allow_in_graph(lambda x: x),
    "substitute_in_graph": lambda: torch.compiler.substitute_in_graph(len),
    "disable": lambda: torch.compiler.disable(lambda x: x),
}
name = sys.argv[1]
before, began = set(sys.modules), time.process_time()
try:
    MARKS[name]()
except TypeError:  # substitute_in_graph wants a traceable function, too; the import is over by then
    pass
new = set(sys.modules) - before
print(f"{name}: {len(new)} modules, {time.process_time() - began:.2f} s of CPU time")
heavy = "torch._dynamo" in new and "torch.distributed.fsdp" in new and len(new) > 300
if heavy != (name != "is_compiling"):
    sys.exit(f"changed: {name} imports {len(new)} modules")
EOF
for mark in is_compiling assume_constant_result allow_in_graph substitute_in_graph disable; do
    "$venv/bin/python" mark.py "$mark"
done
