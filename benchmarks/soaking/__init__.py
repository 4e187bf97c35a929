"""Soak test: load, process monitoring, and the check of the records."""
