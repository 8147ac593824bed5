"""Runs each attempt in a fresh process, monitors it, and records how it ended."""
