"""A process that gets many stop signals until its end."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, uvloop
from shared.stop_signals import stop_event

async def main():
    stop = stop_event()
    print("ready", flush=True)
    await stop.wait()

uvloop.run(main())
import time
time.sleep(0.2)  # all done, and not gone yet
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_with_many_stop_signals_ends_by_itself(number: signal.Signals) -> None:
    """Exit code 0 and nothing said, whenever the later signals come."""
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        while process.poll() is None:
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.001)
        assert (process.returncode, process.stdout.read()) == (0, b"")
