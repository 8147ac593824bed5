"""Environment variables that change what is measured: those of CUDA, torch, Triton and the libraries below them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

PREFIXES = (
    "CUBLAS", "CUDA_", "CUDNN_", "GOMP_", "KMP_", "MALLOC_", "MKL_", "NCCL_", "NVIDIA_TF32", "NVTE_", "OMP_",
    "OPENBLAS_", "PYTORCH_", "TORCH_", "TORCHINDUCTOR_", "TRITON_",
)  # fmt: skip
LIBRARIES = frozenset({"LD_PRELOAD"})
# Set by the harness or by Ray for each process, and said elsewhere: threads, cards, how ranks meet.
OURS = frozenset({
    "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
    "NCCL_SOCKET_IFNAME", "PYTORCH_NVML_BASED_CUDA_CHECK",
})  # fmt: skip
MAX_VALUE = 200

# Where something is kept does not change what it does; nor is a secret to be written down.
_PLACE = re.compile(r"(_HOME|_PATH|_DIR|_FOLDER|_FILE|_ROOT)$")
_SECRET = re.compile(r"PASS|TOKEN|SECRET|CREDENTIAL|_KEY$", re.IGNORECASE)


def decisive(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Name -> value of the variables that two results must share; by default those of this process.

    Args:
        environment: variables to choose from.
    """
    found = {}
    for name, value in sorted((os.environ if environment is None else environment).items()):
        counts = name.startswith(PREFIXES) or name in LIBRARIES
        if counts and name not in OURS and not _PLACE.search(name) and not _SECRET.search(name):
            found[name] = value[:MAX_VALUE]
    return found
