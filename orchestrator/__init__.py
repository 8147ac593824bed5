"""A sweep orchestrator: which GPU implementation is right, which fits, and which is fast.

    from orchestrator import Sweep, run

    results = run(Sweep.load("sweeps/quick.yaml"))
    print(results.table())

What stands in `__all__` is the Python interface; `orchestrator.workload` is the one for workloads
and implementations. Each name is imported when it is first asked for, so that neither costs the
other's imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import Results, load, resume, run
    from orchestrator.plan.sweep import Sweep
    from orchestrator.usercode.recorded import recorded

__version__ = "0.1.0"
__all__ = ["Results", "Sweep", "load", "recorded", "resume", "run"]

_HOMES = {
    "Results": "orchestrator.api",
    "Sweep": "orchestrator.plan.sweep",
    "load": "orchestrator.api",
    "recorded": "orchestrator.usercode.recorded",
    "resume": "orchestrator.api",
    "run": "orchestrator.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__doc__", "__version__"])
