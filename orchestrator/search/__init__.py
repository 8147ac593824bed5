"""Which trial next: a grid, a frontier, a search; peers behind one protocol."""
