"""Offline replay of recorded or made-up outcomes: streams, policies, figures, comparison."""
