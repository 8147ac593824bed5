#!/usr/bin/env bash
# thop 0.1.1.post2209072238, ptflops 0.7.5, torchinfo 1.8.0, torchprofile 0.1.0, fvcore
# 0.1.5.post20221221 on torch 2.13.0: a figure for "MACs" names its tool or means nothing.
#
# One linear layer of 8 x 8 and one attention over 8 positions are 512 + 1024 multiply-adds. thop,
# fvcore and ptflops (default backend) leave the attention out; torchinfo also leaves out all but
# the first dimension of a 3-d input to a linear layer. A product written x @ weight counts 0 in
# thop and ptflops, and 64 in torchinfo.
#
# Seen: torchinfo 64, thop 512, ptflops 512, fvcore 512, torchprofile 1536; x @ weight: 64, 0, 0,
# 512, 512 in the same order.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6 thop==0.1.1.post2209072238 \
    ptflops==0.7.5 torchinfo==1.8.0 torchprofile==0.1.0 fvcore==0.1.5.post20221221
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys
import warnings

import torch
from torch import nn

warnings.simplefilter("ignore")
import ptflops
import thop
import torchinfo
import torchprofile
from fvcore.nn import FlopCountAnalysis


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.project = nn.Linear(8, 8, bias=False)

    def forward(self, x):
        x = self.project(x)
        return nn.functional.scaled_dot_product_attention(x, x, x)


class Product(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8, 8))

    def forward(self, x):
        return x @ self.weight


quiet = {"as_strings": False, "print_per_layer_stat": False, "verbose": False}
seen = {}
for make in (Attention, Product):
    x = torch.ones(1, 8, 8)
    analysis = FlopCountAnalysis(make(), x).unsupported_ops_warnings(False)
    seen[make.__name__] = {
        "torchinfo": torchinfo.summary(make(), (1, 8, 8), verbose=0).total_mult_adds,
        "thop": int(thop.profile(make(), inputs=(x,), verbose=False)[0]),
        "ptflops": ptflops.get_model_complexity_info(make(), (8, 8), **quiet)[0],
        "fvcore": analysis.total(),
        "torchprofile": torchprofile.profile_macs(make(), x),
    }
print(seen)
attention = list(seen["Attention"].values())
product = list(seen["Product"].values())
if attention != [64, 512, 512, 512, 1536] or product != [64, 0, 0, 512, 512]:
    sys.exit(f"changed: {seen}")
EOF
