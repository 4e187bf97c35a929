"""Scheduling: the jobs that arq runs, and the loop that keeps its worker running."""
