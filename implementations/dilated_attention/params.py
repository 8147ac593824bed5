"""Params of one trial of dilated attention, with every contradiction refused here. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

Count = Annotated[int, Field(ge=1)]
# a list serves: JSON and YAML have no tuples
Counts = Annotated[tuple[Count, ...], Field(min_length=1, strict=False)]


class DilatedAttentionParams(BaseModel):
    """One problem of dilated attention.

    Attributes:
        batch, seq_len, heads, head_dim: the shape of q, k and v is (batch, seq_len, heads,
            head_dim).
        segment_lengths: of each branch, in positions; each divides seq_len.
        dilation_rates: of each branch; every rate-th position of a segment takes part.
        dtype: of inputs, parameters and output.
        causal: a position attends to those not after it.
        mixing: head_groups (each head takes one branch) or lse (every head takes all, merged by
            their softmax sums).
        direction: forward, or forward_backward (the trial's call includes the gradients of inputs
            and parameters).
        matmul_precision: ieee, or tf32 for float32 products; no effect on the other dtypes.
        world_size: GPUs that share the sequence, the same number of positions each.
        ring_size: blocks that keys and values are taken in, of ceil(seq_len / ring_size) positions.
        device: where the trial runs; None: chosen by the run. No part of a trial's identity.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    batch: Count
    seq_len: Count
    heads: Count
    segment_lengths: Counts
    dilation_rates: Counts
    head_dim: Count = 64
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    causal: bool = False
    mixing: Literal["head_groups", "lse"] = "head_groups"
    direction: Literal["forward", "forward_backward"] = "forward"
    matmul_precision: Literal["ieee", "tf32"] = "ieee"
    world_size: Count = 1
    ring_size: Count = 1
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] | None = None

    @field_validator("segment_lengths")
    @classmethod
    def _divide_the_sequence(
        cls, lengths: tuple[int, ...], info: ValidationInfo
    ) -> tuple[int, ...]:
        seq_len = info.data.get("seq_len")
        if seq_len is None:  # it broke a rule of its own
            return lengths
        wrong = next((length for length in lengths if seq_len % length), None)
        if wrong is not None:
            raise ValueError(
                f"segment_lengths must each divide seq_len: {wrong} does not divide {seq_len}; "
                f"the nearest shorter length that does is {_divisor_below(wrong, seq_len)}"
            )
        return lengths

    @field_validator("dilation_rates")
    @classmethod
    def _fit_their_segments(cls, rates: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        lengths = info.data.get("segment_lengths")
        if lengths is None:
            return rates
        if len(rates) != len(lengths):
            raise ValueError(
                f"dilation_rates must have one rate per segment length: {len(rates)} rates {list(rates)} "
                f"for {len(lengths)} segment_lengths {list(lengths)}"
            )
        for rate, length in zip(rates, lengths, strict=True):
            if rate > length:
                raise ValueError(
                    f"dilation_rates must not exceed their segment length: rate {rate} with segment length {length}"
                )
        return rates

    @model_validator(mode="after")
    def _fits_its_heads_and_ranks(self) -> DilatedAttentionParams:
        if self.seq_len % self.world_size:
            raise ValueError(
                f"world_size must divide seq_len: {self.world_size} does not divide {self.seq_len}; each rank holds "
                "the same number of positions"
            )
        groups = len(self.segment_lengths)
        if self.mixing == "head_groups" and self.heads < groups:
            raise ValueError(
                f"heads must be at least the number of segment_lengths with mixing head_groups: {self.heads} heads "
                f"for {groups} groups; use more heads, fewer segment_lengths, or mixing lse"
            )
        return self


def _divisor_below(length: int, seq_len: int) -> int:
    """The largest divisor of seq_len not above length, as far as a bounded search finds one."""
    start = min(length, seq_len)
    return next((s for s in range(start, max(1, start - 100_000), -1) if seq_len % s == 0), 1)
