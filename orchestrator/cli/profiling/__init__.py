"""Finished sweeps under a profiler: rows, one row in a process of its own, counters."""
