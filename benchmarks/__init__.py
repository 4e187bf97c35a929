"""Measurements: load, replay, off-policy evaluation, soak. Neither product nor deployment imports this package."""
