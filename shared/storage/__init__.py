"""Adapters of the storage ports: Redis, Qdrant, PostgreSQL."""
