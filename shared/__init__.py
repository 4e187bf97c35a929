"""What the services have in common: the pure bandit, the ports, and the adapters behind them."""

import os

__version__ = "0.1.0"

# onnxruntime (fastembed brings it along) reports its use to its maker unless this is set before
# the first import of it; its API comes too late. `services` imports this package before anything else.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
