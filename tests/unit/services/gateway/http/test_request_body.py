"""Headers of a request's body."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from services.gateway.http.request_body import _check_headers
from shared.errors import ClientError, UnsupportedMedia

JSON = ("Content-Type", "application/json")


@pytest.mark.parametrize("sent", [("gzip", "gzip"), ("gzip", "identity"), ("br",), ("gzip, gzip",)])
def test_a_body_is_packed_once_with_what_is_known(sent: tuple[str, ...]) -> None:
    """Two headers are two packings, of which only one would be undone."""
    headers = CIMultiDict([JSON, *(("Content-Encoding", encoding) for encoding in sent)])
    with pytest.raises(UnsupportedMedia) as caught:
        _check_headers(make_mocked_request("POST", "/", headers=headers), or_form=False)
    assert caught.value.code == "unsupported_encoding"


@pytest.mark.parametrize("sent", [(), ("gzip",), ("GZIP",), ("deflate",), ("identity",)])
def test_a_packed_body_is_taken(sent: tuple[str, ...]) -> None:
    """Whatever the case of the word."""
    headers = CIMultiDict([JSON, *(("Content-Encoding", encoding) for encoding in sent)])
    try:
        _check_headers(make_mocked_request("POST", "/", headers=headers), or_form=False)
    except ClientError as error:
        pytest.fail(f"refused: {error}")
