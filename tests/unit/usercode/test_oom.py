"""Every spelling of out-of-memory is told from every other error."""

from __future__ import annotations

import errno

import pytest

from orchestrator.usercode.oom import is_out_of_memory

OUT_OF_MEMORY = [
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB, 1.2 GiB of it free.",
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
    "cudaErrorMemoryAllocation: out of memory",
    "CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY",
    "Triton Error [CUDA]: out of memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
    "cuFFT error: CUFFT_ALLOC_FAILED",
    "NCCL error in: ProcessGroupNCCL.cpp:1970, unhandled cuda error\nLast error:\nFailed to CUDA calloc 4194304 bytes",
    "ncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\nCuda failure 2 'out of memory'",
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "4398046511104 bytes. Error code 12 (Cannot allocate memory)",
    "DefaultCPUAllocator: not enough memory: you tried to allocate 4398046511104 bytes.",
    "unable to mmap 4096 bytes from file </torch_1>: Cannot allocate memory (12)",
    "std::bad_alloc",
]

SOMETHING_ELSE = [
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: device-side assert triggered",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "out of resource: shared memory, Required: 264192, Hardware limit: 232448. Reducing block sizes may help.",
    "shape '[2, 3]' is invalid for input of size 7",
    "unsupported operation: some elements of the input tensor refer to a single memory location",
]


@pytest.mark.parametrize("message", OUT_OF_MEMORY)
def test_each_library_s_words_for_it_are_known(message: str) -> None:
    """A RuntimeError with an allocator's text is out-of-memory."""
    assert is_out_of_memory(RuntimeError(message))


@pytest.mark.parametrize("message", SOMETHING_ELSE)
def test_other_faults_are_not_taken_for_it(message: str) -> None:
    """Texts about memory, or from the same libraries, that mean another fault."""
    assert not is_out_of_memory(RuntimeError(message))


def test_types_count_whatever_they_say() -> None:
    """MemoryError, its kin, and any library's OutOfMemoryError; ENOMEM from the kernel."""
    foreign = type("OutOfMemoryError", (Exception,), {})
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(foreign("no words"))
    assert is_out_of_memory(OSError(errno.ENOMEM, "fork"))
    assert not is_out_of_memory(OSError(errno.ENOENT, "no such file"))


def test_a_remark_about_memory_is_no_exhaustion() -> None:
    """Only errors that allocators raise are read for their text."""
    assert not is_out_of_memory(ValueError("this would run out of memory: choose a smaller block"))
    assert not is_out_of_memory(KeyError("out of memory"))


def test_the_stated_cause_is_looked_at_and_the_context_is_not() -> None:
    """`raise X from oom` is out-of-memory; a bug in the handler of one is a bug."""
    wrapped = TypeError("compiling failed")
    wrapped.__cause__ = RuntimeError("CUDA out of memory")
    blunder = TypeError("the fallback is wrong")
    blunder.__context__ = RuntimeError("CUDA out of memory")
    assert is_out_of_memory(wrapped)
    assert not is_out_of_memory(blunder)
    assert is_out_of_memory(ExceptionGroup("ranks", [ValueError("x"), MemoryError()]))


def test_odd_exceptions_are_judged_without_raising() -> None:
    """A cycle of causes ends, and an exception that cannot be printed is not one."""

    class UnprintableError(RuntimeError):
        def __str__(self) -> str:
            raise ValueError("no")

    circle = ValueError("round")
    circle.__cause__ = ValueError("and round")
    circle.__cause__.__cause__ = circle
    assert not is_out_of_memory(circle)
    assert not is_out_of_memory(UnprintableError())
