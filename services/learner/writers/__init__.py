"""Writers of what can be written later: points to Qdrant, history to PostgreSQL."""
