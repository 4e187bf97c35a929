"""Guard process: leads the process group of a stack and kills the group when its standard input closes.

The supervisor holds the other end of the pipe, which the kernel closes however the supervisor dies, `kill -9` included.
This works wherever there are process groups; Linux's parent-death signal would miss grandchildren. The file is run
without the project, so that it starts fast.
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
