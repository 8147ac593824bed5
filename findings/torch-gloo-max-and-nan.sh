#!/usr/bin/env bash
# torch 2.13.0, gloo, three processes: all_reduce with MAX returns NaN, a maximum or neither, by
# the rank that holds the NaN.
#
# A rank keeps its own value unless the one that arrives is larger. A NaN on rank 0 stays; on
# another rank it is lost, and with it what had been combined with it: the maximum of 1, NaN and 2
# is 1, and 2 is gone. All ranks agree on the result. So a NaN of one worker may pass a check of
# the reduced value.
#
# Seen: max of (nan, 1, 2) nan; of (1, nan, 2) 1; of (1, 2, nan) 2; of (1, 3, 2) 3. Float32 and
# bfloat16 alike.
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
    for dtype in (torch.float32, torch.bfloat16):
        for case in ("nan,1,2", "1,nan,2", "1,2,nan", "1,3,2"):
            x = torch.tensor([float(case.split(",")[rank])], dtype=dtype)
            dist.all_reduce(x, op=dist.ReduceOp.MAX)
            if rank == 0:
                with open("seen.txt", "a") as file:
                    print(case, dtype, x.item(), file=file)
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(work, nprocs=3)
EOF
"$venv/bin/python" ranks.py 2> ranks.log || { cat ranks.log; exit 1; }
"$venv/bin/python" - <<'EOF'
import sys
from pathlib import Path

seen = [line.split() for line in Path("seen.txt").read_text().splitlines()]
print("case, dtype, result:", seen)
results = {"nan,1,2": "nan", "1,nan,2": "1.0", "1,2,nan": "2.0", "1,3,2": "3.0"}
expected = []
for kind in ("torch.float32", "torch.bfloat16"):
    expected += [[case, kind, result] for case, result in results.items()]
if seen != expected:
    sys.exit("changed")
EOF
