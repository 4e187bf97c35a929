"""The local stack of `make run`: every part as a process, no Docker, no key."""
