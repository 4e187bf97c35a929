"""Parts of the soak: load, watching of processes, and the final account."""
