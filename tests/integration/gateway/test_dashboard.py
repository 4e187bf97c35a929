"""`GET /ui`: the dashboard's files, how they are served, and what they may contain."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from pathlib import Path

import pytest

from services.gateway.dashboard.files import STATIC, read_files
from services.gateway.http.handlers.dashboard import POLICY
from tests.support.fakes.gateway import World, settings_for
from tests.support.served_gateway import ask, serving

MOST_BYTES = 150_000
OWN = sorted(
    path for path in STATIC.rglob("*") if path.suffix in {".js", ".html", ".css"} and "vendor" not in path.parts
)
VENDOR = json.loads((STATIC / "vendor" / "vendor.json").read_text("utf-8"))


async def test_the_page_needs_no_key_and_its_data_does(tmp_path: Path) -> None:
    """Page and files are open, under a policy without exceptions; the API behind them asks for the key."""
    async with serving(World(settings_for(tmp_path / "spool", API_KEYS="k" * 16))) as client:
        for path, kind in (("/ui", "text/html"), ("/ui/app.js", "text/javascript"), ("/ui/style.css", "text/css")):
            status, _, headers = await ask(client, path)
            assert (status, headers["Content-Type"].split(";")[0]) == (200, kind)
            assert headers["Content-Security-Policy"] == POLICY
            assert headers["X-Content-Type-Options"] == "nosniff"
        assert (await ask(client, "/arms"))[0] == 401


def test_the_policy_allows_own_files_only() -> None:
    """No inline code, no eval, no other host, no frame."""
    rules = dict(rule.strip().split(" ", 1) for rule in POLICY.split(";"))
    assert rules["default-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
    assert "unsafe" not in POLICY


async def test_a_file_that_is_not_there_is_404(tmp_path: Path) -> None:
    """Nothing but the files of the page can be read, however the path is written."""
    async with serving(World(settings_for(tmp_path / "spool"))) as client:
        for path in ("/ui/none.js", "/ui/..%2Ffiles.py", "/ui/%2e%2e/__init__.py", "/ui/vendor", "/ui//etc/passwd"):
            assert (await ask(client, path))[0] == 404, path


async def test_a_browser_that_has_a_file_does_not_get_it_again(tmp_path: Path) -> None:
    """It asks with the file's tag: 304 without a body; another tag: the file."""
    async with serving(World(settings_for(tmp_path / "spool"))) as client:
        _, _, headers = await ask(client, "/ui/app.js")
        assert headers["Cache-Control"] == "no-cache"
        status, body, _ = await ask(client, "/ui/app.js", If_None_Match=headers["ETag"])
        assert (status, body) == (304, "")
        assert (await ask(client, "/ui/app.js", If_None_Match='"another"'))[0] == 200


async def test_it_can_be_switched_off(tmp_path: Path) -> None:
    """With DASHBOARD=false neither the page nor its files are there."""
    async with serving(World(settings_for(tmp_path / "spool", DASHBOARD=False))) as client:
        assert (await ask(client, "/ui"))[0] == 404
        assert (await ask(client, "/ui/app.js"))[0] == 404
        assert (await ask(client, "/docs"))[0] == 200


async def test_the_page_of_the_contract_has_a_policy_without_exceptions(tmp_path: Path) -> None:
    """Its style is allowed by its hash, which has to be that of the page's own style."""
    async with serving(World(settings_for(tmp_path / "spool"))) as client:
        _, page, headers = await ask(client, "/docs")
    style = re.findall("<style>(.*?)</style>", page, re.DOTALL)
    assert len(style) == 1
    digest = hashlib.sha256(style[0].encode()).digest()
    assert f"'sha256-{b64encode(digest).decode()}'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]


def test_the_whole_page_is_small() -> None:
    """All scripts and styles together, uncompressed."""
    sizes = {name: len(file.body) for name, file in read_files().items() if not name.endswith((".txt", ".json"))}
    assert sum(sizes.values()) < MOST_BYTES, sizes


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_own_files_need_no_exception_of_the_policy(path: Path) -> None:
    """No inline script or style, no raw HTML, no eval, no address of another host, no cookie, no lasting storage."""
    text = path.read_text("utf-8")
    for wrong in (
        "dangerouslySetInnerHTML",
        "innerHTML",
        "eval(",
        "new Function",
        "document.cookie",
        "localStorage",
        "http://",
    ):
        assert wrong not in text, wrong
    assert "https://" not in text
    if path.suffix == ".html":
        assert "<style" not in text
        assert "style=" not in text
        assert all("src=" in tag for tag in re.findall("<script[^>]*>", text))


def test_every_import_of_a_script_is_there() -> None:
    """Scripts and the page name files by relative paths; each of them exists."""
    for path in OWN:
        text = path.read_text("utf-8")
        names = re.findall(r'(?:from|import) "(\.{1,2}/[^"]+)"', text)
        assert [name for name in names if not (path.parent / name).is_file()] == []
        links = re.findall(r'(?:src|href)="ui/([^"]+)"', text)
        assert [name for name in links if not (STATIC / name).is_file()] == []


def test_vendored_libraries_are_pinned_with_their_licences() -> None:
    """Each is byte for byte what the list says, and its licence text is beside it."""
    folder = STATIC / "vendor"
    assert {row["file"] for row in VENDOR} == {path.name for path in folder.iterdir() if path.suffix in {".js", ".css"}}
    for row in VENDOR:
        assert hashlib.sha256((folder / row["file"]).read_bytes()).hexdigest() == row["sha256"], row["file"]
        assert all("Licen" in (folder / name).read_text("utf-8") or "MIT" in (folder / name).read_text("utf-8")
                   for name in row["licences"])  # fmt: skip
