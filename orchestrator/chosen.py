"""What a search chose, as `run --export FILE` writes it, for the implementation that uses it.

    from orchestrator.chosen import chosen

    def build(config):
        options = {**DEFAULTS, **chosen("best.json", config), **config.options}

It imports nothing but the standard library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT = 1
CASE_NAME = "name"  # of a sweep's case: a label of the point, which a config need not have


def chosen(
    file: str | Path, point: Mapping[str, Any] | object, implementation: str | None = None
) -> dict[str, Any]:
    """The options that a search found best at a point; {}: it did not search that point.

    Args:
        file: what `--export` wrote.
        point: params by name, or the config that `build` is given. A choice is for the point if it
            has every param that was not searched.
        implementation: the label in the sweep; None: there is only one in the file.

    Returns:
        Options by name. A searched axis that is a param is no option, and left out.

    Raises:
        ValueError: the file is no such file, or has several implementations and none is named.
        OSError: the file cannot be read.
    """
    choices = _choices(Path(file))
    labels = sorted({choice["implementation"] for choice in choices})
    if implementation is None and len(labels) > 1:
        raise ValueError(f"{file} has choices for {', '.join(labels)}: name the implementation")
    for choice in choices:
        named = implementation in (None, choice["implementation"])
        if named and all(_is(point, name, value) for name, value in choice["params"].items()):
            return dict(choice["options"])
    return {}


def _choices(file: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(file.read_bytes())
        if found["format"] != FORMAT:
            raise ValueError(f"it has format {found['format']}, known is {FORMAT}")
        return list(found["choices"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is not what `run --export` writes: {error}") from None


def _is(point: Mapping[str, Any] | object, name: str, value: Any) -> bool:
    """Whether the point has this value: lists may be tuples, and a dtype torch's own.

    A point that lacks the param is another point: what was chosen elsewhere may not be right there.
    """
    held = point if isinstance(point, Mapping) else vars(point)
    if name not in held:
        return name == CASE_NAME
    found = held[name]
    if isinstance(found, tuple | list):
        return isinstance(value, list) and list(found) == value
    return bool(found == value) or str(found) == f"torch.{value}"
