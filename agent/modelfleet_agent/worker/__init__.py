"""The worker: a child process of serve that imports exactly one runtime and numpy, and holds one session."""
