"""Measurements and the simulated upstream. The product never imports this package."""
