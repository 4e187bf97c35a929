"""The three services: gateway, embedder and learner. They do not import one another."""

import shared as _shared  # noqa: F401 - before anything imports onnxruntime: it keeps that from calling home
