"""Executors turn attempts into records: `base` is the protocol, `inline` the shipped fake, `ray` the real one."""
