"""The parser of server-sent events, apart from what the events hold."""

from __future__ import annotations

import pytest

from shared.clients.sse import Event, EventParser


def test_the_type_of_an_event_ends_with_it() -> None:
    """An event without a type of its own is not of the type before it."""
    parser = EventParser()
    assert parser.feed(b"event: error\ndata: 1\n\ndata: 2\n\n") == [(b"error", b"1"), (b"", b"2")]
    assert parser.feed(b"event: error\n\n") == []
    assert parser.feed(b"data: 3\n\n") == [(b"", b"3")]


ERROR = b'{"error": {"message": "overloaded"}}'


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: 1\n\n" + ERROR + b"\n", [(b"", b"1"), (b"", ERROR)]),
        (b"data: 1\n" + ERROR + b"\n\n", [(b"", b"1"), (b"", ERROR)]),
        (b"data: 1\n\n  " + ERROR + b"\ndata: [DONE]\n\n", [(b"", b"1"), (b"", b"  " + ERROR), (b"", b"[DONE]")]),
        (b"data: 1\n\nevent: error\n" + ERROR + b"\n\n", [(b"", b"1"), (b"error", ERROR)]),
        (b'data: 1\n\n{\n "error": {\n }\n}\n', [(b"", b"1"), (b"", b'{\n "error": {\n }\n}')]),
        (b'event: error\n{"message": 1}\n', [(b"error", b'{"message": 1}')]),
        (b'data: 1\n\n{\n"error": 1}\ndata: 2\n\n', [(b"", b"1"), (b"", b'{\n"error": 1}'), (b"", b"2")]),
        (b"data: 1\n\n{}\n{\n}\n\n{garbage\n\ndata: 2\n\n", [(b"", b"1"), (b"", b"2")]),
        (b"data: 1\n\nid: {}\nretry: 5\n\ndata: 2\n\n", [(b"", b"1"), (b"", b"2")]),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_error_without_a_field_name_is_an_event(stream: bytes, events: list[Event], size: int) -> None:
    """Servers that fail within a stream write their error as plain JSON; other lines without a field are dropped."""
    parser = EventParser()
    found = [event for at in range(0, len(stream), size) for event in parser.feed(stream[at : at + size])]
    assert found + parser.end() == events
