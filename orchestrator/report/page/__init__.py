"""Pages to be opened in a browser: a sweep's report.html, and a comparison of two sweeps."""
