"""Interface of a dialect, and what all dialects share: passed fields, refusals, and the stream's translation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec.structs import replace

from services.gateway.request_context import Headers
from shared.clients.upstream_json import dumps, loads
from shared.errors import InvalidRequest
from shared.schemas.chat import ChatRequest, Translated
from shared.schemas.problem import ErrorReply
from shared.schemas.upstream import Sink

OWN_FIELDS = ("model", "models", "stream", "session_id", "provider", "router", "temperature", "top_p", "service_tier")
"""Fields that mean the same in every dialect and in chat completions."""

_DATA = b"data: "


@dataclass(frozen=True, slots=True)
class Envelope:
    """What an answer says of its request: id, time (Unix s), answering model, and the prompt's estimated tokens."""

    request_id: str
    created_at: int
    model: str
    prompt_tokens: int


class Events(Protocol):
    """Writer of a streamed answer in a dialect: each method returns SSE events."""

    def chunk(self, body: Mapping[str, Any]) -> bytes:
        """Translate one chunk of a chat answer."""

    def end(self) -> bytes:
        """Return the events that end a whole answer."""

    def fail(self, error: Mapping[str, Any], *, original: bool) -> bytes:
        """Return the events that end a broken answer; `error` is OpenAI's error object.

        `original`: the events before are the upstream's own.
        """


class Exchange(Protocol):
    """One request in a dialect, from its body to its answer."""

    def chat_body(self, body: dict[str, Any]) -> Translated:
        """Return the request as a chat body. Raises InvalidRequest, which names the dialect's own field."""

    def answer(self, chat_answer: Mapping[str, Any], envelope: Envelope) -> bytes:
        """Return a whole answer."""

    def events(self, envelope: Envelope) -> Events:
        """Return the writer of a streamed answer."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One dialect.

    Attributes:
        begin: makes the exchange of a request.
        fields: the dialect's names of chat fields, for the `param` of errors.
        error: renders an error object of OpenAI's shape; also gets the status and the request's public id.
        api: name of the API, as upstreams have it.
        required_header: a header that every request needs, "" for none.
        passed_headers: headers that upstreams with the API get.
    """

    begin: Callable[[], Exchange]
    fields: Mapping[str, str]
    error: Callable[[int, Mapping[str, Any], str], bytes]
    api: str
    required_header: str = ""
    passed_headers: tuple[str, ...] = ()

    def check(self, headers: Headers) -> None:
        """Raise InvalidRequest where the required header is absent."""
        name = self.required_header
        if name and not headers.get(name, ""):
            raise InvalidRequest("The header is required.", code="missing_required_parameter", param=name)

    def original(self, asked: ChatRequest, headers: Headers) -> ChatRequest:
        """Return the request with the headers that its original needs."""
        if asked.native is None:
            return asked
        found = {name: headers.get(name, "") for name in self.passed_headers}
        return replace(
            asked, native=replace(asked.native, headers={name: value for name, value in found.items() if value})
        )

    def reply(self, reply: ErrorReply, request_id: str) -> ErrorReply:
        """Return an error reply in the dialect's shape, with its own names of fields."""
        error = loads(reply.body)["error"]
        param = error.get("param")
        said = {**error, "param": self.fields.get(param, param)}
        return ErrorReply(reply.status, self.error(reply.status, said, request_id), reply.headers)


class TranslatedSink:
    """Sink for the events of a chat answer, which it passes on in a dialect. Events of the dialect itself are named."""

    def __init__(self, events: Events, sink: Sink) -> None:
        self._events = events
        self._sink = sink
        self._original = False

    def put(self, piece: bytes) -> bool:
        """Translate whole events; comments, and events of the dialect itself, pass unchanged."""
        translated = b"".join(map(self._translated, piece.split(b"\n\n")))
        return self._sink.put(translated) if translated else True

    async def flush(self) -> None:
        """Wait until there is room for more."""
        await self._sink.flush()

    def last(self, piece: bytes) -> bytes:
        """Return the end of the answer for the last piece: `[DONE]`, an error event, or an end in the dialect."""
        if not piece.startswith(_DATA):
            return piece
        data = piece.strip().removeprefix(_DATA)
        return (
            self._events.end()
            if data == b"[DONE]"
            else self._events.fail(loads(data)["error"], original=self._original)
        )

    def _translated(self, event: bytes) -> bytes:
        if not event:
            return b""
        if event.startswith(_DATA):
            return self._events.chunk(loads(event[len(_DATA) :]))
        self._original = self._original or not event.startswith(b":")
        return event + b"\n\n"


def event(kind: str, fields: Mapping[str, Any]) -> bytes:
    """Return one SSE event whose data repeats its type."""
    return f"event: {kind}\n".encode() + _DATA + dumps({"type": kind, **fields}) + b"\n\n"


# -- errors and fields -------------------------------------------------------------------------------------------------


class Untranslatable(InvalidRequest):
    """Error: a field, or a value of it, cannot be translated. An upstream that has the API may know it."""


def unsupported(param: str, message: str) -> Untranslatable:
    """Return the error for a field, or a value of it, that cannot be translated."""
    return Untranslatable(message, code="unsupported_parameter", param=param)


def invalid(param: str, message: str) -> InvalidRequest:
    """Return the error for a field of a wrong type."""
    return InvalidRequest(message, code="invalid_type", param=param)


def objects(value: Any, param: str) -> list[dict[str, Any]]:
    """Return a list of objects; none for null. Raises InvalidRequest."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid(param, "Input should be a list.")
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise invalid(f"{param}[{index}]", "Input should be an object.")
    return value


def text(value: Any, param: str) -> str:
    """Return a string. Raises InvalidRequest."""
    if not isinstance(value, str):
        raise invalid(param, "Input should be a string.")
    return value


def passed(body: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the fields that mean the same in chat completions."""
    return {name: body[name] for name in names if body.get(name) is not None}
