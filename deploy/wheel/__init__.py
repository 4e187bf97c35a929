"""The wheel: its build hook, its entry point, and its trial in a bare environment."""
