"""The parser of server-sent events, apart from what the events hold."""

from __future__ import annotations

from shared.clients.sse import EventParser


def test_the_type_of_an_event_ends_with_it() -> None:
    """An event without a type of its own is not of the type before it."""
    parser = EventParser()
    assert parser.feed(b"event: error\ndata: 1\n\ndata: 2\n\n") == [(b"error", b"1"), (b"", b"2")]
    assert parser.feed(b"event: error\n\n") == []
    assert parser.feed(b"data: 3\n\n") == [(b"", b"3")]
