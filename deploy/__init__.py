"""Deployment: Docker Compose, Kubernetes, and the local stack of `make run`."""
