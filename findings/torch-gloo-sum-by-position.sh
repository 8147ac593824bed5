#!/usr/bin/env bash
# torch 2.13.0, gloo, three processes: one all_reduce sums the same three numbers to different
# results by position.
#
# The ring starts each part of the tensor at another rank, so the order of the additions depends on
# where in the tensor an element lies. A test with equal values per rank sees two results in one
# call, and an element's sum changes when the tensor gets longer. Each rank gets the same.
#
# Seen for 1e8, 1 and -1e8 on the ranks, 1,000 elements each: 0.0 for some and 1.0 for the others.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
cat > ranks.py <<'EOF'
import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def work(rank):
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    options = {"rank": rank, "world_size": 3}
    dist.init_process_group("gloo", init_method=f"file://{os.getcwd()}/meeting", **options)
    x = torch.full((1000,), (1e8, 1.0, -1e8)[rank])
    dist.all_reduce(x)
    if rank == 0:
        with open("seen.txt", "w") as file:
            print(*x.unique().tolist(), file=file)
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(work, nprocs=3)
EOF
"$venv/bin/python" ranks.py 2> ranks.log || { cat ranks.log; exit 1; }
"$venv/bin/python" - <<'EOF'
import sys
from pathlib import Path

seen = Path("seen.txt").read_text().split()
print("values of the sum:", seen)
if sorted(seen) != ["0.0", "1.0"]:
    sys.exit(f"changed: {seen}")
EOF
