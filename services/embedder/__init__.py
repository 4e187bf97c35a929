"""Texts in, vectors out, micro-batched."""
