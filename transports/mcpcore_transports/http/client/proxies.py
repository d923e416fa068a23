"""HTTP proxies: their choice for a server, and their credentials.

Plain http goes through a proxy as a request with the whole URL, https and WebSocket of both kinds
through a tunnel that the proxy opens (CONNECT).  Sources: RFC 9112 section 3.2.2, RFC 9110 sections
9.3.6 and 11.7, RFC 6455 section 4.1.
"""

import os
import ssl
from base64 import b64encode
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import unquote, urlsplit

from mcpcore.errors import BadProxy
from mcpcore.http.origin import DEFAULT_PORTS
from mcpcore.wire.redaction import HIDDEN, Discreet

ENVIRONMENT: Final = "environment"
"""Proxy from ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``."""

_SAME_WAY = {"ws": "http", "wss": "https"}
"""Schemes that use the proxy of another scheme."""


_SUPPORTED = (
    "supported are proxies with http:// or https:// URLs; others through an HTTP client of your own"
    " (http_client), hosts that need none in NO_PROXY, or proxy=None"
)


class Proxy(Discreet, frozen=True, kw_only=True):
    """Proxy, as :func:`parse_proxy` reads it from a URL."""

    host: str
    port: int
    secure: bool = False
    """True if the connection to the proxy itself uses TLS (``https://``)."""
    authorization: bytes | None = None
    """Value of ``Proxy-Authorization``."""
    ssl_context: ssl.SSLContext | None = None
    """TLS context for a secure proxy; None: the system's authorities."""

    def __shown__(self) -> Mapping[str, object]:
        return {"authorization": self.authorization and HIDDEN}

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_proxy(url: str, *, ssl_context: ssl.SSLContext | None = None) -> Proxy:
    """Parse ``[http[s]://][user:password@]host[:port]``.  Raises BadProxy."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadProxy("the URL of the proxy is malformed") from None
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if parts.scheme not in DEFAULT_PORTS:
        kind = "a SOCKS proxy" if parts.scheme.startswith("socks") else "no HTTP proxy"
        raise BadProxy(f"{shown!r} is {kind}; {_SUPPORTED}")
    if not host or not host.isascii() or any(char <= " " for char in host):
        raise BadProxy(f"{shown!r} names no host that can be a proxy")
    authorization = None
    if parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
        if ":" in user:
            raise BadProxy("the user name for a proxy must not hold a colon")
        authorization = b"Basic " + b64encode(f"{user}:{password}".encode())
    return Proxy(
        host=host,
        port=port or DEFAULT_PORTS[parts.scheme],
        secure=parts.scheme == "https",
        authorization=authorization,
        ssl_context=ssl_context,
    )


def proxy_for(
    url: str, proxy: Proxy | str | None, environ: Mapping[str, str] = os.environ
) -> Proxy | None:
    """Return the proxy to use for ``url``, or None for a direct connection.

    ``proxy``: None, a Proxy or its URL, or :data:`ENVIRONMENT`, which never uses a proxy for this
    machine.  Raises BadProxy, also for a proxy of another kind than these: a connection that should
    use a proxy is never made directly.
    """
    if proxy is None or isinstance(proxy, Proxy):
        return proxy
    if proxy != ENVIRONMENT:
        return parse_proxy(proxy)
    parts = urlsplit(url)
    scheme = _SAME_WAY.get(parts.scheme, parts.scheme)
    host, port = parts.hostname or "", parts.port or DEFAULT_PORTS.get(scheme, 0)
    found = _variable(environ, f"{scheme}_proxy") or _variable(environ, "all_proxy")
    if not found or is_local(host) or _is_exempt(host, port, _variable(environ, "no_proxy")):
        return None
    return parse_proxy(found)


def _variable(environ: Mapping[str, str], name: str) -> str:
    """Return a variable in either case; lower case wins, as is usual."""
    value = environ.get(name)
    # In a CGI program HTTP_PROXY is the client's header "Proxy", not a setting.
    if value is None and not (name == "http_proxy" and "REQUEST_METHOD" in environ):
        value = environ.get(name.upper())
    return (value or "").strip()


def is_local(host: str) -> bool:
    """Return True for a host that is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_exempt(host: str, port: int, exceptions: str) -> bool:
    """Return True if ``NO_PROXY`` covers the host: ``*``, domain names, addresses, networks."""
    for entry in exceptions.replace(" ", ",").split(","):
        if entry == "*" or (entry and _matches(host.lower().rstrip("."), port, entry.lower())):
            return True
    return False


def _matches(host: str, port: int, entry: str) -> bool:
    name, colon, number = entry.rpartition(":")
    if colon and number.isdigit() and (":" not in name or name.endswith("]")):
        if int(number) != port:
            return False
        entry = name
    entry = entry.removeprefix("[").removesuffix("]")
    try:
        address = ip_address(host)
    except ValueError:
        name = entry.removeprefix("*").lstrip(".").rstrip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        return address in ip_network(entry, strict=False)
    except ValueError:
        return False
