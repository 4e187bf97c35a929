"""The three processes. They never import one another; only `app.py` and `worker.py` name concrete adapters."""

import shared as _shared  # noqa: F401 - before anything imports onnxruntime: it keeps that from calling home
