"""What the terminal shows while a sweep runs."""
