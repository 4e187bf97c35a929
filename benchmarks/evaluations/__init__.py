"""Off-policy evaluation: the log, the policies to judge, the check by replay."""
