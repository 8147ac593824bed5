"""Is this exception an out-of-memory, in whichever words its library says so? Torch need not be
imported.
"""

from __future__ import annotations

import errno
import re

# An allocator's refusal is a RuntimeError (or an OSError) in most libraries, so only its text
# tells. Texts: c10's CUDA and CPU allocators, the CUDA runtime and driver, cuBLAS, cuDNN 8 and 9,
# cuSOLVER, cuSPARSE, cuFFT, cuRAND, NCCL, the C++ runtime, and the kernel. Not among them: a kernel
# that asks for more shared memory or registers than the device has (Triton's OutOfResources), which
# no smaller neighbour would mend.
_TEXT = re.compile(
    r"""
      \bout\ of\ memory\b | out_of_memory\b | cudaErrorMemoryAllocation
    | (?:CUBLAS|CUDNN|CUSOLVER|CUSPARSE|CURAND|CUTENSOR|CUFFT)_(?:\w+_)?ALLOC(?:ATION)?_FAILED
    | \bfailed\ to\ cuda\ (?:host\ )?(?:calloc|malloc|alloc)
    | \b(?:can't|cannot|could\ not|unable\ to|failed\ to)\ allocate\ (?:[\w.]+\ ){0,6}memory\b
    | \bunable\ to\ mmap\b.*\bcannot\ allocate\b
    | DefaultCPUAllocator:\ not\ enough\ memory
    | \bstd::bad_alloc\b | \bbad\ allocation\b | RESOURCE_EXHAUSTED
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_TYPE_NAMES = frozenset({"OutOfMemoryError", "MemoryError"})
_MAX_CHAIN = 20


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether `exc`, or what it was explicitly raised from, says that host or device memory was
    exhausted.

    Goes by the names of the type's bases, by errno, and by the text of RuntimeError and OSError
    alone: a ValueError that talks of memory is its author's remark. A group of exceptions is one
    when any of its members is.
    """
    link: BaseException | None = exc
    for _ in range(_MAX_CHAIN):
        if link is None:
            return False
        if _says_so(link):
            return True
        link = link.__cause__
    return False


def _says_so(exc: BaseException) -> bool:
    if any(base.__name__ in _TYPE_NAMES for base in type(exc).__mro__):
        return True
    if isinstance(exc, BaseExceptionGroup):
        return any(is_out_of_memory(member) for member in exc.exceptions)
    if isinstance(exc, OSError) and exc.errno == errno.ENOMEM:
        return True
    return isinstance(exc, RuntimeError | OSError) and _TEXT.search(_text(exc)) is not None


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:  # noqa: BLE001 - a user's exception may have a broken __str__
        return ""
