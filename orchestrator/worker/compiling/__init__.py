"""What compilers did for a trial: the configurations they chose, and how long they took."""
