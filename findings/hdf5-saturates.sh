#!/usr/bin/env bash
# h5py 3.16.0, zarr 3.1.6, numpy 2.4.6: writing 300 into a uint8 dataset stores 255 by h5py and 44
# by zarr.
#
# HDF5 converts between types by itself and saturates; zarr and an assignment in numpy wrap. -1
# becomes 0 or 255, and infinity the largest or the smallest integer. Nothing warns of the
# integers, in any of the three, so a file moved from one format to the other by a script that sets
# the dtype changes its values.
#
# Seen for 300, -1, 256 into uint8: h5py 255, 0, 255; zarr and numpy 44, 255, 0. For 1e10, inf into
# int32: h5py 2147483647 twice, zarr not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet h5py==3.16.0 zarr==3.1.6 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys
import warnings

import h5py
import numpy as np
import zarr

warnings.simplefilter("ignore")


def stored(dtype, values):
    values = np.array(values)
    with h5py.File("f.h5", "w") as file:
        ours = file.create_dataset("x", values.shape, dtype)
        ours[...] = values
        theirs = zarr.create_array(zarr.storage.MemoryStore(), shape=values.shape, dtype=dtype)
        theirs[...] = values
        plain = np.empty(values.shape, dtype)
        plain[...] = values
        return [array.tolist() for array in (ours[...], theirs[...], plain)]


integers, floats = stored("u1", [300, -1, 256]), stored("i4", [1e10, np.inf])
print("(h5py, zarr, numpy):", integers, floats)
if integers != [[255, 0, 255], [44, 255, 0], [44, 255, 0]] or (
    floats[0] != [2**31 - 1] * 2 or floats[1] == floats[0]
):
    sys.exit("changed")
EOF
