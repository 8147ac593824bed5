"""Holds one slot: isolates each attempt, monitors the machine, calibrates and checks the device."""
