"""Deployment: docker-compose for operators, and the local stack with simulator and demo for development."""
