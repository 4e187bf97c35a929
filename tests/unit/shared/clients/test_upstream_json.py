"""JSON that orjson refuses and OpenAI's SDKs read."""

from __future__ import annotations

import json
import math

import pytest

from shared.clients import upstream_json


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": "\\ud83d"}', {"a": "\ud83d"}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b' \n{"a": 1}\r\n', {"a": 1}),
        (b'{"a": -Infinity}', {"a": -math.inf}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": "\xff"}', {"a": "\ufffd"}),
        (b'{"a": "b\tc\x01\x1f"}', {"a": "b\tc\x01\x1f"}),
        (b'{"a": "\x0b\xff", "b": "\\ud83d"}', {"a": "\x0b\ufffd", "b": "\ud83d"}),
        (b'{"a": "\\ud83d", "b": ' + b"9" * 4301 + b"}", {"a": "\ud83d", "b": math.inf}),
    ],
)
def test_what_others_read_is_read(raw: bytes, value: object) -> None:
    """Half surrogates, byte order marks, figures beyond JSON, doubled keys, broken UTF-8, control characters."""
    assert upstream_json.loads(raw) == value


def test_not_a_number_is_read() -> None:
    """NaN equals nothing."""
    assert math.isnan(upstream_json.loads(b'{"n": NaN}')["n"])


def test_what_is_passed_on_can_be_read_by_strict_clients() -> None:
    """The standard library's parser, which OpenAI's SDK uses, refuses control characters inside strings."""
    value, text = upstream_json.read(b'{"a": "b\tc\x01", "n": 1}')
    assert json.loads(text) == value == {"a": "b\tc\x01", "n": 1}


@pytest.mark.parametrize("raw", [b"", b"{", b"ping", b'{"a": \x01}', b"[" * 100_000, b'{"a": 1} x'])
def test_garbage_is_a_value_error(raw: bytes) -> None:
    """However deep or short."""
    with pytest.raises(ValueError, match=r".+"):
        upstream_json.loads(raw)


@pytest.mark.parametrize("value", [{"a": "\ud83d"}, {"a": 2**70}, {"a": "ü"}])
def test_what_was_read_can_be_written(value: object) -> None:
    """In ASCII where it has to be."""
    assert json.loads(upstream_json.dumps(value)) == value
