"""Prints the path of the Python interpreter for `.venv`: `python3 deploy/interpreter.py`.

It is the first supported version on this machine that has `venv` and was built with profile-guided optimisation, as
those of distributions and official images are; else the first without it, which is slower
(docs/performance/design.md has figures). Runs under any Python from 3.7 on.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig

OLDEST, NEWEST = (3, 11), (3, 13)
NAMES = ("python3", "/usr/bin/python3", "python3.13", "python3.12", "python3.11")


def optimised() -> bool:
    """Whether the running Python was built with profile-guided optimisation, as far as it reports."""
    # Debian's does not report its options; distributions build the Python in /usr with it.
    named = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return named or sys.base_prefix == "/usr"


def usable() -> bool:
    """Whether the running Python is of a supported version and can create a virtual environment."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return False
    try:
        import ensurepip  # noqa: F401, PLC0415 - Debian packs it apart
        import venv  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True


def choose(names: tuple[str, ...] = NAMES) -> str:
    """Return the path of the best Python among `names`; the first name when none is usable."""
    found = [path for path in map(shutil.which, names) if path is not None]
    known = {path: _verdict(path) for path in found}
    for verdict in ("optimised", "usable"):
        for path in found:
            if known[path] == verdict:
                return path
    return names[0]


def _verdict(path: str) -> str:
    done = subprocess.run([path, __file__, "verdict"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return done.stdout.decode().strip()


if __name__ == "__main__":
    if sys.argv[1:] == ["verdict"]:
        print("unusable" if not usable() else "optimised" if optimised() else "usable")
    else:
        print(choose())
