"""Fast path of an HTTP server: plain requests to a few routes are read and answered here, all others by aiohttp.

    await listen(runner, host, port, routes, ...)

aiohttp takes 80 to 140 us of processor time for what is around a handler, the fast path a fifth of that. It takes what
every server reads alike (`plain_request.py`). Everything else, and every slow client, is aiohttp's, with every byte
received, so each odd case is parsed, refused and timed as if there were no fast path. When aiohttp has answered, the
next plain request on the same connection is answered here again.
"""

from shared.fast_path.listener import listen
from shared.fast_path.plain_request import PlainRequest
from shared.fast_path.protocol import Handler
from shared.fast_path.response_writer import PlainResponse, ResponseWriter

__all__ = ["Handler", "PlainRequest", "PlainResponse", "ResponseWriter", "listen"]
