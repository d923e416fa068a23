"""Proxies in front of a server, and the clients that they name in X-Forwarded-For.

Each proxy adds the address that a request came from at the end of the header, so that it is read
from the right, as far as those who have written it are trusted; all else is a client's own word.
The header Forwarded (RFC 7239) is not read: a proxy that writes one of the two passes the other on
as it came.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from msgspec import structs

from mcpcore.http.principals import address_of

if TYPE_CHECKING:  # late: stdio has settings of HTTP, and no requests
    from mcpcore.http.messages import HttpRequest
else:
    HttpRequest = Any

_HEADER = b"x-forwarded-for"
_HOPS = 32
"""Maximum number of addresses that are read."""

Networks = tuple[IPv4Network | IPv6Network, ...]


def read_networks(proxies: Iterable[str]) -> Networks:
    """Return the networks of proxies, each an address or a network.  Raises ValueError."""
    return tuple(ip_network(each) for each in proxies)


_known = lru_cache(maxsize=16)(read_networks)


def comes_from(peer: str | None, networks: Networks) -> bool:
    """Return True if ``peer``, with or without a port, is in one of these networks."""
    address = _read(address_of(peer))
    return address is not None and any(address in network for network in networks)


def named_by_proxies(request: HttpRequest, proxies: tuple[str, ...]) -> HttpRequest:
    """Return a request with the address of its client as trusted proxies name it.

    ``proxies``: the addresses and networks of these.  Without a name that can be read it stays at
    the last proxy that is known.
    """
    if not proxies:
        return request
    networks = _known(tuple(proxies))
    peer = request.peer
    named = b",".join(value for name, value in request.headers if name == _HEADER)
    hops = named.decode("latin-1").rsplit(",", _HOPS)
    while hops and comes_from(peer, networks):
        address = _read(address_of(hops.pop().strip(" \t")))
        if address is None or getattr(address, "scope_id", None):  # means nothing on this machine
            break
        peer = str(address)
    if peer == request.peer:
        return request
    return structs.replace(request, peer=peer, proxy=request.peer)


def _read(text: str) -> IPv4Address | IPv6Address | None:
    """Return an IP address, None for any other text; one that stands for IPv4 is that."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
