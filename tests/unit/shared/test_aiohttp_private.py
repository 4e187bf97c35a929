"""The private names of aiohttp that we use: what to look at before the upper bound in `pyproject.toml` is raised."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import aiohttp
from aiohttp import web

HANDLER = {"_current_request", "_force_close", "_loop", "_manager", "_request_count", "_task_handler", "_waiter"}
"""Of the protocol of one connection."""
USERS = ("services/gateway/http/hardened_protocol.py", "shared/fast_path/protocol.py")
"""The files that use them."""

SERVER = {"_connections"}
RESPONSE = {"_prepare_headers"}


async def _answer(_request: web.BaseRequest) -> web.StreamResponse:
    return web.Response()


async def test_the_installed_version_has_them() -> None:
    """A version without one of these names would fail at the first connection."""
    server = web.Server(_answer)
    handler = server()
    assert [name for name in HANDLER if not hasattr(handler, name)] == []
    assert [name for name in SERVER if not hasattr(server, name)] == []
    assert [name for name in RESPONSE if not hasattr(web.StreamResponse, name)] == []


async def test_no_other_is_used(project: Path) -> None:
    """A private name of the connection's protocol that we use is in the list above."""
    theirs = {name for name in dir(web.Server(_answer)()) if name.startswith("_") and not name.startswith("__")}
    trees = [ast.parse((project / user).read_text()) for user in USERS]
    used = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & theirs
    assert used <= HANDLER


def test_the_bound_covers_what_is_installed(project: Path) -> None:
    """The dependency has an upper bound, and the installed version is below it."""
    dependencies = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    (bound,) = [one.partition(",<")[2] for one in dependencies if one.startswith("aiohttp>")]
    assert [int(part) for part in aiohttp.__version__.split(".")[:2]] < [int(part) for part in bound.split(".")]
