"""Checks of Host and Origin at a server: the defence against DNS rebinding.

Both values are parsed and then compared exactly, each by itself; no comparison is by prefix.
Sources: the security sections of the Streamable HTTP pages; RFC 9110 section 7.2 (Host), RFC 6454
(Origin).
"""

import re
from collections.abc import Iterable
from ipaddress import IPv6Address

from msgspec import Struct

from mcpcore.http.headers import quoted

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
"""Hosts that are accepted, with any port, if none are configured."""

ANY = "*"

DEFAULT_PORTS = {"http": 80, "https": 443}
"""Ports by the scheme of a URL (RFC 9110 section 4.2)."""
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~-]{1,255})(?::(\d{1,5}|\*))?")
_ORIGIN = r"([A-Za-z][A-Za-z0-9+.-]*)://(.+)"  # compiled at first use


class Authority(Struct, frozen=True):
    """Normalised host and port; the port is None if none was given."""

    host: str
    port: int | None


class WebOrigin(Struct, frozen=True):
    """Normalised web origin, with the default port of the scheme filled in if there is one."""

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        usual = self.port is None or DEFAULT_PORTS.get(self.scheme) == self.port
        return f"{self.scheme}://{self.host}" + ("" if usual else f":{self.port}")


def parse_authority(value: str) -> Authority:
    """Parse ``host``, ``host:port`` or ``[ipv6]:port``. Raises ValueError."""
    match = _AUTHORITY.fullmatch(value)
    if match is None or match[2] == ANY:
        raise ValueError(f"{quoted(value)} is no host with an optional port")
    host, port = match[1].lower(), None if match[2] is None else int(match[2])
    if port is not None and port > 65535:
        raise ValueError(f"{port} is no port")
    if host.startswith("["):
        try:
            host = f"[{IPv6Address(host[1:-1]).compressed}]"
        except ValueError:
            raise ValueError(f"{quoted(match[1])} is no IPv6 address") from None
    return Authority(host, port)


def parse_origin(value: str) -> WebOrigin:
    """Parse exactly ``scheme://host[:port]``. Raises ValueError for any other text."""
    match = re.fullmatch(_ORIGIN, value)
    if match is None:
        raise ValueError(f"{quoted(value)} is no origin (scheme://host[:port])")
    scheme = match[1].lower()
    authority = parse_authority(match[2])
    port = DEFAULT_PORTS.get(scheme) if authority.port is None else authority.port
    return WebOrigin(scheme, authority.host, port)


class OriginPolicy:
    """Policy for the Host and Origin of each request.

    ``hosts``: the accepted Host headers.  ``example.com:8443`` is exact, ``example.com`` stands for
    the name without a port or with 80 or 443, ``example.com:*`` takes any port, and ``*`` alone
    switches the check off.  None means the loopback names with any port.

    ``origins``: the exact origins of the web pages that may call.  None means the pages of this
    server: its scheme, and the Host header if that was accepted by name.  A request without an
    Origin does not come from a web page and passes.

    Raises ValueError for entries that cannot be parsed.
    """

    def __init__(
        self, hosts: Iterable[str] | None = None, origins: Iterable[str] | None = None
    ) -> None:
        self._any_host = False
        self._exact: set[Authority] = set()
        self._wide: set[str] = set()
        if hosts is None:
            hosts = [f"{host}:{ANY}" for host in LOOPBACK_HOSTS]
        for entry in hosts:
            if entry == ANY:
                self._any_host = True
            elif entry.endswith(f":{ANY}"):
                self._wide.add(parse_authority(entry.removesuffix(f":{ANY}")).host)
            else:
                authority = parse_authority(entry)
                self._exact.add(authority)
                if authority.port is None:
                    self._exact.update(
                        Authority(authority.host, port) for port in DEFAULT_PORTS.values()
                    )
        self._origins = None if origins is None else frozenset(map(parse_origin, origins))

    def check(self, host: str | None, origin: str | None, scheme: str | None = None) -> str | None:
        """Return the reason to refuse a request, None to accept it; ``scheme`` None: not known."""
        try:
            authority = parse_authority(host) if host is not None else None
        except ValueError as error:
            return f"the Host header is refused: {error}"
        if not self._any_host and (
            authority is None or (authority.host not in self._wide and authority not in self._exact)
        ):
            named = "it is missing" if host is None else f"{quoted(host)} is not served here"
            return f"the Host header is refused: {named}"
        if origin is None:
            return None
        try:
            parsed = parse_origin(origin)
        except ValueError as error:
            return f"the Origin header is refused: {error}"
        if self._origins is not None:
            allowed = parsed in self._origins
        else:
            # With any Host accepted, "same as the Host" would accept a rebound name.
            usual = DEFAULT_PORTS.get(parsed.scheme)
            sure = not self._any_host and usual is not None and scheme in (None, parsed.scheme)
            same = None if authority is None else (authority.host, authority.port or usual)
            allowed = sure and (parsed.host, parsed.port) == same
        return None if allowed else f"the Origin header is refused: {quoted(origin)} is not allowed"
