"""Whose share a client takes: the address that it comes from, as far as it can be told apart.

Who owns one IPv6 address owns at least the 64-bit network around it (RFC 4291 section 2.5.4,
RFC 6177), so that such a network counts as one.
"""

from ipaddress import IPv4Address, IPv6Address

_NETWORK_BYTES = 8


def address_of(peer: str | None) -> str:
    """Return the host of ``host:port`` or ``[host]:port``; "" if nothing is known."""
    if peer is None:
        return ""
    if peer.startswith("["):
        return peer[1:].partition("]")[0]
    host, colon, port = peer.rpartition(":")
    return host if colon and port.isdigit() and ":" not in host else peer


def share_of(address: str) -> str:
    """Name the party behind an address: IPv4 as it is, also when mapped; IPv6 by its network.

    What is no address (a path of a Unix socket, a name) stands for itself.
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
