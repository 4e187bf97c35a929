"""Evaluations: which requests are evaluated, and their tasks on the way to the learner."""
