"""What the services have in common: the pure bandit, the ports, and the adapters behind them."""

__version__ = "0.1.0"
