"""Two sweeps row by row, and two implementations interleaved in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.compare.comparison import Comparison, Verdict, compare

__all__ = ["Comparison", "Verdict", "compare"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from orchestrator.compare import comparison  # when asked for: its parts are imported one by one

    return getattr(comparison, name)
