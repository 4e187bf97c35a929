"""The docs are true: settings, metrics, endpoints, error codes, commands and links are compared with the code."""

from __future__ import annotations

import ast
import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from services.gateway.http.openapi import document
from shared.schemas.chat import parse_chat
from shared.schemas.feedback import parse_feedback
from shared.settings import Settings, load_settings
from shared.settings.dotenv_file import COMPOSE_PREFIX
from shared.storage import redis_keys
from tests.compatibility.clients import table
from tools.doc_tables import BASIC, GENERATED, metric_rows, setting_rows, up_to_date

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
CODE_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATHS = document("0")["paths"]
METHODS = {"get", "post", "put", "delete", "patch"}
COMMAND_VARIABLES = {"CONFIG_FILE", "PYTHON", "DATA", "PEERS", "PAGE", "MEMORY", "PARTS", "POINTS"}
COMMAND_VARIABLES |= {"OUT", "LOG", "SET", "DATABASE", "SSL_CERT_FILE"}
"""Variables of commands in the docs that are no settings: what make and the shell read."""


def read(page: Path | str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: Path, *languages: str) -> list[str]:
    return [body for language, body in CODE_BLOCK.findall(read(page)) if language in languages]


def commands(page: Path) -> Iterator[str]:
    """Yield each shell command of a page: comments out, continued lines joined."""
    for block in blocks(page, "bash", "sh", "console"):
        joined = block.replace("\\\n", " ")
        for statement in _statements(joined):
            if statement and not statement.startswith("#"):
                yield statement


def _statements(text: str) -> Iterator[str]:
    pending = ""
    for line in text.splitlines():
        pending += line + "\n"
        if pending.count("'") % 2 == 0:
            yield pending.strip()
            pending = ""


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    prose = CODE_BLOCK.sub("", read(page))
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def known(path: str, method: str) -> bool:
    """Return whether the contract has this path: a literal of it, or one with parameters that fits."""
    parts = {"{arm}": ".+", "{model}": ".+"}  # names of models have slashes
    patterns = {
        re.sub(r"\{[^}]+\}", lambda part: parts.get(part[0], "[^/]+"), known_path): operations
        for known_path, operations in PATHS.items()
    }
    return any(re.fullmatch(pattern, path) and method in operations for pattern, operations in patterns.items())


@pytest.mark.parametrize(("page", "mark"), GENERATED)
def test_generated_tables_are_up_to_date(page: str, mark: str) -> None:
    """The tables of settings and metrics say what the code says: types, defaults, labels, descriptions."""
    before, after = up_to_date(page, mark)
    assert before == after, "run: make configuration"


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


def _sources() -> Iterator[Path]:
    for folder in ("services/gateway", "shared/schemas"):
        yield from (ROOT / folder).rglob("*.py")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_resolve(page: Path) -> None:
    """A link to a file or a heading of this project leads there."""
    broken = []
    for link in LINK.findall(CODE_BLOCK.sub("", read(page))):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        path = (ROOT / page.parent / target).resolve() if target else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path.relative_to(ROOT))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_curl_lines_would_work(page: Path) -> None:
    """Every curl line calls an endpoint that exists, with its method, headers and a body that is accepted."""
    for command in (command for command in commands(page) if command.startswith("curl ")):
        words = shlex.split(command)
        url = urlsplit(next(word for word in words if word.startswith("http://")))
        method = words[words.index("-X") + 1].lower() if "-X" in words else "post" if "-d" in words else "get"
        if url.port != 8080:
            continue
        assert known(url.path, method), command
        if url.path == "/chat/completions":
            assert any(word.startswith("X-Request-ID: ") for word in words), command
        if "-d" in words:
            assert "Content-Type: application/json" in words, command
            body = words[words.index("-d") + 1].encode()
            assert json.loads(body)
            parse_feedback(body) if url.path.endswith("/feedback") else parse_chat(body)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_settings_in_code_blocks_are_accepted(page: Path) -> None:
    """`NAME=value` in a code block is a setting that exists with a value that it takes."""
    for block in blocks(page, "bash", "sh", "console", "yaml", "env"):
        for name, value in re.findall(r"(?:^|\s)([A-Z][A-Z0-9_]{2,})(?:=|: )([^\s#]+)", block):
            if name not in COMMAND_VARIABLES and not name.startswith(COMPOSE_PREFIX):
                assert name in Settings.model_fields, name
                load_settings({name: value}, None)


@pytest.mark.parametrize("page", [page for page in PAGES if page != Path("CONTRIBUTING.md")], ids=str)
def test_settings_in_prose_exist(page: Path) -> None:
    """A name in capitals between backticks is a setting, or one of the few other variables."""
    names = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)(?:=[^`\n]*)?`", CODE_BLOCK.sub("", read(page))))
    compose = set(re.findall(r"\$\{(COMPOSE_\w+)", read("deploy/docker-compose.yml")))
    assert names - set(Settings.model_fields) - COMMAND_VARIABLES - compose - {COMPOSE_PREFIX} == set()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_make_targets_and_modules_exist(page: Path) -> None:
    """`make target` and `python -m module` in the docs name what exists."""
    text = read(page)
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    for module in re.findall(r"python -m ((?:services|shared|deploy|benchmarks|tests|tools)[\w.]*)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@pytest.mark.parametrize("page", [page for page in PAGES if page != Path("CHANGELOG.md")], ids=str)
def test_paths_in_prose_exist(page: Path) -> None:
    """A path of this project between backticks names a file or a folder that exists."""
    paths = re.findall(r"`((?:services|shared|deploy|benchmarks|tests|tools|docs)/[\w./-]+\w/?)`", read(page))
    assert [path for path in paths if not (ROOT / path).exists() and not path.startswith("benchmarks/out")] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_compose_lines_name_real_files_and_services(page: Path) -> None:
    """A docker-compose line in the docs names files, services and profiles that exist."""
    compose = read("deploy/docker-compose.yml")
    for command in (command for command in commands(page) if "docker-compose" in command):
        words = shlex.split(command, comments=True)
        for flag, value in itertools.pairwise(words):
            if flag in {"-f", "--env-file"} and value != "llm-proxy":
                assert (ROOT / "deploy" / value).exists() or value == ".env", command
            if flag == "--scale":
                assert f"\n  {value.partition('=')[0]}:\n" in compose, command
            if flag == "--profile":
                assert f"profiles: [{value}]" in compose, command
            if flag == "logs":
                assert words[-1] == "logs" or f"\n  {words[-1]}:\n" in compose, command


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_python_blocks_are_python(page: Path) -> None:
    """Python in the docs parses."""
    for block in blocks(page, "python"):
        ast.parse(block)


def test_every_page_of_docs_opens_with_why() -> None:
    """Each page in docs says first why there is what it describes."""
    for page in (page for page in PAGES if page.parts[0] == "docs"):
        first = next(line for line in read(page).splitlines()[1:] if line)
        assert first == "## Why" or first.startswith("**Why"), page


def test_every_redis_key_is_documented() -> None:
    """The architecture page's table has every key that `redis_keys` makes."""
    made = {
        value if isinstance(value, str) else value("<a>", "<b>") if value.__code__.co_argcount == 2 else value("<a>")
        for name, value in vars(redis_keys).items()
        if (name.isupper() and name not in {"TAG", "GROUP", "UTC", "SUMS"})
        or (callable(value) and getattr(value, "__module__", "") == redis_keys.__name__ and name != "day_of")
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
