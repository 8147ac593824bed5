"""One sweep, driven to its end: the queue of attempts, retries, staleness, and the loop that
journals.
"""
