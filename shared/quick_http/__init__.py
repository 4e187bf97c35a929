"""HTTP/1.1 without what our calls do not need: a client to one address, and a server's lane for plain requests.

The client is for the three calls that an answer waits for: embedder, Qdrant and the upstream.

A call takes about a fifth of the processor time of the same call by aiohttp's client: no redirects, no cookies, no
compression.

    await http.request(...)     a whole answer of a bounded size
    await http.open(...)        an answer whose body is read as it comes, of any length and end

`request` sends again once where a kept connection turns out to be closed before a byte has come back, so only what may
arrive twice goes this way. `open` sends once, for who asks a model twice pays twice; only where a kept connection was
stale, as it shows in the first second, is the request sent again by a new one.

A lane (`lane.py`) answers plain requests to a few routes of a server, and leaves all others to aiohttp. It is not
exported here: who only asks need not load aiohttp.
"""

from shared.quick_http.pool import Incoming, QuickHttp
from shared.quick_http.proxy import Proxy, ProxyRefused, ProxyUnreachable
from shared.quick_http.replies import BadReply, Closed, ConnectTimeout, NotConnected, Reply

__all__ = [
    "BadReply",
    "Closed",
    "ConnectTimeout",
    "Incoming",
    "NotConnected",
    "Proxy",
    "ProxyRefused",
    "ProxyUnreachable",
    "QuickHttp",
    "Reply",
]
