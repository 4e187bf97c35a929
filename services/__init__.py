"""The three processes. They never import one another; only `app.py` and `worker.py` name concrete adapters."""
