"""The chat use case: context, selection of a model, fallback, streaming, and the record."""
