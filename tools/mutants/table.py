"""Reader of the mutants' tables, and the check that each of them still fits the code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
TABLES = Path(__file__).resolve().parent / "tables"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake in one place of the product.

    `old` occurs exactly once in `file` and is replaced by `new`. `breaks` names the promise that then no longer holds.
    `tests` are the ends of the paths of the test files that are expected to fail, like `contracts/test_quotas.py`.
    `equivalent` is empty, or it says why the change makes no difference that a test could see.
    """

    part: str
    name: str
    file: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...]
    equivalent: str = ""

    @property
    def title(self) -> str:
        """Part and name, unique among all mutants."""
        return f"{self.part}/{self.name}"


def load(tables: Path = TABLES) -> list[Mutant]:
    """Read the mutants of all tables, in the order of the files.

    Raises:
        ValueError: when a row lacks a field, has an unknown one, or repeats a name.
    """
    mutants = []
    for path in sorted(tables.glob("*.yaml")):
        for row in yaml.safe_load(path.read_text(encoding="utf-8")):
            try:
                mutants.append(Mutant(part=path.stem, **{**row, "tests": tuple(row["tests"])}))
            except (KeyError, TypeError) as error:
                raise ValueError(f"{path.name}: {row.get('name', row)}: {error}") from error
    titles = [mutant.title for mutant in mutants]
    if repeated := {title for title in titles if titles.count(title) > 1}:
        raise ValueError(f"these mutants have the same name: {', '.join(sorted(repeated))}")
    return mutants


def selected(mutants: Sequence[Mutant], only: str) -> list[Mutant]:
    """Return the mutants whose part or title is in the comma-separated `only`; all of them when it is empty."""
    wanted = {word.strip() for word in only.split(",") if word.strip()}
    known = {mutant.part for mutant in mutants} | {mutant.title for mutant in mutants}
    if unknown := wanted - known:
        raise ValueError(f"no part or mutant is named {', '.join(sorted(unknown))}: see `make mutants LIST=1`")
    return [mutant for mutant in mutants if not wanted or wanted & {mutant.part, mutant.title}]


def test_files(mutant: Mutant, root: Path) -> list[Path]:
    """Return the test files of a mutant, relative to `root`."""
    return [
        path.relative_to(root)
        for end in mutant.tests
        for path in sorted((root / "tests").rglob(Path(end).name))
        if path.as_posix().endswith(f"/{end}")
    ]


def stale(mutant: Mutant, root: Path) -> Iterator[str]:
    """Yield why a mutant does not fit the code under `root` any more; nothing when it does."""
    path = root / mutant.file
    if not path.is_file():
        yield f"{mutant.file} does not exist"
    elif (found := path.read_text(encoding="utf-8").count(mutant.old)) != 1:
        yield f"{mutant.file} contains the old text {found} times, and not once: {mutant.old!r}"
    if mutant.old == mutant.new:
        yield "the old and the new text are the same"
    if len(test_files(mutant, root)) != len(mutant.tests):
        yield f"of {', '.join(mutant.tests)}: each must name exactly one file under tests/"
    if not mutant.tests and not mutant.equivalent:
        yield "no test file is named"
