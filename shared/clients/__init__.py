"""Adapters of the ports that speak HTTP to a service: the upstream and the embedder."""
