"""Client addresses and the quota key derived from each.

The owner of one IPv6 address owns at least the 64-bit network around it (RFC 4291 section 2.5.4,
RFC 6177). Such a network therefore counts as one client.
"""

from ipaddress import IPv4Address, IPv6Address

_NETWORK_BYTES = 8


def address_of(peer: str | None) -> str:
    """Return the host of ``host:port`` or ``[host]:port``; "" if ``peer`` is None."""
    if peer is None:
        return ""
    if peer.startswith("["):
        return peer[1:].partition("]")[0]
    host, colon, port = peer.rpartition(":")
    return host if colon and port.isdigit() and ":" not in host else peer


def quota_key(address: str) -> str:
    """Return the quota key of an address: an IPv4 address, also if mapped, or an IPv6 /64 network.

    Anything that is not an IP address (a path of a Unix socket, a name) is returned unchanged.
    """
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(IPv4Address(parsed.ipv4_mapped))
    network = parsed.packed[:_NETWORK_BYTES] + bytes(16 - _NETWORK_BYTES)
    return f"{IPv6Address(network)}/64"
