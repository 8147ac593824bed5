"""Recognises errors that leave a CUDA context unusable until its process ends."""

from __future__ import annotations

import re

from orchestrator.outcome import DEVICE_FAULT, Outcome
from orchestrator.record import TrialRecord

# CUDA 700, 702, 710, 714 to 719 and 214, in the words of the runtime, of the driver and of NVML's
# log.
_TEXT = re.compile(
    r"""
      \billegal\ memory\ access\b | \billegal\ address\b | \bdevice-side\ assert\b
    | \blaunch\ timed\ out\b | \bunspecified\ launch\ failure\b | \bhardware\ stack\ error\b
    | \billegal\ instruction\b | \bmisaligned\ address\b
    | \binvalid\ (?:address\ space|program\ counter)\b | \buncorrectable\ (?:ECC|NVLink)\b
    | \bfallen\ off\ the\ bus\b | \bCUDA\ error\ 7(?:00|02|1[04-9])\b
    | cudaError(?:IllegalAddress|LaunchTimeout|Assert|HardwareStackError|IllegalInstruction
        |MisalignedAddress|InvalidAddressSpace|InvalidPc
        |LaunchFailure|ECCUncorrectable|NvlinkUncorrectable)
    | CUDA_ERROR_(?:ILLEGAL_ADDRESS|LAUNCH_TIMEOUT|ASSERT|HARDWARE_STACK_ERROR|ILLEGAL_INSTRUCTION
        |MISALIGNED_ADDRESS|INVALID_ADDRESS_SPACE|INVALID_PC
        |LAUNCH_FAILED|ECC_UNCORRECTABLE|NVLINK_UNCORRECTABLE)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_MAY_BE = frozenset({Outcome.FAILED, Outcome.CRASHED})


def is_device_fault(record: TrialRecord) -> bool:
    """Whether the attempt ended with an error that leaves a CUDA context unusable."""
    if (
        record.error is None
        or record.outcome not in _MAY_BE
        or not record.device.startswith("cuda")
    ):
        return False
    return _TEXT.search(f"{record.error.kind}: {record.error.message}") is not None


def noted(record: TrialRecord, unclean: str = "") -> TrialRecord:
    """The record with the note, if it is a device fault, or if the device is `unclean` (why)."""
    if DEVICE_FAULT in record.notes or not (unclean or is_device_fault(record)):
        return record
    return record.model_copy(update={"notes": (*record.notes, DEVICE_FAULT)})
