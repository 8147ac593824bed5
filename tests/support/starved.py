"""The tiny workload with references that ask for more memory than there is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from orchestrator.workload import Problem
from tests.support.matmul import WORKLOAD

FEW_FLOPS = 1e9


def _for_all_rows(problem: Problem) -> Any:
    if problem.max_flops > FEW_FLOPS:
        torch.empty(2**60)
    return WORKLOAD.reference(problem)


def _always(problem: Problem) -> Any:
    return torch.empty(2**60)


NEEDS_TOO_MUCH_FOR_ALL_ROWS = replace(WORKLOAD, reference=_for_all_rows)
NEEDS_TOO_MUCH = replace(WORKLOAD, reference=_always)
