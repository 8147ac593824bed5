"""Helpers that know nothing of sweeps: files, programs, units, and the base of stored models."""
