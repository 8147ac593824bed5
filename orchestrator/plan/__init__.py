"""From the sweep file to its trials."""
