"""The machine: its environment, NVML, peak rates and their microbenchmarks."""
