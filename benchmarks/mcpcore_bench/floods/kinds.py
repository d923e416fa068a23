"""The floods: the limit that each is about, what it sends, and what a server may spend on it."""

import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from msgspec import Struct

from mcpcore_bench.floods.wire import (
    INITIALIZE,
    LISTEN,
    POUR,
    QUICK,
    Victim,
    begin_session,
    bodiless,
    call,
    is_ok,
    legacy_call,
)

SPARE = 200
"""Descriptors of a process that are not for connections."""
PIPELINE = 50
HELD = {
    "connections": 100_000,
    "connections_per_client": 100_000,
    "idle_time": 600.0,
    "head_time": 600.0,
}
"""All clients have one address, and nothing ends while it is measured."""
UNUSED = 20.0
"""What the sessions of a flood have, in seconds; a minute is the default."""
SESSION = 1_000
"""Calls of one session at most; a tenth of them is too much."""
STREAMS = 16
"""GET streams of one session, the default; a ninth of what goes over it is too much."""
SHARE = 1_000
"""Sessions of one client, the default."""


def most_connections() -> int:
    """How many connections a process can hold, its limit raised as far as it goes."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - SPARE


class Attack(Struct):
    """What has become of a flood."""

    connections: list[socket.socket]
    """To be held."""
    taken: int
    """How much of what was asked for the server holds at last."""
    refused: int
    """How much it has refused, as too much."""
    look: Callable[[], int] | None = None
    """Tells how much more was refused, once the server has worked off what it was sent."""


class Flood(Struct, frozen=True):
    """One kind of flood."""

    name: str
    count: int
    settings: Callable[[int, bool], dict[str, Any]]
    """From how many there will be, and whether too many, to what differs from the defaults."""
    attack: Callable[[Victim, int, bool, list[socket.socket]], Attack]
    """Goes over the limit if so asked; gets the connections of ``base``."""
    base: bool = False
    """It comes on connections that are there before, and do not count."""
    connections: bool = True
    """Each takes a connection."""
    most: float | None = None
    """Kilobytes that each may take: the target."""
    gone_after: float = 0.0
    """Seconds after which nothing of it is left, once its clients have left."""


def open_connections(server: Victim, count: int, request: bytes) -> Attack:
    """Open connections with one request each."""
    return _open(server, [request] * count)


def _open(server: Victim, requests: list[bytes]) -> Attack:
    held: list[socket.socket] = []
    for request in requests:
        connection = server.connect()
        try:
            connection.sendall(request)
            taken = is_ok(connection.recv(65536))
        except ConnectionError:
            taken = False
        if taken:
            held.append(connection)
        else:
            connection.close()
    return Attack(held, len(held), len(requests) - len(held))


def _idle(server: Victim, count: int, over: bool, base: list[socket.socket]) -> Attack:
    return open_connections(server, count, QUICK)


def _listening(server: Victim, count: int, over: bool, base: list[socket.socket]) -> Attack:
    return open_connections(server, count, LISTEN)


def _session_streams(server: Victim, count: int, over: bool, base: list[socket.socket]) -> Attack:
    """GET streams, as many to a session as it may have, or two more."""
    requests: list[bytes] = []
    each = STREAMS + 2 if over else STREAMS
    with server.connect() as connection:
        while len(requests) < count:
            session = begin_session(connection)
            server.sessions.add(session)
            requests += [bodiless("GET", session)] * min(each, count - len(requests))
    return _open(server, requests)


def _unread(server: Victim, count: int, over: bool, base: list[socket.socket]) -> Attack:
    """All that is asked for is taken; those who do not read are closed when it is too much."""
    held: list[socket.socket] = []
    for _ in range(count):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(POUR)
        held.append(connection)
    return Attack(held, 0 if over else count, count if over else 0)


def _initialize(server: Victim, count: int, over: bool, base: list[socket.socket]) -> Attack:
    """No one is refused: others end instead."""
    _pipelined(server, count)
    return Attack([], min(count, _most_sessions(count, over)), 0)


def _initialize_share(server: Victim, count: int, over: bool, base: list[socket.socket]) -> Attack:
    """As from one address, which has its share of the sessions."""
    _pipelined(server, count)
    return Attack([], min(count, SHARE), 0)


def _pipelined(server: Victim, count: int) -> None:
    with server.connect() as connection:
        for start in range(0, count, PIPELINE):
            many = min(PIPELINE, count - start)
            connection.sendall(INITIALIZE * many)
            data = b""
            while data.count(b'"jsonrpc"') < many:
                part = connection.recv(1 << 20)
                if not part:
                    raise SystemExit("the server has closed the connection of a flood")
                data += part
            assert data.count(b"HTTP/1.1 200 ") == many


def _most_sessions(count: int, over: bool) -> int:
    return max(count // 10, 1) if over else count


def _slow(server: Victim, count: int, over: bool, base: list[socket.socket]) -> Attack:
    """Short of the limit as modern clients, over it in sessions that have more than their share."""
    request = call("slow")
    session = ""
    for number, connection in enumerate(base):
        if over:
            if number % min(SESSION, count) == 0:
                session = begin_session(connection)
                server.sessions.add(session)
            request = legacy_call(session, number, "slow")
        connection.sendall(request)

    def refused() -> int:
        count = 0
        for connection in base:
            connection.setblocking(False)
            with suppress(BlockingIOError):
                count += b'"code":-32000' in connection.recv(65536)
        return count

    return Attack([], len(base), 0, refused)


def _room(count: int, over: bool) -> dict[str, Any]:
    return {"link": {"connections": count * 9 // 10 if over else count + 99}}


FLOODS = {
    flood.name: flood
    for flood in (
        Flood("idle connections", 10_000, _room, _idle, most=12.0),
        Flood("event streams", 5_000, _room, _listening),
        Flood(
            "GET streams",
            5_000,
            lambda count, over: {"http": {"sessions_per_client": 10_000}},
            _session_streams,
        ),
        Flood(
            "unread streams",
            500,
            # The queues are the defaults; over it their clients get less time than 30 s.
            lambda count, over: {"link": {"write_time": 4.0 if over else 600.0}},
            _unread,
        ),
        Flood(
            "sessions",
            100_000,
            lambda count, over: {
                "http": {
                    "max_sessions": _most_sessions(count, over),
                    "sessions_per_client": count,
                    "session_unused": UNUSED,
                }
            },
            _initialize,
            connections=False,
            most=4.0,
            gone_after=UNUSED,
        ),
        Flood(
            "sessions of a client",
            20_000,
            lambda count, over: {"http": {"session_unused": UNUSED}},
            _initialize_share,
            connections=False,
            most=4.0,
            gone_after=UNUSED,
        ),
        Flood(
            "calls",
            10_000,
            lambda count, over: {"in_flight": min(SESSION, count) * 9 // 10},
            _slow,
            base=True,
            most=8.0,
        ),
    )
}
