"""Whether an output is right: the verifier, its fallbacks, its rules."""
