"""HTTP adapters of the ports: clients of the upstream and of the embedder."""
