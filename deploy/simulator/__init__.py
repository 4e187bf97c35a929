"""Simulated upstream: OpenAI-compatible, with OpenRouter's model list, prices and `usage.cost`.

It costs nothing, needs no network, and injects faults on request.
"""
