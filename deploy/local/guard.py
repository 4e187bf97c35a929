"""Leads the process group of a stack and kills it as soon as its standard input closes.

The supervisor holds the other end, so the kernel closes it whatever the supervisor dies of, `kill -9` included. Works
wherever there are process groups; Linux' parent-death signal would miss grandchildren and other systems. Run as a
file, without the project: it must start fast and import nothing.
"""

import os
import signal
import sys
import time


def main() -> None:
    """Wait for the end of standard input, then kill the group."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while sys.stdin.buffer.read(4096):
        pass
    time.sleep(0.05)  # a child forked at the last moment joins the group first
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
