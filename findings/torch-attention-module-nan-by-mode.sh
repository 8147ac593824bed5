#!/usr/bin/env bash
# torch 2.13.0, CPU: MultiheadAttention gives 0 or NaN for a padded sequence, by whether gradients
# are recorded.
#
# In eval mode without gradients the module takes a fast path of its own. A sequence whose keys are
# all padding is then NaN; in training, and in eval mode with gradients recorded, it is 0 before
# the output projection. So a model that trains, and whose evaluation was tried in a debugger, is
# NaN under torch.no_grad(). An encoder with its default enable_nested_tensor takes that path too:
# the outputs at padded positions are exactly 0 there and are not without.
#
# Seen for one sequence of four padded positions: training finite, eval finite, eval under no_grad
# NaN. TransformerEncoder, last of 4 positions padded: 0 under no_grad, else not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys
import warnings

import torch

warnings.simplefilter("ignore")
torch.manual_seed(0)
module = torch.nn.MultiheadAttention(8, 2, batch_first=True)
layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
encoder = torch.nn.TransformerEncoder(layer, 1).eval()
x = torch.randn(1, 4, 8)
padded = torch.ones(1, 4, dtype=torch.bool)
last = torch.tensor([[False, False, False, True]])


def kind():
    output = module(x, x, x, key_padding_mask=padded, need_weights=False)[0]
    return "nan" if output.isnan().all() else "finite" if output.isfinite().all() else "mixed"


def tail():
    return "0" if (encoder(x, src_key_padding_mask=last)[0, 3] == 0).all() else "not 0"


seen = {"training": kind()}
module.eval()
seen["eval"], seen["encoder"] = kind(), tail()
with torch.no_grad():
    seen["eval, no_grad"], seen["encoder, no_grad"] = kind(), tail()
print(seen)
if list(seen.values()) != ["finite", "finite", "not 0", "nan", "0"]:
    sys.exit("changed")
EOF
