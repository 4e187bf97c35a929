"""The Qdrant REST routes that we use, served by the official in-process engine `qdrant-edge-py`."""
