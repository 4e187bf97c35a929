"""Offline replay of recorded outcomes: streams, players, figures."""
