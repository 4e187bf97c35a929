"""HTTP/1.1 to one address, for the three calls that an answer waits for: embedder, Qdrant and the upstream.

A call takes about a fifth of the processor time of the same call by aiohttp's client: no redirects, no cookies, no
compression, no proxies.

    await http.request(...)     a whole answer of a bounded size
    await http.open(...)        an answer whose body is read as it comes, of any length and end

`request` sends again once where a kept connection turns out to be closed before a byte has come back, so only what may
arrive twice goes this way. `open` sends once: who asks a model twice pays twice.
"""

from shared.quick_http.connection import BadReply, Closed, Reply
from shared.quick_http.pool import ConnectTimeout, Incoming, NotConnected, QuickHttp

__all__ = ["BadReply", "Closed", "ConnectTimeout", "Incoming", "NotConnected", "QuickHttp", "Reply"]
