"""Turns attempts into records: `base` is the protocol, `inline` the shipped fake, `ray` real."""
