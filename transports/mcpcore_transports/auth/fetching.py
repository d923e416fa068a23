"""Requests of an authorization: one exchange each, on a connection of its own.

Nothing is followed, kept or inflated.  The host is resolved once; the connection goes to an address
that was checked, so that a name cannot stand for one address in the check and for another in the
connection.

Sources: RFC 9728 section 7.7 and the security best practices page (SSRF), RFC 9110 sections 10.1.5
and 12.5.3.
"""

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address

import anyio
from anyio.abc import ByteStream
from msgspec.structs import replace

from mcpcore.auth.needs import Fetch, Fetched, NeedFailed
from mcpcore.auth.urls import Url, check_url, is_public, parse_url, private_hint
from mcpcore.errors import BadProxy, UrlRefused
from mcpcore_transports.http.client.client import CODINGS, ExchangeFailed, Origin
from mcpcore_transports.http.client.proxies import ENVIRONMENT, Proxy, is_local, proxy_for
from mcpcore_transports.http1.body import BadHead
from mcpcore_transports.http1.connection import Http1Client
from mcpcore_transports.http1.format import format_request, with_agent
from mcpcore_transports.http1.settings import HttpClientLinkSettings
from mcpcore_transports.link import LOST, clock

_PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
_HEADERS = {
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
}
_TIMEOUT = 10.0
_WHAT = "the URL of the request"
_ADDRESSES = 8
"""Addresses of a host that are tried at most."""


def first_request(url: str, more: Mapping[str, str] | None = None) -> Fetch:
    """Return a request to a server that is refused with its challenge, with ``more`` headers."""
    headers = {**_HEADERS, **(more or {})}
    return Fetch(method="POST", url=url, headers=headers, body=_PING, timeout=_TIMEOUT)


def check_proxy(url: str, proxy: Proxy | str | None, what: str) -> None:
    """Raise UrlRefused for a URL without TLS whose proxy, on another machine, would read along.

    Such URLs are of this machine.
    """
    if parse_url(url, what).scheme != "http":
        return
    with suppress(BadProxy):  # that is told where it is to be used
        chosen = proxy_for(url, proxy)
        if chosen is not None and not is_local(chosen.host):
            raise UrlRefused(what, f"it is not an https URL, and {chosen} is its proxy")


def challenges_in(found: Fetched) -> tuple[str, ...]:
    """Return the values of WWW-Authenticate in a response."""
    return tuple(value for name, value in found.headers if name == "www-authenticate")


class Fetcher:
    """Sender of the requests of one authorization.

    ``local``: True if the MCP server is on loopback; only then requests may go there.
    ``private``: True if they may go to private networks, never to link-local addresses.  Through a
    proxy it is the proxy that resolves the host: the URL alone is checked.
    """

    def __init__(
        self,
        *,
        local: bool,
        private: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        proxy: Proxy | str | None = ENVIRONMENT,
        settings: HttpClientLinkSettings | None = None,
    ) -> None:
        self._local, self._private = local, private
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._settings = settings or HttpClientLinkSettings()

    async def fetch(self, need: Fetch) -> Fetched | NeedFailed:
        """Carry out a request, within its time and the size of its response."""
        try:
            with anyio.fail_after(need.timeout):
                return await self._fetch(need)
        except TimeoutError:
            return NeedFailed(f"the request took more than {need.timeout:g} s")
        except (ExchangeFailed, UrlRefused, BadProxy) as error:
            return NeedFailed(str(error))
        except BadHead as error:
            return NeedFailed(f"the response is malformed: {error}")
        except LOST:
            return NeedFailed("the connection was closed without a whole response")

    async def _fetch(self, need: Fetch) -> Fetched:
        url = check_url(need.url, _WHAT, loopback=self._local, private=self._private)
        check_proxy(url.text, self._proxy, _WHAT)
        origin = Origin.of(url.text, self._ssl_context, proxy_for(url.text, self._proxy))
        stream = await self._connect(url, origin, need.timeout)
        try:
            return await self._exchange(stream, need, url, origin)
        finally:
            await anyio.aclose_forcefully(stream)

    # Addresses

    async def _connect(self, url: Url, origin: Origin, timeout: float) -> ByteStream:
        """Connect to the first checked address that can be reached."""
        limits, seconds = self._settings.head_limits, self._settings.connect_time
        if origin.proxy is not None:
            return await origin.connect(seconds, limits)
        addresses = await self._resolve(url)
        for address in addresses[:-1]:
            try:
                # One that does not answer leaves time for the others.
                return await replace(origin, address=address).connect(
                    min(seconds, timeout / len(addresses)), limits
                )
            except ExchangeFailed:
                continue
        return await replace(origin, address=addresses[-1]).connect(seconds, limits)

    async def _resolve(self, url: Url) -> list[str]:
        """Return the addresses of a host.  Raises UrlRefused if one of them is out of bounds."""
        try:
            found = await anyio.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise ExchangeFailed("unknown host") from None
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))[:_ADDRESSES]
        if not addresses:
            raise ExchangeFailed("unknown host")
        for address in addresses:
            if not self._allowed(address, url):
                hint = "" if url.loopback else private_hint(address)
                raise UrlRefused(_WHAT, f"its host has an address that is not public{hint}")
        return addresses

    def _allowed(self, address: str, url: Url) -> bool:
        try:
            loopback = ip_address(address).is_loopback
        except ValueError:
            return False
        if url.loopback:
            return loopback  # a name that the policy has taken for this machine
        if loopback:
            return self._local
        return is_public(address, private=self._private)

    # The exchange

    async def _exchange(self, stream: ByteStream, need: Fetch, url: Url, origin: Origin) -> Fetched:
        http = Http1Client(self._settings)
        http.connect()
        http.established()
        http.send()
        await stream.send(_request(need, url, origin))
        while (head := http.next_head(clock())) is None:
            http.feed(await stream.receive())
        if head.status == 407 and origin.relay is not None:
            raise ExchangeFailed(f"the proxy {origin.relay} wants authorization, or other")
        if any(each.strip().lower() != b"identity" for each in head.codings):
            raise ExchangeFailed("the response is compressed, which was not asked for")
        body = bytearray()
        while True:
            body += http.read_body()
            if len(body) > need.limit or (head.length or 0) > need.limit:
                raise ExchangeFailed(f"the response is larger than {need.limit} bytes")
            http.check_body()
            if http.complete:
                break
            try:
                http.feed(await stream.receive())
            except anyio.EndOfStream:
                if not http.end_input():
                    raise
                break
        headers = tuple(
            (name.decode("latin-1"), text.decode("latin-1")) for name, text in head.headers
        )
        return Fetched(status=head.status, headers=headers, body=bytes(body))


def _request(need: Fetch, url: Url, origin: Origin) -> bytes:
    """Return a request with a head of this module's own making."""
    host = url.origin.partition("://")[2].encode()
    target = (url.path or "/") + url.query
    headers = [
        (b"host", host),
        (b"accept-encoding", CODINGS[False]),
        (b"connection", b"close"),
        *((name.encode(), str.__str__(text).encode()) for name, text in need.headers.items()),
    ]
    if need.body or need.method == "POST":
        headers.append((b"content-length", b"%d" % len(need.body)))
    relay = origin.relay
    if relay is not None:
        target = url.origin + target
        if relay.authorization is not None:
            headers.append((b"proxy-authorization", relay.authorization))
    try:
        return format_request(need.method, target, with_agent(headers)) + need.body
    except ValueError:
        raise ExchangeFailed("the request holds characters that no head may hold") from None
