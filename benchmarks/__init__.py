"""Measurements: load, replay, evaluation and soak. The product never imports this package."""
