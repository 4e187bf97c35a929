"""Runner of mutants: applies one at a time to a copy of the checkout and runs the test files that should notice."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from tools.mutants.table import Mutant, test_files

Verdict = Literal["killed", "survived", "error"]
TIMEOUT_S = 300
"""A mutant whose tests take longer than this counts as killed: it hangs."""
_PASSED, _FAILED, _INTERRUPTED = 0, 1, 2
"""Exit codes of pytest; it is interrupted when a test file cannot be imported."""


@dataclass(frozen=True, slots=True)
class Result:
    """The verdict on one mutant, with the end of pytest's output."""

    mutant: Mutant
    verdict: Verdict
    seconds: float
    output: str

    @property
    def noticed_by(self) -> str:
        """The test that failed, or how else the mutant was noticed; empty when it survived."""
        if self.verdict != "killed":
            return ""
        named = [
            line.partition(" ")[2].split(" - ")[0]
            for line in self.output.splitlines()
            if line.startswith(("FAILED ", "ERROR "))
        ]
        return named[0] if named else self.output.strip().rpartition("\n")[2]


@contextmanager
def checkout_copy(root: Path) -> Iterator[Path]:
    """Copy the files that git tracks or would add to a temporary folder; installed packages and servers are linked."""
    with tempfile.TemporaryDirectory(prefix="llm-router-mutants-") as name:
        copy = Path(name) / "checkout"
        listed = subprocess.run(
            ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True,
            capture_output=True,
        )
        for file in filter(None, listed.stdout.decode().split("\0")):
            if (root / file).is_file():
                (copy / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / file, copy / file)
        for folder in (".venv", ".local"):
            if (root / folder).exists() and not (copy / folder).exists():
                (copy / folder).symlink_to((root / folder).resolve())
        yield copy


def baseline(mutants: Sequence[Mutant], root: Path) -> str:
    """Run the test files of all mutants on the unchanged code; return pytest's output if they fail, else nothing."""
    files = sorted({file for mutant in mutants for file in test_files(mutant, root)})
    with checkout_copy(root) as copy:
        code, output = _pytest(files, copy, timeout_s=TIMEOUT_S * len(mutants))
    return "" if code == _PASSED else output


def run(mutants: Sequence[Mutant], root: Path, *, jobs: int) -> Iterator[Result]:
    """Yield the result of each mutant in the order given; `jobs` copies of the checkout are used side by side."""
    copies: SimpleQueue[Path] = SimpleQueue()
    with ExitStack() as stack:
        for _ in range(jobs):
            copies.put(stack.enter_context(checkout_copy(root)))
        pool = ThreadPoolExecutor(max_workers=jobs)
        stack.callback(pool.shutdown, cancel_futures=True)
        yield from pool.map(lambda mutant: _try(mutant, copies), mutants)


def _try(mutant: Mutant, copies: SimpleQueue[Path]) -> Result:
    copy = copies.get()
    started = time.monotonic()
    try:
        with _applied(mutant, copy):
            code, output = _pytest(test_files(mutant, copy), copy, timeout_s=TIMEOUT_S)
    finally:
        copies.put(copy)
    verdict: Verdict = "survived" if code == _PASSED else "killed" if code in {_FAILED, _INTERRUPTED} else "error"
    return Result(mutant, verdict, time.monotonic() - started, output)


@contextmanager
def _applied(mutant: Mutant, copy: Path) -> Iterator[None]:
    path = copy / mutant.file
    text = path.read_text(encoding="utf-8")
    try:
        _write(path, text.replace(mutant.old, mutant.new))
        yield
    finally:
        _write(path, text)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    if path.suffix == ".py":
        # Python compares only whole seconds and sizes: it would take the bytecode of the former text for this one's.
        Path(importlib.util.cache_from_source(path)).unlink(missing_ok=True)


def _pytest(files: Sequence[Path], copy: Path, *, timeout_s: float) -> tuple[int, str]:
    """Run pytest on `files` up to the first failure; return its exit code and the end of its output."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-x", "--tb=line", *map(str, files)],
        cwd=copy,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return _FAILED, f"no end within {timeout_s:g} s"
    finally:
        # The servers that a hanging test has started go with it.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return process.returncode, output.decode(errors="replace")[-10_000:]
