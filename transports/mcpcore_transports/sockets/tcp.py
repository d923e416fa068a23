"""TCP sockets: listeners, and the options of connections."""

import errno
import ipaddress
import socket
from contextlib import suppress
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketListener

from mcpcore.errors import BadTarget, LinkError
from mcpcore_transports.link import cannot_listen

_BACKLOG = 128
NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""Errors for addresses of a name that this machine lacks: ``localhost`` without IPv6."""


async def listen_tcp(host: str, port: int, *, anywhere: bool) -> list[socket.socket]:
    """Listen on every address of a host; port 0 picks a free one, the same for all.

    ``anywhere``: allow addresses that other machines can connect to.  Raises BadTarget for such an
    address otherwise, LinkError if an address cannot be bound.
    """
    listeners: list[socket.socket] = []
    unusable: OSError | None = None
    try:
        for family, address in await _addresses(host, port):
            if not anywhere:
                _must_be_ours(address[0], host)
            bound = (address[0], port, *address[2:])
            try:
                listener = socket.create_server(bound, family=family, backlog=_BACKLOG)
            except OSError as error:
                if error.errno not in NOT_HERE:
                    raise
                unusable = error
                continue
            listeners.append(listener)
            listener.setblocking(False)
            port = port or listener.getsockname()[1]
        if not listeners and unusable is not None:
            raise unusable
    except BaseException as error:
        for listener in listeners:
            listener.close()
        if isinstance(error, (OSError, UnicodeError)):
            raise LinkError(cannot_listen(host, port, error)) from error
        raise
    return listeners


async def close_listener(listener: SocketListener) -> None:
    """Close a listener, also while a task waits for a connection; may be repeated."""
    bound: socket.socket = listener.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's
    if bound.fileno() >= 0:
        anyio.notify_closing(bound)
    await listener.aclose()


def socket_of(stream: ByteStream) -> socket.socket:
    """Return the socket beneath a stream of anyio.  Raises BrokenResourceError if it is lost."""
    try:
        found: socket.socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's
    except AttributeError:
        # anyio reads all attributes of the socket, and uvloop's streams have none any more.
        raise anyio.BrokenResourceError from None
    return found


def keep_alive(sock: socket.socket, seconds: float | None) -> None:
    """Set TCP keep-alive after ``seconds`` of silence, and sending of small messages at once."""
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if seconds is None:
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        idle = "TCP_KEEPALIVE" if hasattr(socket, "TCP_KEEPALIVE") else "TCP_KEEPIDLE"  # macOS
        for name, value in (
            (idle, max(1, int(seconds))),
            ("TCP_KEEPINTVL", 15),
            ("TCP_KEEPCNT", 4),
        ):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _addresses(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [*dict.fromkeys((int(family), address) for family, _, _, _, address in found)]


def _must_be_ours(address: str, host: str) -> None:
    """Raise BadTarget for an address that other machines may reach."""
    if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        raise BadTarget(
            f"tcp on {host} could be used, and read along, by everybody on the network: "
            "serve it over TLS, listen on 127.0.0.1, or allow it (SocketSettings.insecure, "
            "--insecure-tcp)"
        )
