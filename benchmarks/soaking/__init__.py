"""Parts of the soak: load, watching processes, and the account at the end."""
