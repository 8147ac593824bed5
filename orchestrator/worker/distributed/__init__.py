"""A trial over ranks: one process each, rank 0 leads."""
