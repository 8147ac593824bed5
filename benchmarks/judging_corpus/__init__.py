"""Right and wrong implementations of many operators, for `benchmarks/judging.py`."""
