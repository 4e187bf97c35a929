"""The reference pages are complete: tables and lists of the docs have exactly what the code has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.load.__main__ import MARKS
from services.gateway.http.openapi import ROUTER_HEADERS, SENT_HEADERS
from shared.settings import Settings
from shared.storage import redis_keys
from tests.compatibility.clients import table
from tests.unit.docs.test_docs import CODE_BLOCK, METHODS, PATHS, ROOT, known, read
from tools.doc_tables import BASIC, GENERATED, metric_rows, setting_rows, up_to_date


@pytest.mark.parametrize(("page", "mark"), GENERATED)
def test_generated_tables_are_up_to_date(page: str, mark: str) -> None:
    """The tables of settings and metrics say what the code says: types, defaults, labels, descriptions."""
    before, after = up_to_date(page, mark)
    assert before == after, "run: make configuration"


def test_the_page_of_results_can_be_written() -> None:
    """`make bench PAGE=...` replaces what is between two marks, each of which is there once and in order."""
    page = re.search(r"^make bench .*PAGE=(\S+)", read("docs/performance/results.md"), re.MULTILINE)
    assert page
    assert page[1] in read("Makefile")
    begin, end = (read(page[1]).split(mark) for mark in MARKS)
    assert len(begin) == len(end) == 2
    assert len(begin[0]) < len(end[0])


def test_every_setting_and_metric_is_in_its_table_once() -> None:
    """The generated tables leave nothing out, and repeat nothing; the basic settings are few."""
    for page, pattern, rows in (
        ("docs/configuration.md", r"^\| `([A-Z][A-Z0-9_]+)` \|", setting_rows()),
        ("docs/operations.md", r"^\| `(llm_router_\w+)` \|", metric_rows()),
    ):
        assert sorted(re.findall(pattern, read(page), re.MULTILINE)) == sorted(rows)
    assert len(BASIC) <= 16


def test_the_essential_settings_of_the_readme_are_as_documented() -> None:
    """The README's table names settings that exist, with their defaults."""
    rows = dict(
        re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \| [^|]* \| [^|]* \| ([^|]*) \|$", read("README.md"), re.MULTILINE)
    )
    assert rows.keys() >= {"OPENROUTER_API_KEY", "LLM_MODELS", "PORT", "LOG_LEVEL", "DEFAULT_MODEL"}
    fields = Settings.model_fields
    defaults = {name: fields[name].default for name in rows}
    shown = {name: ",".join(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
    assert rows == {name: "-" if value in (None, "") else str(value) for name, value in shown.items()}


@pytest.mark.parametrize("page", ["README.md", "docs/api.md"])
def test_endpoint_tables_name_real_endpoints(page: str) -> None:
    """An endpoint in a table exists, with that method."""
    rows = re.findall(r"^\| `(/[^`]*)` \| ([A-Z]+) \|", read(page), re.MULTILINE)
    assert rows
    assert [row for row in rows if not known(row[0].replace("request-id", "request_id"), row[1].lower())] == []


def test_every_endpoint_is_documented() -> None:
    """The API page's table has every endpoint that there is."""
    rows = re.findall(r"^\| `(/[^`]*)` \| ([A-Z]+) \|", read("docs/api.md"), re.MULTILINE)
    documented = {(path.replace("request-id", "request_id"), method.lower()) for path, method in rows}
    assert documented == {(path, method) for path, methods in PATHS.items() for method in methods if method in METHODS}


def test_every_error_code_is_documented() -> None:
    """The API page's table has every code that is raised, and none that no code knows."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in _sources()]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    raised = {
        constant.value
        for node in nodes
        if isinstance(node, ast.keyword) and node.arg == "code" and not isinstance(node.value, ast.Dict)
        for constant in ast.walk(node.value)
        if isinstance(constant, ast.Constant) and re.fullmatch("[a-z_]{6,}", str(constant.value))
    } - {"type"}
    literals = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    table = read("docs/api.md").partition("## Errors")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| \d{3} \| `(\w+)` \|", table, re.MULTILINE))
    assert raised - documented == set()
    assert documented - literals == set()


def test_every_header_is_documented() -> None:
    """A header that the gateway reads or sends is in the OpenAPI contract, and in the API page's tables."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in _sources() if path.name != "openapi.py"]
    texts = {str(node.value) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    used = {text for text in texts if re.fullmatch("x-router-[a-z-]+", text)}
    tables = read("docs/api.md").partition("\n## Headers\n")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `(x-router-[a-z-]+)` \|", tables, re.MULTILINE))
    contract = {name for name in {**ROUTER_HEADERS, **SENT_HEADERS} if name.startswith("x-router-")}
    assert used == documented == contract


def _sources() -> Iterator[Path]:
    for folder in ("services/gateway", "shared/schemas"):
        yield from (ROOT / folder).rglob("*.py")


def test_every_redis_key_is_documented() -> None:
    """The architecture page's table has every key that `redis_keys` makes."""
    made = {
        value if isinstance(value, str) else value("<a>", "<b>") if value.__code__.co_argcount == 2 else value("<a>")
        for name, value in vars(redis_keys).items()
        if (name.isupper() and name not in {"TAG", "GROUP", "SUMS", "KEYLESS_OWNER"})
        or (callable(value) and value.__module__ == redis_keys.__name__ and not name.endswith("_keys"))
    }
    shapes = {re.sub(r"<[^>]*>", "<>", key) for key in made}
    table = re.findall(r"^\| `(\{router\}:[^`]+)` \|", read("docs/architecture.md").replace("\\|", "|"), re.MULTILINE)
    assert {re.sub(r"<[^>]*>", "<>", key) for key in table} == shapes


def test_the_table_of_clients_is_what_is_tested() -> None:
    """The API page's table has exactly the cells that the compatibility tests try."""
    assert table() in read("docs/api.md")


@pytest.mark.parametrize("way", ["chat request", "rating"])
def test_the_ways_through_the_code_name_files_and_functions(way: str) -> None:
    """The architecture page lists, in order, the functions from request to log line and from rating to posterior."""
    section = read("docs/architecture.md").partition(f"## The way of a {way}\n")[2].partition("\n## ")[0]
    steps = re.findall(r"^\d+\. \[`([^`]+)`\]\([^)]+\)((?:,? `[\w.]+`)+): ", section, re.MULTILINE)
    assert 8 <= len(steps) <= 16
    assert len(steps) == len(re.findall(r"^\d+\. ", section, re.MULTILINE)), (
        "each step: [`file`](link) `function`: text"
    )
    missing = [
        (file, name) for file, names in steps for name in re.findall(r"`([\w.]+)`", names) if name not in defined(file)
    ]
    assert missing == []


def defined(file: str) -> set[str]:
    """Return the functions of a file, and the methods as `Class.method`."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    body = ast.parse(read(file)).body
    methods = {
        f"{kind.name}.{one.name}"
        for kind in body
        if isinstance(kind, ast.ClassDef)
        for one in kind.body
        if isinstance(one, functions)
    }
    return methods | {one.name for one in body if isinstance(one, functions)}


def test_quoted_log_lines_and_reasons_are_written_by_the_code() -> None:
    """A phrase of three words or more that the operations page quotes can be found in the sources."""
    prose = CODE_BLOCK.sub("", read("docs/operations.md"))
    commands = ("make ", "docker-compose ", "kubectl ", "redis-cli ", "pip ", "promtool ", "nice ", "python ")
    quoted = {
        re.sub(r" \(\d+\)$", "", phrase)
        for phrase in re.findall(r"`([a-z][a-z':,-]* [a-z':,-]+ [a-z':, ()0-9-]+)`", prose)
        if not phrase.startswith(commands)
    }
    code = "".join(
        path.read_text(encoding="utf-8")
        for top in ("services", "shared", "deploy")
        for path in (ROOT / top).rglob("*.py")
    )
    assert len(quoted) > 5
    assert {phrase for phrase in quoted if phrase not in code} == set()
