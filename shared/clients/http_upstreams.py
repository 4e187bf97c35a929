"""`Upstreams` over HTTP: for each upstream of a ModelsFile a client with its own connections, key and time-outs."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

from msgspec import structs

from shared.bandit.arms import Arm, ArmId
from shared.clients.answer_stream import HttpAnswerStream
from shared.clients.chat_client import HttpChatModel, connections
from shared.clients.upstream_route import upstream_proxy, upstream_tls
from shared.errors import UpstreamError
from shared.logs import get_logger
from shared.models_file import ModelsFile, Upstream
from shared.models_file.places import Places
from shared.quick_http import QuickHttp
from shared.schemas.upstream import EMBEDDINGS, Answer, Call, Native
from shared.settings import Settings

_log = get_logger(__name__)

SESSION_FIELD = "session_id"
"""OpenRouter's field; other upstreams refuse what they do not know."""


class _Client(NamedTuple):
    described: Upstream
    http: QuickHttp
    model: HttpChatModel


class HttpUpstreams:
    """Clients of the upstreams. `settings` has what the file leaves out: time-outs, proxies, authorities."""

    def __init__(self, settings: Settings, file: ModelsFile) -> None:
        """Open the clients; none connects yet. Raises SettingsError."""
        self._settings = settings
        self._clients: dict[str, _Client] = {}
        self._gone: set[str] = set()
        self._file = file
        self.configure(file)

    def configure(self, file: ModelsFile) -> None:
        """Use another file; clients of upstreams that it does not change are kept, with their connections.

        Calls in flight are finished. Raises SettingsError; nothing has changed then.
        """
        before = self._clients
        self._clients = {
            name: before[name] if name in before and before[name].described == described else self._open(described)
            for name, described in file.upstreams.items()
        }
        self._retire(file)
        self._places = Places(file)
        for name, client in before.items():
            if self._clients.get(name) is not client:
                client.http.close()

    def _retire(self, file: ModelsFile) -> None:
        """Remember the names that the file before had: they must not mean another upstream's models from now on."""
        before, self._file = self._file, file
        self._gone |= {model.id for model in before.models} | {f"@{name}" for name in before.upstreams}
        self._gone -= {model.id for model in file.models} | {f"@{name}" for name in file.upstreams}

    @property
    def listed(self) -> tuple[ArmId, ...]:
        """Return the models that MODELS_FILE lists; none without one."""
        return tuple(model.id for model in self._file.models)

    def close(self) -> None:
        """Close idle connections, and those in use when their calls end."""
        for client in self._clients.values():
            client.http.close()

    async def complete(self, call: Call) -> Answer:
        """Return the answer of the call's arm. Raises UpstreamError."""
        client, own = self._addressed(call)
        return await client.complete(own)

    def stream(self, call: Call) -> AbstractAsyncContextManager[HttpAnswerStream]:
        """Open a stream of the call's arm. Raises UpstreamError."""
        client, own = self._addressed(call)
        return client.stream(own)

    async def catalogue(self) -> tuple[Arm, ...]:
        """Return the models of all upstreams under their ids as arms. Raises UpstreamError where no list can be read.

        A model of MODELS_FILE whose upstream lists nothing is what the file says of it.
        """
        found: dict[ArmId, Arm] = {model.id: self._places.arm(model.id) for model in self._file.models}
        names = [name for name, described in self._file.upstreams.items() if described.list_models]
        lists = await asyncio.gather(*(self.named(name).catalogue() for name in names), return_exceptions=True)
        for name, listed in zip(names, lists, strict=True):
            if isinstance(listed, tuple):
                found |= self._places.listed(name, listed)
        failed = next((failure for failure in lists if isinstance(failure, BaseException)), None)
        if failed is not None and not any(isinstance(listed, tuple) for listed in lists):
            raise failed
        return tuple(found.values())

    def named(self, upstream: str) -> HttpChatModel:
        """Return the client of one upstream."""
        return self._clients[upstream].model

    def upstream_of(self, arm: ArmId) -> str:
        """Return the name of the upstream that serves `arm`."""
        return self._places.of(arm).upstream

    def _addressed(self, call: Call) -> tuple[HttpChatModel, Call]:
        """Return the client of the call's arm, and the call in the terms of its upstream. Raises UpstreamError."""
        if self._gone and (call.arm in self._gone or "@" + call.arm.rpartition("@")[2] in self._gone):
            raise UpstreamError("the model was removed from MODELS_FILE")
        place = self._places.of(call.arm)
        described, _, model = self._clients[place.upstream]
        changes: dict[str, Any] = {}
        if place.model != call.arm:
            changes["arm"] = place.model
        if described.timeout_s is not None:
            changes["deadline"] = min(call.deadline, time.monotonic() + described.timeout_s)
        if SESSION_FIELD in call.body and not described.is_openrouter:
            changes["body"] = {name: value for name, value in call.body.items() if name != SESSION_FIELD}
        if call.native is not None and (native := _native(call.native, described)) is not call.native:
            changes["native"] = native
        return model, structs.replace(call, **changes) if changes else call

    def _open(self, described: Upstream) -> _Client:
        settings = self._settings
        found = upstream_proxy(settings, described.base_url)
        if found is not None:
            _log.info("the upstream is reached by a proxy", setting=found[0], proxy=found[1].name)
        tls = upstream_tls(described.base_url, described.ca_bundle or settings.UPSTREAM_CA_BUNDLE)
        http = connections(described.base_url, proxy=None if found is None else found[1], tls=tls)
        key = described.api_key
        model = HttpChatModel(
            http,
            None if key is None else key.get_secret_value(),
            api_key_header=described.api_key_header,
            extra_headers={name: value.get_secret_value() for name, value in described.extra_headers.items()},
            first_byte_timeout_s=described.first_byte_timeout_s or settings.FIRST_BYTE_TIMEOUT_S,
            gap_timeout_s=described.stream_gap_timeout_s or settings.STREAM_GAP_TIMEOUT_S,
            stream_options=described.stream_options,
        )
        return _Client(described, http, model)


def _native(native: Native, described: Upstream) -> Native | None:
    """Return the request for an upstream that has its API, None where it has to be translated. Raises UpstreamError."""
    if native.api != EMBEDDINGS and native.api not in described.dialects:
        if native.only:
            raise UpstreamError("the upstream does not have the API of this request any more")
        return None
    return native if described.is_openrouter or SESSION_FIELD not in native.body else native.without(SESSION_FIELD)
