"""The base of every stored model: frozen, strict, finite."""

from __future__ import annotations

from pydantic import (
    BaseModel,
    ConfigDict,
)


class FrozenModel(BaseModel):
    """Frozen, strict (a bool is no int), finite, and without unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
