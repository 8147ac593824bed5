"""Environment variables that change results: of CUDA, torch, Triton and their libraries."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

PREFIXES = (
    "CUBLAS", "CUDA_", "CUDNN_", "GOMP_", "KMP_", "MALLOC_", "MKL_", "NCCL_",
    "NVIDIA_TF32", "NVTE_", "OMP_", "OPENBLAS_", "PYTORCH_", "TORCH_", "TORCHINDUCTOR_", "TRITON_",
)  # fmt: skip
LIBRARIES = frozenset({"LD_PRELOAD"})
# Set by the harness or by Ray for each process; threads, cards and how ranks meet are recorded
# elsewhere.
OURS = frozenset({
    "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
    "NCCL_SOCKET_IFNAME", "PYTORCH_NVML_BASED_CUDA_CHECK",
})  # fmt: skip
MAX_VALUE = 200

# The place of a cache does not change results, and a secret must not be written down.
_PLACE = re.compile(r"(_HOME|_PATH|_DIR|_FOLDER|_FILE|_ROOT)$")
_SECRET = re.compile(r"PASS|TOKEN|SECRET|CREDENTIAL|_KEY$", re.IGNORECASE)


def decisive(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Name -> value of the variables that two results must share.

    Args:
        environment: variables to choose from; None: those of this process.
    """
    if environment is None:
        environment = os.environ
    found = {}
    for name, value in sorted(environment.items()):
        counts = name.startswith(PREFIXES) or name in LIBRARIES
        if counts and name not in OURS and not _PLACE.search(name) and not _SECRET.search(name):
            found[name] = value[:MAX_VALUE]
    return found
