<<<<<<< HEAD
"""Off-policy evaluation: the log, the target policies, and the validation by replay."""
=======
"""Off-policy evaluation: the log, the policies to evaluate, and the validation by replay."""
>>>>>>> 825f16d (benchmarks: put docstrings, options and messages in plain English)
