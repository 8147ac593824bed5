"""Inside a trial's own process: its stages, from build to the record."""
