"""Original of a request in a dialect, for upstreams that have the API: nothing of it is lost in a translation.

What the router itself wrote into earlier answers means nothing to an upstream, so it is removed: reasoning without a
signature, and ids of items. A request that cannot be translated gets the gist of it as chat body, for what the router
reads of it; only an upstream with the API can serve it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from services.gateway.dialects.answer_parts import text_of
from services.gateway.dialects.dialect import OWN_FIELDS, Untranslatable, passed
from shared.schemas.chat import Translated
from shared.schemas.terms import is_auto
from shared.schemas.upstream import MESSAGES, RESPONSES, Native

_OUR_ITEM = re.compile(r"[a-z]+_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}_\d+")
_ROLES = {"assistant": "assistant", "system": "system", "developer": "system"}


def messages_with_original(body: dict[str, Any], translate: Callable[[dict[str, Any]], Translated]) -> Translated:
    """Return a checked Messages request as a chat body, with its original."""
    said = [_message(one) for one in body["messages"]]
    return _with_original(MESSAGES, body, translate, {**body, "messages": said})


def responses_with_original(body: dict[str, Any], translate: Callable[[dict[str, Any]], Translated]) -> Translated:
    """Return a checked Responses request as a chat body, with its original.

    Where the router chooses, nothing is stored unless the client wishes it: a later request may go to another upstream.
    """
    original = {"store": False, **body} if is_auto(body.get("model")) else dict(body)
    if isinstance(body["input"], list):
        items = [_item(one) for one in body["input"]]
        original["input"] = [item for item in items if item is not None]
    return _with_original(RESPONSES, body, translate, original)


def _with_original(
    api: str, body: dict[str, Any], translate: Callable[[dict[str, Any]], Translated], original: dict[str, Any]
) -> Translated:
    refusal = None
    try:
        found = translate(body)
    except Untranslatable as error:
        found, refusal = Translated(_gist(body), caps_answer=api == MESSAGES), error
    return replace(found, native=Native(api, original, only=refusal is not None), refusal=refusal)


def _message(message: Any) -> Any:
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return message
    return {**message, "content": [block for block in content if not _is_unsigned(block)]}


def _is_unsigned(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "thinking" and not block.get("signature")


def _item(item: Any) -> Any:
    """Return an item of the input as the upstream may read it, None for reasoning that the router wrote down."""
    known = item.get("id") if isinstance(item, dict) else None
    if not isinstance(known, str) or not _OUR_ITEM.fullmatch(known):
        return item
    return None if item.get("type") == "reasoning" else {name: item[name] for name in item if name != "id"}


def _gist(body: dict[str, Any]) -> dict[str, Any]:
    """Return texts, names of tools and the limit of the answer as a chat body."""
    said = body.get("input", body.get("messages"))
    items = [{"role": "user", "content": said}] if isinstance(said, str) else said
    messages = [
        {"role": _ROLES.get(str(item.get("role")), "user"), "content": text_of(item.get("content"))}
        for item in items or ()
        if isinstance(item, dict)
    ]
    tools = [
        {"type": "function", "function": {"name": tool["name"]}}
        for tool in body.get("tools") or ()
        if isinstance(tool, dict) and isinstance(tool.get("name"), str)
    ]
    limit = body.get("max_output_tokens", body.get("max_tokens"))
    chat = passed(body, OWN_FIELDS) | {"messages": messages or [{"role": "user", "content": ""}]}
    return chat | ({"tools": tools} if tools else {}) | ({"max_completion_tokens": limit} if limit else {})
