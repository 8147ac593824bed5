"""The rule of verification: errors in units of the noise that rounding explains, and its limits."""
