"""Files of the dashboard, read once when a gateway starts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STATIC = Path(__file__).parent / "static"
INDEX = "index.html"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file: its bytes, media type and entity tag."""

    body: bytes
    content_type: str
    etag: str


def read_files(folder: Path = STATIC) -> Mapping[str, PageFile]:
    """Return every file of the dashboard by its path below `folder`."""
    return {
        path.relative_to(folder).as_posix(): _read(path) for path in sorted(folder.rglob("*")) if path.suffix in _TYPES
    }


def _read(path: Path) -> PageFile:
    body = path.read_bytes()
    return PageFile(body, _TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:32])
