"""Reading a JSON body from a client that may be slow, huge, or lying about its format."""

from __future__ import annotations

import asyncio
import re

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from shared.errors import InvalidRequest, PayloadTooLarge, RequestTimeout, UnsupportedMedia
from shared.settings import Settings

_JSON = re.compile(r"application/(?:[a-z0-9.-]+\+)?json", re.IGNORECASE)
_UNPACKED = frozenset({"", "identity", "gzip", "deflate"})
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})


async def read_body(request: web.Request, settings: Settings) -> bytes:
    """Return the unpacked body.

    Raises UnsupportedMedia, PayloadTooLarge (by the declared length before a byte is read), RequestTimeout, or
    InvalidRequest for a broken encoding.
    """
    _check_headers(request)
    limit = settings.MAX_BODY_BYTES
    if (request.content_length or 0) > limit:
        raise too_large(limit)
    try:
        async with asyncio.timeout(settings.BODY_TIMEOUT_S):
            return await _read(request, limit)
    except TimeoutError as error:
        raise RequestTimeout("The body did not arrive in time.", code="request_timeout") from error
    except (HttpProcessingError, RequestPayloadError, web.PayloadAccessError) as error:
        raise InvalidRequest("The body does not match its declared encoding.", code="bad_encoding") from error


def too_large(limit: int) -> PayloadTooLarge:
    """Return the error of a body beyond `limit`."""
    return PayloadTooLarge(f"The body is larger than {limit} bytes.", code="body_too_large")


def unsupported_encoding() -> UnsupportedMedia:
    """Return the error of a content encoding that we do not unpack."""
    return UnsupportedMedia("Bodies may be packed once, with gzip or deflate.", code="unsupported_encoding")


async def _read(request: web.Request, limit: int) -> bytes:
    content = request.content
    content.set_read_chunk_size(min(limit, 1 << 18))  # unpack in larger steps
    body = bytearray()
    while chunk := await content.readany():
        body += chunk
        if len(body) > limit:
            raise too_large(limit)
    return bytes(body)


def _check_headers(request: web.Request) -> None:
    encodings = request.headers.getall(hdrs.CONTENT_ENCODING, [])
    if len(encodings) > 1 or (encodings and encodings[0].strip().lower() not in _UNPACKED):
        raise unsupported_encoding()
    types = request.headers.getall(hdrs.CONTENT_TYPE, [])
    if not types:
        return
    if len(types) > 1 or _JSON.fullmatch(request.content_type) is None:
        raise UnsupportedMedia("The content type must be application/json.", code="unsupported_media_type")
    if (request.charset or "utf-8").lower() not in _CHARSETS:
        raise InvalidRequest("The charset must be utf-8.", code="unsupported_charset")
