"""Parser of whole answers in other APIs than chat completions: the facts that the router needs of them."""

from __future__ import annotations

from shared.clients.answers import BadAnswer, RefusalOf, error_of, model_of, parse_object
from shared.clients.upstream_errors import garbage
from shared.clients.usage import usage_of
from shared.schemas.upstream import Answer


def native_answer_of(api: str, raw: bytes, refusal: RefusalOf) -> Answer:
    """Return a whole answer of `api`. Raises UpstreamError."""
    try:
        body, raw = parse_object(raw)
    except BadAnswer as error:
        raise garbage(str(error)) from error
    failure = error_of(body, ())
    if failure is not None:
        raise refusal(failure)
    if not isinstance(body.get("data"), list):
        raise garbage("no embeddings")
    return Answer(raw, usage_of(body), model_of(body), api=api)
