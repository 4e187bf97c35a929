"""Offline replay of recorded outcomes: streams, policies, figures."""
