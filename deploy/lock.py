"""Command `make lock`: resolves `pyproject.toml` and `data.in` to locked, hashed versions for every platform.

uv resolves (in universal mode: one lock for all systems and Python 3.11 to 3.13); plain pip installs. Locks constrain
one another, so that the tested versions are those that run. The files have neither an index address nor a path of the
machine that wrote them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path("deploy/requirements")
OPTIONS = (
    "--universal",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--no-annotate",
    "--no-header",
    "--python-version=3.11",
    "--quiet",
)
ADDRESS = re.compile(r"\w://|^\s*-|(?:^|\s)/\w", re.MULTILINE)
"""A URL, an installer's option, or an absolute path; lines with hashes are skipped."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file: its source, its extras, and the lock whose versions it must use."""

    name: str
    source: str = "pyproject.toml"
    extras: tuple[str, ...] = ()
    agrees_with: str | None = None
    options: tuple[str, ...] = ()


LOCKS = (
    Lock("runtime.txt"),
    Lock("local.txt", extras=("local",), agrees_with="runtime.txt"),
    Lock("otel.txt", extras=("otel",), agrees_with="local.txt"),
    Lock("plots.txt", extras=("plots",), agrees_with="local.txt"),
    Lock("test.txt", extras=("local", "history", "otel", "test"), agrees_with="local.txt"),
    Lock("chaos.txt", extras=("history", "chaos"), agrees_with="test.txt"),
    Lock("langchain.txt", source=str(FOLDER / "langchain.in")),
    Lock("clients.txt", source=str(FOLDER / "clients.in")),
    Lock("sbom.txt", source=str(FOLDER / "sbom.in")),
    Lock("data.txt", source=str(FOLDER / "data.in"), options=("--no-deps",)),
)


def command(uv: str, lock: Lock, *, upgrade: bool) -> list[str]:
    """Return the command that writes a lock file; without `upgrade`, versions that still fit are kept."""
    extras = [f"--extra={extra}" for extra in lock.extras]
    constraint = [f"--constraint={FOLDER / lock.agrees_with}"] if lock.agrees_with else []
    output = f"--output-file={FOLDER / lock.name}"
    renew = ["--upgrade"] if upgrade else []
    return [uv, "pip", "compile", *OPTIONS, *lock.options, *extras, *constraint, *renew, output, lock.source]


def leaks(text: str) -> list[str]:
    """Return the lines of a lock file that contain an address, an option or a path."""
    return [line for line in text.splitlines() if not line.startswith("    --hash=") and ADDRESS.search(line)]


def main(arguments: Sequence[str]) -> int:
    """Write every lock file; return the exit code, 1 when a file contains an address or a path."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        print("uv is missing: it is in the test dependencies (`make check` installs them)", file=sys.stderr)
        return 1
    for lock in LOCKS:
        subprocess.run(command(uv, lock, upgrade="--upgrade" in arguments), cwd=ROOT, check=True)
        text = (ROOT / FOLDER / lock.name).read_text(encoding="utf-8")
        found = leaks(text)
        if found:
            print(f"{lock.name} names where packages came from: {found[:3]}", file=sys.stderr)
            return 1
        print(f"{lock.name}: {text.count('==')} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
