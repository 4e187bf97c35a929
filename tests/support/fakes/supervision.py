"""A supervisor whose counter belongs to no process."""

from prometheus_client import CollectorRegistry

from shared.metrics import ProcessMetrics
from shared.resilience.supervision import Supervisor


def new_supervisor() -> Supervisor:
    """Return one."""
    return Supervisor(ProcessMetrics(CollectorRegistry()).restarts)
