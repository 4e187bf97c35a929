<<<<<<< HEAD
"""Offline replay of recorded outcomes: streams, policies, figures."""
=======
"""Offline replay of recorded outcomes: streams, players, statistics."""
>>>>>>> 825f16d (benchmarks: put docstrings, options and messages in plain English)
