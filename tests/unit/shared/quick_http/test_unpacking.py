"""Decompressed bodies: bounded, however small they are before."""

from __future__ import annotations

import gzip

import pytest

from shared.quick_http import BadReply
from shared.quick_http.unpacking import unpack

PACKED = {"content-encoding": "gzip"}


def test_a_body_is_unpacked_up_to_its_bound() -> None:
    """A few kilobytes may expand to gigabytes: beyond the bound that is an error, and not memory."""
    body = b"a line of text\n" * 100_000
    assert unpack(PACKED, gzip.compress(body), len(body)) == body
    with pytest.raises(BadReply, match="too long"):
        unpack(PACKED, gzip.compress(body), len(body) - 1)
