"""Hook of parallel test runs (`pytest -n`): a range of ports of its own for each worker."""

from __future__ import annotations

import itertools
import random

import pytest

from deploy.local import servers


def pytest_configure(config: pytest.Config) -> None:
    """Take a range of ports in a worker of pytest-xdist."""
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        number, workers = int(workerinput["workerid"].removeprefix("gw")), int(workerinput["workercount"])
        size = servers.PORTS // workers
        servers._turn = itertools.count(number * size + random.randrange(size // 2))
