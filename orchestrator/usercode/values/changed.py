"""The inputs that a reference changes, where nothing states them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.usercode.functions import Functions
    from orchestrator.workload import Config


class Changed(Sequence[str]):
    """The names of the inputs that a reference changes, found once they are asked for.

    Args:
        calls: the functions of the workload.
    """

    def __init__(self, calls: Functions) -> None:
        self._calls = calls
        self._found: tuple[str, ...] = ()
        self._of: Config | None = None

    def _names(self) -> tuple[str, ...]:
        config = self._calls.latest_config
        if config is not self._of:  # of another trial
            self._found, self._of = self._calls.changed(), config
        return self._found

    def __getitem__(self, index: Any) -> Any:
        return self._names()[index]

    def __len__(self) -> int:
        return len(self._names())
