"""The embedder: an HTTP service that turns texts into vectors, in micro-batches."""
