"""A sweep orchestrator: which GPU implementation is right, which fits, and which is fast."""

__version__ = "0.1.0"
