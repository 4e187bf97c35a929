"""Fast-path routes of the frequent requests, searches and upserts (`shared/fast_path`).

They cover collections whose names need no quoting in a path. aiohttp handles all other requests (`routes.py`).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any

from deploy.qdrant_engine import writes
from deploy.qdrant_engine.collection import Collection
from deploy.qdrant_engine.collections import Collections
from deploy.qdrant_engine.replies import answer_to
from deploy.qdrant_engine.routes import apply, parsed, search, search_all
from shared.fast_path import Handler, PlainRequest, PlainResponse

_LINE = re.compile(rb"([A-Z]+) /collections/([A-Za-z0-9._-]+)/points(\S+) HTTP/1\.1")

_Call = Callable[[Collection, Any], Awaitable[object]]
_CALLS: Mapping[tuple[bytes, bytes], _Call] = {
    (b"POST", b"/query"): search,
    (b"POST", b"/query/batch"): search_all,
    (b"PUT", b"?wait=true"): partial(apply, writes.upsert, waited=True),
}


class FastRoutes(Mapping[bytes, Handler]):
    """Handlers by request line: those of `_CALLS` for each collection."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections

    def __getitem__(self, line: bytes) -> Handler:
        match = _LINE.fullmatch(line)
        if match is None or (name := match[2].decode()) not in self._collections:
            raise KeyError(line)
        return partial(self._answer, _CALLS[match[1], match[3]], name)

    def __iter__(self) -> Iterator[bytes]:
        for name in self._collections.names():
            for method, rest in _CALLS:
                yield b"%b /collections/%b/points%b HTTP/1.1" % (method, name.encode(), rest)

    def __len__(self) -> int:
        return len(_CALLS) * len(self._collections.names())

    async def _answer(self, call: _Call, name: str, request: PlainRequest) -> PlainResponse:
        return await answer_to(self._asked(call, name, request.body), f"a request to {name}")

    async def _asked(self, call: _Call, name: str, body: bytes) -> object:
        return await call(self._collections.get(name), parsed(body))
