"""Parser of upstream error bodies in all common shapes.

| server | shape |
|---|---|
| OpenAI, Groq, Gemini's OpenAI side | `{"error": {"message", "type", "code", "param"}}`, also in a list |
| OpenRouter | the same with `metadata`: `raw` (the provider's own body), `provider_name`, `reasons`, `headers` |
| vLLM, Mistral | `{"object": "error", "message", "type", "code"}` |
| FastAPI | `{"detail": "text"}` or `{"detail": [{"loc": ["body", "field"], "msg": "text"}]}` |
| others | `{"message"}`, `{"error": "text"}`, `{"errors": [...]}`, plain text |

HTML is a proxy's page and says nothing of the request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from shared.clients import upstream_json

_DEPTH = 8
_TEXTS = ("message", "msg", "detail", "error_message", "error_msg", "errorMessage", "description", "title")
_INNER = ("error", "errors", "detail", "details", "message")


class Words(Struct, frozen=True):
    """Content of an error body.

    Attributes:
        text: the sentences; a provider's own follow those of the router in front of it.
        code: a word for the failure (`context_length_exceeded`).
        kind: a word for its class (`invalid_request_error`).
        param: the field that is complained of.
        status: the HTTP status that the body names.
        metadata: what OpenRouter adds.
    """

    text: str = ""
    code: str | None = None
    kind: str | None = None
    param: str | None = None
    status: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def all(self) -> str:
        """All text that may tell what went wrong."""
        return " ".join(part for part in (self.text, self.code, self.kind) if part)

    @property
    def of_provider(self) -> bool:
        """Whether a provider behind the upstream refused, by its own account or key."""
        name = self.metadata.get("provider_name")
        return (isinstance(name, str) and bool(name)) or self.metadata.get("is_byok") is True


NOTHING_SAID = Words()


def words_of_body(raw: bytes, headers: Mapping[str, str]) -> Words:
    """Return what the body of an error answer says, unpacked."""
    try:
        body = upstream_json.loads(raw)
    except ValueError:
        return Words(text=_plain_text(raw, headers))
    return words_of(body)


def words_of(body: Any) -> Words:
    """Return what a decoded error body says."""
    if isinstance(body, str):
        return _merged(Words(), _inner_words(body, _DEPTH)) if body.lstrip()[:1] in ("{", "[") else Words(text=body)
    return _read(body, _DEPTH)


def _plain_text(raw: bytes, headers: Mapping[str, str]) -> str:
    text = raw.decode("utf-8", "replace").strip()
    html = "html" in headers.get("content-type", "").lower() or text[:1] == "<"
    return "" if html else text


def _read(body: Any, depth: int) -> Words:
    if depth == 0:
        return NOTHING_SAID
    if isinstance(body, list):
        return _read_list(body, depth)
    if not isinstance(body, dict):
        return NOTHING_SAID
    error = body.get("error")
    if isinstance(error, dict | list):
        return _merged(_facts_of(body), _read(error, depth - 1))
    if isinstance(error, str) and error:
        said = Words(text=error) if error.lstrip()[:1] not in ("{", "[") else _inner_words(error, depth - 1)
        message = body.get("message")  # Spring and Nest: {"error": "Bad Request", "message": "why"}
        why = message if isinstance(message, str) and message != error else ""
        return _merged(_facts_of(body), Words(text=_joined(said.text, why)), said)
    facts = _facts_of(body)
    text = next((body[name] for name in _TEXTS if isinstance(body.get(name), str) and body[name]), "")
    inner = _inner_words(text, depth - 1) if text.lstrip()[:1] in ("{", "[") else Words(text=text)
    nested = [_read(body[name], depth - 1) for name in _INNER if isinstance(body.get(name), dict | list)]
    raw = facts.metadata.get("raw")
    if isinstance(raw, str) and raw:
        nested.append(_inner_words(raw, depth - 1))
    elif isinstance(raw, dict | list):
        nested.append(_read(raw, depth - 1))
    return _merged(facts, inner, *nested)


def _read_list(items: list[Any], depth: int) -> Words:
    parts = [_entry(item, depth) for item in items[:20]]
    return _merged(*(parts[:1] or [NOTHING_SAID]), *parts[1:])


def _entry(item: Any, depth: int) -> Words:
    if isinstance(item, str):
        return Words(text=item)
    if isinstance(item, dict) and isinstance(item.get("msg"), str) and isinstance(item.get("loc"), list):
        where = ".".join(str(step) for step in item["loc"] if step not in ("body", "query"))
        kind = item.get("type")
        text = f"{where}: {item['msg']}" if where else item["msg"]
        return Words(text=text, kind=kind if isinstance(kind, str) else None, param=where or None)
    return _read(item, depth - 1)


def _inner_words(text: str, depth: int) -> Words:
    """Return what a text says that may itself be JSON: a provider's body, passed on as it came."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            said = _read(upstream_json.loads(text.encode("utf-8", "surrogatepass")), depth)
        except ValueError:
            return Words(text=text)
        return said if said.text else Words(text=text)
    return NOTHING_SAID if text.lstrip()[:1] == "<" else Words(text=text)


def _facts_of(body: Mapping[str, Any]) -> Words:
    code, kind, param, metadata = (body.get(name) for name in ("code", "type", "param", "metadata"))
    numbers = (status_of(code), status_of(body.get("status")), status_of(body.get("status_code")))
    status_word = body.get("status")  # Google's: INVALID_ARGUMENT
    words = [word for word in (code, status_word) if isinstance(word, str) and word and not word.isdigit()]
    return Words(
        code=words[0] if words else None,
        kind=kind if isinstance(kind, str) else None,
        param=param if isinstance(param, str) and param else None,
        status=next((number for number in numbers if number is not None), None),
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def status_of(code: Any) -> int | None:
    """Return `code` where it is an HTTP status of a failure, as a number or as digits."""
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:
        code = int(code)
    return code if type(code) is int and 400 <= code <= 599 else None


def _merged(*parts: Words) -> Words:
    """Return one: each fact from the first that has it, all texts."""
    return Words(
        text=_joined(*(part.text for part in parts)),
        code=_first(part.code for part in parts),
        kind=_first(part.kind for part in parts),
        param=_first(part.param for part in parts),
        status=next((part.status for part in parts if part.status is not None), None),
        metadata=next((part.metadata for part in parts if part.metadata), {}),
    )


def _first(words: Iterator[str | None]) -> str | None:
    return next((word for word in words if word), None)


def _joined(*texts: str) -> str:
    told: list[str] = []
    for text in texts:
        if text and not any(text in other for other in told):
            told.append(text)
    return ": ".join(told)
