"""Problems in the formats of other benchmarks, as workloads: one module a format."""
