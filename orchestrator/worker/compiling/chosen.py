"""Which configurations autotuners chose in this process: Triton's own, and Inductor's of its
generated kernels.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

TRITON, INDUCTOR = "triton.runtime.autotuner", "torch._inductor.runtime.triton_heuristics"
MOST = 5  # kernels that are named
LONGEST = 200  # characters of one configuration


def chosen_configurations() -> tuple[str, ...]:
    """A note for each kernel that chose among several configurations, Triton's first.

    They are found among the objects that are alive: neither library keeps a list.
    """
    triton, inductor = _loaded(TRITON, "Autotuner"), _loaded(INDUCTOR, "CachingAutotuner")
    if triton is None and inductor is None:
        return ()
    notes: dict[str, None] = {}  # a set that keeps the order
    for one in gc.get_objects():
        kind = type(one)
        if kind is triton:
            notes |= dict.fromkeys(_of_triton(one))
        elif kind is inductor:
            notes |= dict.fromkeys(_of_inductor(one))
    kept = list(notes)[:MOST]
    more = len(notes) - len(kept)
    return (*kept, *([f"autotuned: {more} more kernels"] if more else []))


def _loaded(module: str, name: str) -> Any:
    """A class of a module that was imported already; None: nobody imported it."""
    return getattr(sys.modules.get(module), name, None)


def _of_triton(tuner: Any) -> list[str]:
    """For each key (shapes and dtypes, as the kernel's author chose) the configuration that won."""
    if len(getattr(tuner, "configs", ())) < 2:
        return []
    name = getattr(getattr(tuner, "base_fn", None), "__name__", "a kernel")
    won = getattr(tuner, "cache", {}).items()
    return [
        f"autotuned: {name} {_brief(key)} chose {_brief(config)} of {len(tuner.configs)}"
        for key, config in won
    ]


def _of_inductor(tuner: Any) -> list[str]:
    """The configuration that is left of those that were tried."""
    launchers: Any = getattr(tuner, "launchers", ())
    tried = len(getattr(tuner, "configs", None) or getattr(tuner, "compile_results", None) or ())
    if len(launchers) != 1 or tried < 2:
        return []
    name = getattr(getattr(tuner, "fn", None), "__name__", "a kernel")
    return [f"autotuned: Inductor's {name} chose {_brief(launchers[0].config)} of {tried}"]


def _brief(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
