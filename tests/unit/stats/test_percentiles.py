"""Percentiles are those that NumPy gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.stats.percentiles import percentile

TIMES = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=50)


@given(TIMES, st.floats(0, 1))
def test_they_are_what_numpy_gives(values: list[float], share: float) -> None:
    """By linear interpolation, for any number of values."""
    expected = float(np.quantile(values, share))
    assert percentile(sorted(values), share) == pytest.approx(expected)
