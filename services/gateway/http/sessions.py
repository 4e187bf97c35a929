"""Session of a request: the conversation that it belongs to, by what clients send of it.

| source, the first that is there | sent by |
|---|---|
| `session_id` in the body | OpenRouter's clients |
| `x-session-id` | any client that can add headers |
| `x-claude-code-session-id`, else the session in `metadata.user_id` of a Messages request | Claude Code |
| `prompt_cache_key` | OpenAI's clients: requests that share it share the beginning of a prompt, and its cache |
"""

from __future__ import annotations

import re

from services.gateway.request_context import Headers
from shared.errors import InvalidRequest
from shared.schemas.chat import ChatRequest
from shared.schemas.chat_fields import MAX_SESSION_CHARS
from shared.schemas.ids import session_hash
from shared.schemas.upstream import MESSAGES

SESSION = "x-session-id"
CLAUDE_SESSION = "x-claude-code-session-id"
_IN_USER_ID = re.compile(r'session_(?:id"\s*:\s*")?([0-9A-Za-z-]{8,64})')
"""In `user_…_account_…_session_<id>`, or in a JSON document with `session_id`, as later versions send it."""


def session_of(headers: Headers, chat: ChatRequest) -> str | None:
    """Return the hash of the conversation's id, None without one: what is stored is bounded and opaque.

    Raises InvalidRequest for an `x-session-id` that is not valid.
    """
    sent = headers.getall(SESSION, ())
    if len(sent) > 1 or (sent and not 1 <= len(sent[0]) <= MAX_SESSION_CHARS):
        raise InvalidRequest(
            f"The header must be sent once, with 1 to {MAX_SESSION_CHARS} characters.",
            code="invalid_value",
            param=SESSION,
        )
    session_id = chat.session_id or (sent[0] if sent else None) or _of_claude_code(headers, chat) or _cache_key(chat)
    return None if session_id is None else session_hash(session_id)


def _of_claude_code(headers: Headers, chat: ChatRequest) -> str | None:
    if chat.native is None or chat.native.api != MESSAGES:
        return None
    metadata = chat.native.body.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    found = _IN_USER_ID.search(user) if isinstance(user, str) else None
    return headers.get(CLAUDE_SESSION, "")[:MAX_SESSION_CHARS] or (None if found is None else found[1])


def _cache_key(chat: ChatRequest) -> str | None:
    key = chat.body.get("prompt_cache_key")
    return f"prompt_cache_key:{key}" if isinstance(key, str) and key else None
