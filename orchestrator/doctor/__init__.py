"""What `doctor` looks at: the GPUs, the machine around them, and the services a sweep talks to."""
