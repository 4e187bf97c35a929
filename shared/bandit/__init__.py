"""Contextual bandit: pure functions of frozen values. No I/O, no clock, no global random state."""
