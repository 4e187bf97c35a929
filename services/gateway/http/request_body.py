"""Request body reader: content type, encoding, size limit and deadline."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from services.gateway.http.app_keys import BODY_BYTES, REQUEST_CONTEXT
from shared.errors import InvalidRequest, PayloadTooLarge, RequestTimeout, UnsupportedMedia
from shared.settings import Settings

_JSON = re.compile(r"application/(?:[a-z0-9.-]+\+)?json", re.IGNORECASE)
FORM = "application/x-www-form-urlencoded"
_READ_STEP = 1 << 18
_ENCODINGS = frozenset({"", "identity", "gzip", "deflate"})
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})


async def read_body(
    request: web.Request, settings: Settings, *, most: int | None = None, or_form: bool = False
) -> bytes:
    """Return the decompressed body: JSON, or with `or_form` a form's fields, of at most `most` bytes.

    Raises UnsupportedMedia, PayloadTooLarge and Unavailable (by the declared length before a byte is read),
    RequestTimeout, or InvalidRequest for a broken encoding.
    """
    _check_headers(request, or_form=or_form)
    limit = min(settings.MAX_BODY_BYTES, most or settings.MAX_BODY_BYTES)
    if (request.content_length or 0) > limit:
        raise too_large(limit)
    hold = partial(request.app[BODY_BYTES].hold, request[REQUEST_CONTEXT])
    hold(request.content_length or 0)
    try:
        async with asyncio.timeout(settings.BODY_TIMEOUT_S):
            return await _read(request, limit, hold)
    except TimeoutError as error:
        raise RequestTimeout("The body did not arrive in time.", code="request_timeout") from error
    except (HttpProcessingError, RequestPayloadError, web.PayloadAccessError) as error:
        raise InvalidRequest("The body does not match its declared encoding.", code="bad_encoding") from error


def too_large(limit: int) -> PayloadTooLarge:
    """Return the error for a body of more than `limit` bytes."""
    return PayloadTooLarge(f"The body is larger than {limit} bytes.", code="body_too_large")


def unsupported_encoding() -> UnsupportedMedia:
    """Return the error for a content encoding that is not supported."""
    return UnsupportedMedia("Bodies may be packed once, with gzip or deflate.", code="unsupported_encoding")


async def _read(request: web.Request, limit: int, hold: Callable[[int], None]) -> bytes:
    content = request.content
    content.set_read_chunk_size(min(limit, _READ_STEP))  # decompress in larger steps
    body = bytearray()
    while chunk := await content.readany():
        body += chunk
        if len(body) > _READ_STEP:
            await asyncio.sleep(0)  # `readany` alone would block the event loop while there is more to decompress
        if len(body) > limit:
            raise too_large(limit)
        hold(len(body))
    return bytes(body)


def is_form(request: web.Request) -> bool:
    """Return whether the body is declared as a browser's form."""
    return request.content_type == FORM


def _check_headers(request: web.Request, *, or_form: bool) -> None:
    encodings = request.headers.getall(hdrs.CONTENT_ENCODING, [])
    if len(encodings) > 1 or (encodings and encodings[0].strip().lower() not in _ENCODINGS):
        raise unsupported_encoding()
    types = request.headers.getall(hdrs.CONTENT_TYPE, [])
    if not types:
        if hdrs.ORIGIN in request.headers:  # without a type, a page may send it to any site without a preflight
            raise UnsupportedMedia("A web page must send a Content-Type.", code="unsupported_media_type")
        return
    known = _JSON.fullmatch(request.content_type) is not None or (or_form and is_form(request))
    if len(types) > 1 or not known:
        raise UnsupportedMedia("The content type must be application/json.", code="unsupported_media_type")
    if (request.charset or "utf-8").lower() not in _CHARSETS:
        raise InvalidRequest("The charset must be utf-8.", code="unsupported_charset")
