"""A fresh process per attempt: the fork server, the child, the monitor, and the record of how it ended."""
