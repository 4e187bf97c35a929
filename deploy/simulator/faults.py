"""Fault injection by the header `x-simulate: <fault>[;model=<arm id>][;seconds=<float>]`.

| fault | effect |
|---|---|
| `status-<code>` | this status with an error body; `retry-after: 1` on 429 and 503 |
| `garbage`, `html`, `empty` | status 200 with broken JSON, with a web page, with an empty body |
| `error-200` | status 200 with an error body; in a stream, an error event after the first chunks |
| `cut` | the connection is aborted in the middle of the body |
| `cut-clean` | the stream ends in the middle, cleanly, without finish_reason or `[DONE]` |
| `stall` | the stream pauses in the middle, for `seconds` |
| `comments` | SSE comments only for `seconds`, then the stream |
| `slow-first-token` | `seconds` (default 5) pass before the first byte |
| `hang` | no response |
| `reset` | the connection is aborted before the response |
| `no-usage` | a response without `usage` |
| `redirect` | 302 to another host |
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from aiohttp import web

from deploy.simulator.wire import error_body

HEADER = "x-simulate"
AT_RANDOM = (
    *("status-429", "status-500", "status-502", "status-503", "status-529"),
    *("garbage", "html", "empty", "error-200", "cut", "cut-clean", "stall;seconds=5", "hang;seconds=5", "reset"),
)
"""Faults that `--faults` draws from; clients should time out earlier than the silent ones end."""
FOREVER_S = 3600.0
BODIES = {
    "garbage": (b'{"id": "gen-1", "choices": [{"mess', "application/json"),
    "html": (b"<html><body><h1>502 Bad Gateway</h1></body></html>", "text/html"),
    "empty": (b"", "application/json"),
}
BEFORE_ANSWER = (*BODIES, "hang", "reset", "redirect")
WITHIN_ANSWER = ("error-200", "cut", "cut-clean", "stall", "comments", "slow-first-token", "no-usage")


@dataclass(frozen=True, slots=True)
class Fault:
    """The fault of a request. `seconds`: None without that option."""

    kind: str
    seconds: float | None = None


NO_FAULT = Fault("")


def parse_fault(header: str | None, model: str) -> Fault:
    """Parse the header; `NO_FAULT` without one, or when it names another model. Raises ValueError."""
    if not header:
        return NO_FAULT
    kind, *options = (part.strip() for part in header.split(";"))
    seconds: float | None = None
    for option in options:
        name, _, value = option.partition("=")
        if name == "model":
            if value != model:
                return NO_FAULT
        elif name == "seconds" and math.isfinite(float(value)) and float(value) >= 0:
            seconds = float(value)
        else:
            raise ValueError(f"{HEADER}: unknown option {option!r}")
    known = kind in BEFORE_ANSWER or kind in WITHIN_ANSWER
    if not known and not (kind.startswith("status-") and kind[7:].isdigit() and 400 <= int(kind[7:]) <= 599):
        raise ValueError(f"{HEADER}: unknown fault {kind!r}")
    return Fault(kind, seconds)


async def respond_with(fault: Fault, request: web.Request) -> web.StreamResponse | None:
    """Return the response of a fault that replaces the reply; None when the reply is needed."""
    if fault.kind.startswith("status-"):
        status = int(fault.kind[7:])
        headers = {"retry-after": "1"} if status in {429, 503} else {}
        return web.json_response(error_body(status, f"Simulated {status}"), status=status, headers=headers)
    if fault.kind in BODIES:
        body, content_type = BODIES[fault.kind]
        return web.Response(body=body, content_type=content_type)
    if fault.kind == "redirect":
        return web.Response(status=302, headers={"location": "http://169.254.169.254/latest/meta-data/"})
    if fault.kind == "hang":
        await asyncio.sleep(FOREVER_S if fault.seconds is None else fault.seconds)
    return abort(request) if fault.kind in {"hang", "reset"} else None


def abort(request: web.Request) -> web.StreamResponse:
    """Abort the connection without another byte."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=499)
