"""The size limits of the code: `python -m tools.sizes` prints a report and exits 1 when one is broken.

Small modules and functions are what lets a stranger find the place to change. Tests are held to the limit on modules
only: a test is one story told from top to bottom, and cutting it in pieces hides what is promised.
"""

from __future__ import annotations

import ast
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PRODUCT = ("services", "shared", "deploy", "benchmarks")
MODULE_MEDIAN, MODULE_MAX = 120, 300
FUNCTION_P90, FUNCTION_MAX = 30, 60


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """Lines of one module or function."""

    lines: int
    where: str


def modules(root: Path, folders: Sequence[str]) -> list[Size]:
    """Return the size of every module; packages' own files that only say what the package is do not count."""
    return [
        Size(len(text.splitlines()), str(path.relative_to(root)))
        for path, text in _sources(root, folders)
        if not (path.name == "__init__.py" and len(ast.parse(text).body) <= 1)
    ]


def functions(root: Path, folders: Sequence[str]) -> list[Size]:
    """Return the size of every function and method, docstring included, decorators not."""
    return [
        Size((node.end_lineno or node.lineno) - node.lineno + 1, f"{path.relative_to(root)}:{node.lineno} {node.name}")
        for path, text in _sources(root, folders)
        for node in ast.walk(ast.parse(text, str(path)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def percentile(sizes: Sequence[Size], share: float) -> int:
    """Return the smallest size that at least `share` of all are not above."""
    ordered = sorted(sizes)
    return ordered[math.ceil(share * len(ordered)) - 1].lines


def problems(product: Sequence[Size], everything: Sequence[Size], inside: Sequence[Size]) -> Iterator[str]:
    """Yield one line for each broken limit: of product modules, all modules, product functions."""
    median = statistics.median(size.lines for size in product)
    if median > MODULE_MEDIAN:
        yield f"the median module has {median:g} lines, {MODULE_MEDIAN} are allowed"
    for size in sorted(everything, reverse=True):
        if size.lines > MODULE_MAX:
            yield f"{size.where} has {size.lines} lines, {MODULE_MAX} are allowed"
    p90 = percentile(inside, 0.9)
    if p90 > FUNCTION_P90:
        yield f"the 90th percentile of function sizes is {p90} lines, {FUNCTION_P90} are allowed"
    for size in sorted(inside, reverse=True):
        if size.lines > FUNCTION_MAX:
            yield f"{size.where} has {size.lines} lines, {FUNCTION_MAX} are allowed"


def main(root: Path = Path()) -> int:
    """Print the report; return 1 when a limit is broken."""
    product, everything = modules(root, PRODUCT), modules(root, (*PRODUCT, "tests", "tools"))
    inside = functions(root, PRODUCT)
    largest, longest = max(everything), max(inside)
    print(
        f"sizes: {len(product)} modules, median {statistics.median(size.lines for size in product):g} lines, "
        f"largest {largest.lines} ({largest.where}); {len(inside)} functions, p90 {percentile(inside, 0.9)} lines, "
        f"longest {longest.lines} ({longest.where})"
    )
    broken = list(problems(product, everything, inside))
    for line in broken:
        print(f"too large: {line}", file=sys.stderr)
    return 1 if broken else 0


def _sources(root: Path, folders: Sequence[str]) -> Iterator[tuple[Path, str]]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield path, path.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
