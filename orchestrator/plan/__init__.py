"""Expands a sweep file into its trials."""
