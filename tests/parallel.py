"""Hooks of parallel test runs (`pytest -n`): ports of its own for each worker, and tests that run while no other does.

A test marked `serial` measures time, memory or the whole machine. Two lock files give it the machine: each other test
holds `running` shared, a serial one holds it exclusively, and both take `queue` first, so that no stream of ordinary
tests keeps a serial one waiting. The locks are taken outside of the test's timeout.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import random
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local import servers

LOCKS = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder of the locks in the controller; learn of it, and take a range of ports, in a worker."""
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        config.stash[LOCKS] = Path(workerinput["locks"])
        number, workers = int(workerinput["workerid"].removeprefix("gw")), int(workerinput["workercount"])
        size = servers.PORTS // workers
        servers._turn = itertools.count(number * size + random.randrange(size // 2))
    elif getattr(config.option, "numprocesses", None):
        config.stash[LOCKS] = Path(tempfile.mkdtemp(prefix="llm-router-tests-"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder of the locks in the controller."""
    if LOCKS in config.stash and not hasattr(config, "workerinput"):
        shutil.rmtree(config.stash[LOCKS], ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker where the locks are; a hook of pytest-xdist."""
    node.workerinput["locks"] = str(node.config.stash[LOCKS])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test beside others, or alone where it is marked `serial`."""
    folder = item.config.stash.get(LOCKS, None)
    if folder is None:
        return (yield)
    alone = item.get_closest_marker("serial") is not None
    with _locked(folder / "running", folder / "queue", exclusively=alone):
        return (yield)


@contextlib.contextmanager
def _locked(running: Path, queue: Path, *, exclusively: bool) -> Iterator[None]:
    descriptor = os.open(running, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        turn = os.open(queue, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            fcntl.flock(descriptor, fcntl.LOCK_EX if exclusively else fcntl.LOCK_SH)
        finally:
            os.close(turn)
        yield
    finally:
        os.close(descriptor)
