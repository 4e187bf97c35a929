"""The feedback use case, and signed links for ratings without a key."""
