"""docs/data-model.md explains every column that the migrations make, and what is written has a column."""

from __future__ import annotations

import re
from pathlib import Path

from shared.storage.postgres_imports import COLUMNS as IMPORTS
from shared.storage.postgres_migrations import _VERSIONS, FOLDER, migrations
from shared.storage.postgres_rows import COLUMNS

ROOT = Path(__file__).resolve().parents[3]
TABLE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+) \((.*?)^\)", re.MULTILINE | re.DOTALL)
COLUMN = re.compile(r"^    (\w+) ((?:double precision|\w+)(?:\[\])?)", re.MULTILINE)
ADDED = re.compile(r"ALTER TABLE (\w+) ADD COLUMN (\w+) ((?:double precision|\w+)(?:\[\])?)")


def columns() -> dict[str, dict[str, str]]:
    """Type by column by table, as the migrations make them."""
    made: dict[str, dict[str, str]] = {}
    for text in (_VERSIONS + "\n", *(sql for _, _, sql in migrations())):
        for table, body in TABLE.findall(text):
            made[table] = {name: kind for name, kind in COLUMN.findall(body) if name != "PRIMARY"}
        for table, name, kind in ADDED.findall(text):
            made[table][name] = kind
    return made


def test_every_column_is_explained() -> None:
    """Each table has its section with a row for each column, in words, and none that is not there."""
    page = (ROOT / "docs/data-model.md").read_text(encoding="utf-8")
    explained = {}
    for section in page.split("\n## ")[1:]:
        rows = re.findall(r"^\| `(\w+)` \| ([\w \[\]]+) \| \S.+ \|$", section, re.MULTILINE)
        if rows:
            explained[section.partition("\n")[0]] = dict(rows)
    assert explained == columns()


def test_what_is_written_has_a_column() -> None:
    """The adapter names tables and columns that the migrations make."""
    made, written = columns(), {**COLUMNS, "imports": IMPORTS}
    assert {table: set(names) - set(made[table]) for table, names in written.items()} == {
        name: set() for name in written
    }


def test_migrations_are_numbered_from_one_on() -> None:
    """No gap and no number twice: what comes after what is not a matter of opinion."""
    assert [version for version, _, _ in migrations()] == list(range(1, 1 + len(list(FOLDER.glob("*.sql")))))
