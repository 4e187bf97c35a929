"""Deployment: Docker Compose, and the local stack of `make run`."""
