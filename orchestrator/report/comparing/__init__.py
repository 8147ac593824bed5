"""A comparison of two sweeps as text, Markdown and files."""
