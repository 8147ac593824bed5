"""One row by itself: tried in this process, or as a script; its first wrong elements."""
