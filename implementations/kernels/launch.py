"""Launches a Triton kernel with little host work: keeps what was compiled for its arguments."""

from __future__ import annotations

from typing import Any

Grid = tuple[int, int, int]


class Launch:
    """One kernel with its constants, for arguments that Triton compiles alike.

    Triton derives from every call's arguments (types, alignment, divisibility) which compiled
    kernel serves them, some 20 microseconds of Python. Whoever holds a Launch vouches that the
    arguments of all its calls are alike in that.
    """

    def __init__(
        self,
        kernel: Any,
        grid: Grid,
        constants: dict[str, Any],
        options: dict[str, int],
        reuse: bool = True,
    ) -> None:
        self._kernel, self._grid = kernel, grid
        self._constants, self._options = constants, options
        self._reuse = reuse
        self._compiled: Any = None
        self._values = tuple(constants.values())

    def __call__(self, *arguments: Any) -> None:
        """Launch on the current stream; arguments before constants, in the kernel's order."""
        if self._compiled is not None:
            self._compiled(*arguments, *self._values)
            return
        compiled = self._kernel[self._grid](*arguments, **self._constants, **self._options)
        if self._reuse and compiled is not None:  # None in the interpreter
            self._compiled = compiled[self._grid]
