"""HTTP/1.1 client for one address: the embedder, Qdrant or the upstream. A chat request waits for all three.

A call takes about a fifth of the processor time of the same call by aiohttp's client: no redirects, no cookies.

    await http.request(...)     a whole response of a bounded size
    await http.open(...)        a response whose body is read as it comes, of any length and end

`request` sends again, once, where a kept connection turns out to be closed before a byte has come back; so use it only
for what may arrive twice. `open` sends once, because a chat completion that arrives twice is paid twice. It sends again
by a new connection only where a kept one was stale, which shows in the first second.
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
