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

from services.gateway.http.openapi_document import document
from shared.schemas.chat import parse_chat
from shared.schemas.feedback import parse_feedback
from shared.settings import Settings, load_settings
from shared.settings.dotenv_file import COMPOSE_PREFIX

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
CODE_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATHS = document("0")["paths"]
METHODS = {"get", "post", "put", "delete", "patch"}
COMMAND_VARIABLES = {"IMPORT_FROM", "CONFIG_FILE", "PYTHON", "DATA", "PEERS", "PAGE", "MEMORY", "PARTS", "POINTS"}
COMMAND_VARIABLES |= {"OUT", "LOG", "SET", "DATABASE", "SSL_CERT_FILE", "GATEWAYS", "ONLY"}
COMMAND_VARIABLES |= {"ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "ROUTER_KEY"}
"""Variables of commands in the docs that are no settings: what make, the shell and clients read."""


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
