#!/usr/bin/env bash
# scipy 1.17.1: the distance of uint8 0 and 1 is 255 by five functions, and 1 by six others and by
# cdist.
#
# scipy.spatial.distance.euclidean, cityblock, chebyshev, minkowski, seuclidean and mahalanobis
# subtract unsigned vectors as they are, so a negative difference wraps. sqeuclidean, canberra,
# braycurtis, cosine and correlation convert first; so do cdist and pdist, for every metric.
# euclidean is then not the root of sqeuclidean.
#
# Seen for [0, 5] and [1, 3]: euclidean 255.008 (cdist 2.236), cityblock 257 (3), chebyshev 255
# (2), minkowski 255.008, seuclidean 255.008; sqeuclidean 5.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet scipy==1.17.1 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import numpy as np
from scipy.spatial import distance

u, v = np.uint8([0, 5]), np.uint8([1, 3])
seen = {}
for name in ("euclidean", "cityblock", "chebyshev", "minkowski", "sqeuclidean", "canberra"):
    results = getattr(distance, name)(u, v), distance.cdist([u], [v], name)[0, 0]
    seen[name] = [round(float(result), 3) for result in results]
seen["seuclidean"] = [round(float(distance.seuclidean(u, v, [1, 1])), 3), 2.236]
print("(function, cdist):", seen)
if list(seen.values()) != [
    [255.008, 2.236],
    [257, 3],
    [255, 2],
    [255.008, 2.236],
    [5, 5],
    [1.25, 1.25],
    [255.008, 2.236],
]:
    sys.exit("changed")
EOF
