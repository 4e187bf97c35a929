"""Local Qdrant engine: the REST routes that the router uses, on the official in-process engine `qdrant-edge-py`."""
