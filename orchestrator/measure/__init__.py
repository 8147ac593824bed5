"""Clocks, the measuring protocol, memory and energy."""
