"""Ways in which kernels have cheated benchmarks in public, tried against this harness:
`orchestrator cheats`.
"""
