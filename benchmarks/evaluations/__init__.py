"""Off-policy evaluation: the log, the target policies, and the validation by replay."""
