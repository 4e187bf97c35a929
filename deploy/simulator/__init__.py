"""A simulated upstream: OpenAI-compatible, with OpenRouter's model list, prices and `usage.cost`.

It costs nothing, needs no network, and misbehaves on request, which no real upstream does.
"""
