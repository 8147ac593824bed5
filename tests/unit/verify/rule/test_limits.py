"""The limits: what passes, what cannot hide, and where the finding points."""

from __future__ import annotations

import pytest
import torch

from orchestrator.verify.rule import spread as spread_module
from orchestrator.verify.rule.limits import (
    Examination,
    gain_floor,
    within_half_ulp,
)
from orchestrator.verify.rule.spread import CHUNK, Rows, Spread

GAIN = 2.0**-8


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows_of(values: torch.Tensor, dtype: torch.dtype = torch.bfloat16) -> Rows:
    """All rows of an output."""
    leading = values.shape[:-1]
    index = (
        torch.meshgrid(*(torch.arange(size) for size in leading), indexing="ij") if leading else ()
    )
    flat = values.reshape(-1, values.shape[-1])
    return Rows(flat, dtype, tuple(one.reshape(-1) for one in index), tuple(leading))


def spread_of(rows: Rows, size: float = 0.01, draws: int = 8) -> Spread:
    """Draws that lie `size` from the values."""
    spread = Spread(rows)
    for seed in range(draws):
        spread.add(rows.values + size * random(*rows.values.shape, seed=100 + seed))
    return spread


def worst(actual: torch.Tensor, rows: Rows, spread: Spread, gain: float | None = GAIN):
    examination = Examination(spread, gain_floor=gain)
    for part in rows.chunks():
        examination.add(part, actual[part])
    return examination.result()


def test_noise_of_its_own_size_passes() -> None:
    """An output that errs as the draws do takes a good part of the limit of the whole, and no more."""
    rows = rows_of(random(40, 96))
    found = worst(rows.values + 0.01 * random(40, 96, seed=1), rows, spread_of(rows))
    assert 0.5 < found.worst.share < 1
    assert found.wrong == 0


@pytest.mark.parametrize(
    ("where", "group", "at"),
    [
        ((3, 17), "element", (3, 17)),
        ((5, slice(64, 96)), "tile", (5, 1)),
        ((9, slice(None)), "row", (9,)),
        ((slice(None), 33), "column", (33,)),
        ((slice(None), slice(None)), "whole", (0,)),
    ],
)
def test_an_error_is_found_in_its_group(where, group: str, at: tuple[int, ...]) -> None:
    """One element off by 20 units, a tile by 10, a slice by 7, the whole by 2: each is found where
    it is.
    """
    rows = rows_of(random(40, 96))
    units = {"element": 20, "tile": 10, "row": 7, "column": 7, "whole": 2}[group]
    actual = rows.values.clone()
    signs = random(*actual[where].shape, seed=2).sign() if actual[where].ndim else 1
    actual[where] += signs * units * 0.01
    found = worst(actual, rows, spread_of(rows))
    (finding,) = [one for one in found.findings if one.group == group]
    assert finding.share > 1
    assert finding.at == at


def test_an_index_of_a_leading_dimension_is_a_group() -> None:
    """One head of many rows, off by seven units."""
    values = random(2, 50, 4, 8)
    rows = rows_of(values)
    actual = values.clone()
    actual[:, :, 3] += 0.07 * random(2, 50, 8, seed=3).sign()
    found = worst(actual.reshape(-1, 8), rows, spread_of(rows))
    (finding,) = [one for one in found.findings if one.group == "dim 2"]
    assert finding.share > 1
    assert finding.at == (3,)


@pytest.mark.slow
def test_a_factor_is_found_though_it_is_smaller_than_the_noise() -> None:
    """A tenth of a percent of every value, where values err by one percent at random."""
    rows = rows_of(random(1000, 1000), torch.float32)
    actual = rows.values * 1.001 + 0.01 * random(1000, 1000, seed=1)
    found = worst(actual, rows, spread_of(rows), gain=2.0**-20)
    assert found.worst.group == "gain"
    assert found.worst.share > 1
    assert worst(actual, rows, spread_of(rows), gain=None).worst.share < 1


def test_a_small_element_beside_large_ones_is_judged_by_half_of_the_typical_noise() -> None:
    """A value that cancels to nothing is not all wrong for an error that its neighbours have."""
    rows = rows_of(random(40, 96))
    spread = spread_of(rows)
    rows.values[7] = 0
    spread.squares[7] = 0
    actual = rows.values.clone()
    actual[7] += 0.01 * random(96, seed=4)
    assert worst(actual, rows, spread).worst.share < 1


@pytest.mark.parametrize("chunk", [1, 7, 100, CHUNK])
def test_findings_do_not_depend_on_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the rows are walked through."""
    rows = rows_of(random(4, 10, 130))
    actual = rows.values + 0.02 * random(40, 130, seed=1)
    expected = worst(actual, rows, spread_of(rows))
    monkeypatch.setattr(spread_module, "CHUNK", chunk)
    found = worst(actual, rows, spread_of(rows))
    for one, other in zip(expected.findings, found.findings, strict=True):
        assert (one.group, one.at) == (other.group, other.at)
        assert one.share == pytest.approx(other.share)


def test_half_an_ulp_needs_no_draw() -> None:
    """What is rounded to the nearest is right; one ulp further is open."""
    rows = rows_of(random(10, 10))
    rounded = rows.values.bfloat16().double()
    assert within_half_ulp(rows, slice(0, 10), rounded)
    rounded[3, 3] *= 1 + 2.0**-7
    assert not within_half_ulp(rows, slice(0, 10), rounded)


def test_the_gain_floor_follows_dtype_and_precision() -> None:
    """A constant's own rounding: of the coarser of output and working dtype; truncated operands in
    tf32.
    """
    assert gain_floor(torch.bfloat16, 2.0**-8, "bfloat16") == 2.0**-8
    assert gain_floor(torch.float32, 2.0**-24, "float32") == 2.0**-18  # accumulators that cut
    assert gain_floor(torch.float32, 2.0**-8, "bfloat16") == 2.0**-8
    assert gain_floor(torch.float32, 2.0**-24, "tf32") == 2.0**-8


def test_a_single_number_and_no_rows_at_all_are_judged() -> None:
    """Shapes without a row or a column to speak of."""
    one = rows_of(random(1, 1), torch.float32)
    assert worst(one.values + 0.5, one, spread_of(one)).worst.share > 1
    assert worst(one.values + 0.02, one, spread_of(one)).worst.share < 1
    line = rows_of(random(5000).reshape(1, -1), torch.float32)
    assert (
        worst(line.values + 0.02 * random(1, 5000, seed=9), line, spread_of(line)).worst.share > 1
    )


def test_of_one_draw_the_noisiest_row_is_chance_and_of_four_it_counts() -> None:
    """A row that is wrong by half hid in what the largest of a hundred rows happened to be."""
    rows = Rows(torch.ones(4, 8, dtype=torch.float64), torch.float32, (), ())
    away = torch.tensor([0.1, 0.1, 0.1, 0.5], dtype=torch.float64)[:, None].expand(4, 8)
    spread = Spread(rows)
    spread.add(rows.values + away)
    assert spread.like_the_noisiest(rows).squares.max() == pytest.approx(0.07)
    for _ in range(3):
        spread.add(rows.values + away)
    assert spread.like_the_noisiest(rows).squares.max() == pytest.approx(0.25)
