"""Parser of plain requests: it accepts them, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.fast_path.plain_request import MAX_HEAD_BYTES, Head, NotPlain, RequestBoundaries, read_head

LINE = b"POST /embed HTTP/1.1"
HEAD = LINE + b"\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 5\r\n"
WHOLE = HEAD + b"\r\nhello"


def read(data: bytes) -> Head | None:
    return read_head(data, (LINE, b"GET /other HTTP/1.1"), most=1000)


def with_field(*fields: bytes) -> bytes:
    return HEAD + b"".join(field + b"\r\n" for field in fields) + b"\r\nhello"


def test_a_plain_request_is_read() -> None:
    """Its line, its headers by lower-case names, and where its body is."""
    head = read(WHOLE + b"POST /next")
    assert head is not None
    assert head.line == LINE
    assert head.headers == {"host": "here", "content-type": "application/json", "content-length": "5"}
    assert (WHOLE + b"POST /next")[head.start : head.end] == b"hello"


def test_every_beginning_of_it_may_become_one() -> None:
    """Whatever the pieces in which it arrives."""
    for end in range(1, len(HEAD) + 2):
        assert read(WHOLE[:end]) is None


@pytest.mark.parametrize(
    "field",
    [b"X-A: 1", b"X-A:", b"X-A:\t1 ", b"Connection: Keep-Alive", b"Accept: */*", b"x!#$%&'*+-.^_`|~1: :: \x7e"],
)
def test_ordinary_headers_are_plain(field: bytes) -> None:
    """Any name, any printable value."""
    assert read(with_field(field)) is not None


@pytest.mark.parametrize(
    "field",
    [
        *(b"Content-Length: 5", b"content-length: 6", b"Transfer-Encoding: chunked", b"transfer-encoding:"),
        *(b"Transfer-Encoding : chunked", b" folded", b"\tfolded", b"no colon", b": no name", b"a b: 1", b"X-A\x00: 1"),
        *(b"X-A: a\x00b", b"X-A: a\rb", b"X-A: a\nTransfer-Encoding: chunked", b"X-A: \x7f", b"X-A: caf\xe9"),
        *(b"Expect: 100-continue", b"Upgrade: websocket", b"Content-Encoding: gzip", b"Trailer: x", b"Host: there"),
        *(b"Connection: close", b"Connection: keep-alive, Upgrade", b"Connection: Content-Length", b"X-A: 1\r\nx-a: 1"),
        *(b"X\xb2: 1", b"X-A: " + b"a" * MAX_HEAD_BYTES),
    ],
)
def test_what_two_readers_could_read_differently_is_not(field: bytes) -> None:
    """Doubled, folded, hidden, packed, switching: all of it is left to aiohttp."""
    with pytest.raises(NotPlain):
        read(with_field(field))


@pytest.mark.parametrize(
    "length",
    [
        b"",
        b"+5",
        b"-5",
        b"5,5",
        b"5, 5",
        b"5 5",
        b"0x5",
        b"5.0",
        b"5_0",
        b"1001",
        b"0000000005",
        b"9999999999",
        b"five",
    ],
)
def test_a_length_is_a_few_digits_within_the_bound(length: bytes) -> None:
    """Nothing that has to be interpreted."""
    with pytest.raises(NotPlain):
        read(LINE + b"\r\nHost: here\r\nContent-Length: " + length + b"\r\n\r\nhello")


@pytest.mark.parametrize("missing", [b"Host: here\r\n", b"Content-Length: 5\r\n"])
def test_host_and_length_are_needed(missing: bytes) -> None:
    """Without a length a body could go on for ever."""
    with pytest.raises(NotPlain):
        read(WHOLE.replace(missing, b""))


@pytest.mark.parametrize(
    "start",
    [
        *(b"post /embed HTTP/1.1", b"POST /embed HTTP/1.0", b"POST  /embed HTTP/1.1", b"POST /embed?x HTTP/1.1"),
        *(b"POST /embed HTTP/1.1 ", b"POST http://here/embed HTTP/1.1", b"\r\nPOST /embed HTTP/1.1", b"GET / HTTP/1.1"),
        *(b"PRI * HTTP/2.0", b"\x16\x03\x01", b"POST /embed HTTP/1.1\n", b"POST /embed HTTP/1.12"),
    ],
)
def test_another_first_line_is_known_before_the_head_is_complete(start: bytes) -> None:
    """So the server does not wait for the rest of it."""
    with pytest.raises(NotPlain):
        read(start + b"\r\nHo")


@pytest.mark.parametrize("name", [b"Authorization", b"authorization", b"AUTHORIZATION", b"X-Api-Key"])
def test_only_heads_without_a_key_are_remembered(name: bytes) -> None:
    """Equal heads are parsed once; one with a key is not kept in memory."""

    def headers(field: bytes) -> object:
        head = read(with_field(field))
        assert head is not None
        return head.headers

    assert headers(b"Accept: */*") is headers(b"Accept: */*")
    assert headers(name + b": Bearer key") is not headers(name + b": Bearer key")


def test_a_boundary_is_between_requests_alone() -> None:
    """Neither within a head nor within a body; and never again behind what is not plain."""
    boundaries = RequestBoundaries()
    seen = [boundaries.at_boundary]
    for piece in (WHOLE[:20], WHOLE[20:-3], WHOLE[-3:], WHOLE + WHOLE[:-1], WHOLE[-1:]):
        boundaries.feed(piece)
        seen.append(boundaries.at_boundary)
    assert seen == [True, False, False, True, False, True]
    boundaries.feed(with_field(b"Transfer-Encoding: chunked"))
    boundaries.feed(WHOLE)
    assert not boundaries.at_boundary


@given(st.binary(max_size=40), st.integers(0, len(HEAD) + 2))
def test_any_bytes_are_read_or_refused(junk: bytes, place: int) -> None:
    """Whatever comes: a head within the data, a wait or a refusal; and what is read has one length and no odd field."""
    data = WHOLE[:place] + junk + WHOLE[place:]
    try:
        head = read(data)
    except NotPlain:
        return
    if head is not None:
        fields = data[: head.start].lower()
        assert fields.count(b"content-length") >= 1
        assert b"\ntransfer-encoding" not in fields
        assert fields.count(b"\n") == fields.count(b"\r\n") == len(head.headers) + 2
        assert head.end - head.start == int(head.headers["content-length"])
