"""Local stack of `make run`: every part as a process, without Docker and without a key."""
