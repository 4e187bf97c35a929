"""Clients of several upstreams: terms of each call, their models together, and another file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from shared.clients.http_upstreams import HttpUpstreams
from shared.errors import SettingsError, UpstreamError
from shared.models_file import ListedModel, ModelsFile, Upstream
from shared.schemas.upstream import Call
from shared.settings import load_settings
from tests.support import raw_upstream as raw

LOCAL = ListedModel(id="local/q", upstream="two", model="q:8b")


class Pair:
    """Two upstreams, and a client of both."""

    def __init__(self, one: raw.RawUpstream, two: raw.RawUpstream) -> None:
        self.one, self.two = one, two
        self.file = ModelsFile(
            upstreams={"one": Upstream(base_url=one.url), "two": Upstream(base_url=two.url)}, models=(LOCAL,)
        )
        self.upstreams = HttpUpstreams(load_settings({}, None), self.file)

    async def ask(self, arm: str, **fields: object) -> None:
        await self.upstreams.complete(Call(arm, {"messages": [], **fields}, "id", time.monotonic() + 5, {}))


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(raw.raw_upstream()) for _ in range(2)]
        one.script = two.script = raw.whole()
        pair = Pair(one, two)
        stack.callback(pair.upstreams.close)
        yield pair


async def test_a_session_is_named_to_openrouter_alone(pair: Pair) -> None:
    """Other servers refuse fields that they do not know."""
    await pair.ask("local/q", session_id="talk", temperature=0)
    assert pair.two.seen[0].json == {"messages": [], "temperature": 0, "model": "q:8b"}


async def test_their_models_together_have_the_ids_of_arms(pair: Pair) -> None:
    """One list that cannot be read hides no other; where none can be, that is an error."""
    pair.one.script = raw.whole({"data": [{"id": "a/b"}]})
    pair.two.script = raw.whole({"data": [{"id": "q:8b"}, {"id": "r"}]})
    assert {arm.id for arm in await pair.upstreams.catalogue()} == {"a/b", "local/q", "r@two"}
    pair.two.script = raw.whole({}, "500 Internal Server Error")
    assert {arm.id for arm in await pair.upstreams.catalogue()} == {"a/b", "local/q"}
    pair.one.script = pair.two.script
    with pytest.raises(UpstreamError):
        await pair.upstreams.catalogue()


async def test_another_file_keeps_the_connections_of_what_stays(pair: Pair) -> None:
    await pair.ask("a/b")
    await pair.ask("local/q")
    changed = pair.file.model_copy(
        update={"upstreams": {**pair.file.upstreams, "two": Upstream(base_url=pair.two.url, timeout_s=9)}}
    )
    pair.upstreams.configure(changed)
    await asyncio.wait_for(pair.two.closed.wait(), 2)
    await pair.ask("a/b")
    await pair.ask("local/q")
    assert (pair.one.connections, pair.two.connections) == (1, 2)


async def test_a_call_in_flight_ends_on_its_connection_which_is_closed_then(pair: Pair) -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        await raw.whole()(reader, writer)

    pair.two.script = late
    call = asyncio.create_task(pair.ask("local/q"))
    await asyncio.sleep(0.1)
    pair.upstreams.configure(ModelsFile(upstreams={"one": pair.file.upstreams["one"]}))
    await call
    await asyncio.wait_for(pair.two.closed.wait(), 2)
    with pytest.raises(UpstreamError, match=r"removed from MODELS_FILE"):
        await pair.ask("local/q")
    with pytest.raises(UpstreamError, match=r"removed from MODELS_FILE"):
        await pair.ask("r@two")
    assert not pair.one.seen


async def test_a_file_that_cannot_be_used_changes_nothing(pair: Pair, tmp_path: Path) -> None:
    bad = Upstream(base_url="https://three/v1", ca_bundle=tmp_path / "none.pem")
    with pytest.raises(SettingsError, match=r"none\.pem"):
        pair.upstreams.configure(ModelsFile(upstreams={"two": bad}))
    await pair.ask("local/q")
    assert pair.two.seen[0].json["model"] == "q:8b"
