"""Reports over several sweeps: a row over time, and sweeps side by side."""
