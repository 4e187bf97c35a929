"""Limits: admission, quotas, budgets, circuit breakers, and learned limits of models."""
