"""The embedder's endpoint without HTTP: limits of a request, its deadline, and the text of a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from services.embedder.embed_endpoint import EmbedEndpoint, error_reply
from services.embedder.micro_batcher import MicroBatcher
from shared.errors import PayloadTooLarge, Unavailable
from shared.schemas.embedding import DEADLINE_HEADER
from shared.schemas.storage import EmbeddingModel


class Noting:
    """Notes what it is called with."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.within_s: float | None = None

    async def embed(self, texts: Sequence[str], *, within_s: float | None = None) -> NDArray[np.float32]:
        self.texts, self.within_s = list(texts), within_s
        return np.eye(len(texts), 4, dtype=np.float32)


def endpoint(batcher: Noting) -> EmbedEndpoint:
    return EmbedEndpoint(cast("MicroBatcher", batcher), EmbeddingModel("m", 4), most_texts=2, most_chars=5)


def body(*texts: str) -> bytes:
    return orjson.dumps({"texts": texts})


async def test_a_request_has_as_many_texts_as_the_limit_and_each_is_cut() -> None:
    """EMBED_QUEUE_LIMIT texts, EMBED_MAX_CHARS characters of each."""
    batcher = Noting()
    await endpoint(batcher).reply({}, body("short", "too long"))
    assert batcher.texts == ["short", "too l"]
    with pytest.raises(PayloadTooLarge):
        await endpoint(batcher).reply({}, body("a", "b", "c"))


@pytest.mark.parametrize(("sent", "within_s"), [("1500", 1.5), ("0", 0.0), ("-1", None), ("soon", None), (None, None)])
async def test_the_deadline_is_sent_in_milliseconds(sent: str | None, within_s: float | None) -> None:
    """What is no number of milliseconds is no deadline."""
    batcher = Noting()
    headers: dict[str, Any] = {} if sent is None else {DEADLINE_HEADER: sent}
    await endpoint(batcher).reply(headers, body("a"))
    assert batcher.within_s == within_s


def test_retry_after_is_rounded_up() -> None:
    """A retry after that time is not too early."""
    assert error_reply(Unavailable("x", code="overloaded", retry_after_s=1.2)).headers["Retry-After"] == "2"
    assert error_reply(Unavailable("x", code="overloaded", retry_after_s=1.0)).headers["Retry-After"] == "1"
