"""The rows about every other binding, and about clients."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from mcpcore_bench.load.jobs import (
    Ask,
    Binding,
    Era,
    LineCalls,
    Lined,
    SelfMeasured,
    Setup,
    SseCalls,
    WebSocketCalls,
)
from mcpcore_bench.rows import Bound, Row, Variant, at
from mcpcore_bench.subjects import SUBJECTS
from mcpcore_bench.table.http import CALL, FLIGHTS, MB, NEW, OTHERS, PEERS, WIDER

_LINES = (
    "ours-stdio",
    "raw-stdio-ready",
    "raw-stdio-blocking",
    "raw-stdio-threads",
    "sdk-stdio",
    "sdk-high-stdio",
    "fastmcp-stdio",
    "typescript-stdio",
)
WINDOWS = (1, 16, 64, 1000)
RAW_WINDOWS = (64, 1000)
"""Of those, the ones at which the raw programs are measured, too."""
SSE_PEERS = ("sdk-sse-binding", "fastmcp-sse-binding")
LIMITED = (Bound("ours-tcp", "raw-tcp"), Bound("ours-unix", "raw-unix"))
PEERED = (*(Bound("ours-sse", peer) for peer in SSE_PEERS), *LIMITED)
"""What ours is held against over HTTP+SSE, and over byte streams of lines."""

WEBSOCKET_BOUNDS = (Bound("ours-ws", "raw-ws", 1.7), Bound("ours-ws", "websockets", 1.0))
"""What a call over WebSocket may cost, however large it is, and however many are in flight."""
CLIENT_BOUNDS = (Bound("client", "raw-client", 1.7), Bound("client", "sdk-client", 1 / 3.5))
"""What a client's call over HTTP may cost, however many are in flight."""


def _stdio(name: str, title: str, window: int) -> Row:
    job = partial(_lined, "stdio", window=window)
    return Row(
        name=name,
        title=title,
        unit=CALL,
        variants={**at(job, *_LINES), **at(job, "typescript2-stdio", since=PEERS)},
        bounds=(
            Bound("ours-stdio", "raw-stdio-ready", 3.0),
            Bound("ours-stdio", "sdk-stdio", 1 / 12),
            Bound("ours-stdio", "typescript-stdio", 1.0),
            Bound("ours-stdio", "typescript2-stdio", 1.0),
            Bound("ours-stdio", "raw-stdio-blocking"),
            Bound("ours-stdio", "fastmcp-stdio"),
        ),
    )


_SIZES = {10_000: ("10k", "10 kB", 0.5), MB: ("1m", "1 MB", 0.6), 16 * MB: ("16m", "16 MB", 0.8)}
"""Bytes of large texts: how each is called, and the seconds that it gets."""


def _large(size: int) -> tuple[Row, Row]:
    """A large text over WebSocket and stdio, one at a time."""
    short, title, seconds = _SIZES[size]
    ask = Ask("echo", size)

    def by_websocket(name: str) -> WebSocketCalls:
        server = SUBJECTS[name].command()
        return WebSocketCalls(server=server, ask=ask, connections=1, seconds=seconds)

    def by_stdio(name: str) -> LineCalls:
        return LineCalls(server=SUBJECTS[name].command(), ask=ask, seconds=seconds)

    return (
        Row(
            name=f"echo-{short}-websocket",
            title=f"{title} of text and back, over WebSocket",
            unit=CALL,
            variants=at(by_websocket, "ours-ws", "raw-ws", "websockets", since=WIDER),
            bounds=WEBSOCKET_BOUNDS,
        ),
        Row(
            name=f"echo-{short}-stdio",
            title=f"{title} of text and back, over stdio",
            unit=CALL,
            variants=at(by_stdio, "ours-stdio", "raw-stdio-ready", "sdk-stdio", since=WIDER),
            bounds=(Bound("ours-stdio", "raw-stdio-ready"), Bound("ours-stdio", "sdk-stdio")),
            goal=False,
        ),
    )


def _websocket(name: str, connections: int, since: str) -> Row:
    def job(name: str) -> WebSocketCalls:
        return WebSocketCalls(server=SUBJECTS[name].command(), connections=connections)

    return Row(
        name=name,
        title=f"WebSocket tools/call, {connections:,} in flight",
        unit=CALL,
        variants=at(job, "ours-ws", "raw-ws", "raw-ws-streams", "websockets", since=since),
        bounds=(*WEBSOCKET_BOUNDS, Bound("ours-ws", "raw-ws-streams")),
    )


def _structured() -> tuple[Row, Row]:
    """A structured tool over the bindings that are not HTTP."""
    ask = Ask("total", 10)
    title = "A structured tool: ten items in, a typed result out, over"

    def by_stdio(name: str) -> LineCalls:
        return LineCalls(server=SUBJECTS[name].command(), ask=ask, seconds=0.6)

    def by_websocket(name: str) -> WebSocketCalls:
        return WebSocketCalls(server=SUBJECTS[name].command(), ask=ask, seconds=0.6)

    return (
        Row(
            name="structured-stdio",
            title=f"{title} stdio, one at a time",
            unit=CALL,
            variants=at(by_stdio, "ours-stdio", "raw-stdio-ready", "sdk-high-stdio", since=OTHERS),
            bounds=(
                Bound("ours-stdio", "raw-stdio-ready"),
                Bound("ours-stdio", "sdk-high-stdio"),
            ),
            goal=False,
        ),
        Row(
            name="structured-websocket",
            title=f"{title} WebSocket, 16 in flight",
            unit=CALL,
            variants=at(by_websocket, "ours-ws", "raw-ws", "websockets", since=OTHERS),
            bounds=(Bound("ours-ws", "raw-ws"), Bound("ours-ws", "websockets")),
            goal=False,
        ),
    )


def _lined(binding: Lined, name: str, window: int = 1) -> LineCalls:
    return LineCalls(server=SUBJECTS[name].command(), binding=binding, window=window)


def _flights() -> Row:
    """What a call costs beside how many others; of peers and limits at a few of the numbers."""
    titles: dict[Lined | Literal["sse"], str] = {
        "stdio": "stdio",
        "tcp": "TCP",
        "unix": "Unix socket",
        "sse": "HTTP+SSE",
    }

    def job(name: str, binding: Lined | Literal["sse"], many: int) -> LineCalls | SseCalls:
        if binding == "sse":
            return SseCalls(server=SUBJECTS[name].command(), connections=many)
        return _lined(binding, name, many)

    def peer(name: str, binding: Lined | Literal["sse"], many: int) -> Variant:
        subject, make = SUBJECTS[name], partial(job, name, binding, many)
        return Variant(f"{subject.title}, {many:,}", make, subject.needs, WIDER)

    return Row(
        name="in-flight",
        title="tools/call with 1, 16, 64 and 1,000 in flight over the other bindings",
        unit=CALL,
        variants={
            **{
                f"{binding}-{many}": Variant(
                    f"ours, {title}, {many:,}",
                    partial(job, f"ours-{binding}", binding, many),
                    lambda: None,
                    FLIGHTS,
                )
                for binding, title in titles.items()
                for many in WINDOWS
            },
            **{f"raw-tcp-{many}": peer("raw-tcp", "tcp", many) for many in RAW_WINDOWS},
            **{f"raw-unix-{many}": peer("raw-unix", "unix", many) for many in RAW_WINDOWS},
            "sdk-sse-64": peer("sdk-sse-binding", "sse", 64),
        },
        bounds=(
            *(Bound(f"{binding}-1000", f"{binding}-16") for binding in titles),
            *(
                Bound(f"{binding}-{many}", f"raw-{binding}-{many}")
                for binding in ("tcp", "unix")
                for many in RAW_WINDOWS
            ),
            Bound("sse-64", "sdk-sse-64"),
        ),
        goal=False,
    )


def _setup() -> Row:
    def job(binding: Binding, era: Era) -> Callable[[str], Setup]:
        return lambda name: Setup(server=SUBJECTS[name].command(), binding=binding, era=era)

    return Row(
        name="setup-bindings",
        title="A connection with one request, over the other bindings",
        unit="µs of CPU a connection",
        variants={
            **at(job("ws", "modern"), "ours-ws", "raw-ws", "websockets", since=FLIGHTS),
            **at(job("sse", "legacy"), "ours-sse", since=FLIGHTS),
            **at(job("tcp", "modern"), "ours-tcp", since=FLIGHTS),
            **at(job("unix", "modern"), "ours-unix", since=FLIGHTS),
            **at(job("sse", "legacy"), *SSE_PEERS, since=WIDER),
            **at(job("tcp", "modern"), "raw-tcp", since=WIDER),
            **at(job("unix", "modern"), "raw-unix", since=WIDER),
        },
        bounds=(Bound("ours-ws", "raw-ws"), Bound("ours-ws", "websockets"), *PEERED),
        goal=False,
        note="HTTP+SSE is a session: its stream, three POST requests on a connection beside it, "
        "and its end. stdio has a process for each conversation: the row `start`.",
    )


def _client(name: str) -> SelfMeasured:
    # Whoever answers is the same for all of them, and fast.
    return SelfMeasured(server=SUBJECTS[name].command(), beside=SUBJECTS["raw-protocol"].command())


def _calling(width: int) -> Row:
    """Clients with calls in flight; raw is a connection for each of them."""

    def job(name: str) -> SelfMeasured:
        server = SUBJECTS[name].command("--width", str(width))
        beside = SUBJECTS["raw-protocol"].command()
        return SelfMeasured(server=server, beside=beside, seconds=0.6)

    return Row(
        name=f"client-{width}",
        title=f"A client's calls over HTTP, {width:,} in flight",
        unit=CALL,
        variants=at(job, "client", "raw-client", "sdk-client", since=WIDER),
        bounds=CLIENT_BOUNDS,
        note="Every client may have as many connections as calls are in flight.",
    )


def _clients() -> dict[str, Variant]:
    """Our client against the fastest server that there is of each binding."""
    beside = {
        "http": "raw-protocol",
        "ws": "raw-ws-streams",
        "sse": "ours-sse",
        "tcp": "ours-tcp",
        "unix": "ours-unix",
    }

    def job(server: str) -> SelfMeasured:
        return SelfMeasured(server=SUBJECTS["client"].command(), beside=SUBJECTS[server].command())

    return {
        **{
            binding: Variant(f"our client, {binding}", partial(job, server), lambda: None)
            for binding, server in beside.items()
        },
        **at(_alone, "client-stdio", "sdk-client-stdio"),
    }


def _alone(name: str) -> SelfMeasured:
    return SelfMeasured(server=SUBJECTS[name].command())


ROWS = (
    _stdio("stdio", "stdio tools/call, one at a time", 1),
    _stdio("stdio-64", "stdio tools/call, 64 in flight", 64),
    _websocket("websocket", 16, ""),
    *(_websocket(f"websocket-{many}", many, FLIGHTS) for many in WINDOWS if many != 16),
    *(row for size in _SIZES for row in _large(size)),
    *_structured(),
    Row(
        name="bindings",
        title="tools/call over the other bindings, 1 in flight (HTTP+SSE: 16)",
        unit=CALL,
        variants={
            **at(lambda name: SseCalls(server=SUBJECTS[name].command()), "ours-sse"),
            **at(partial(_lined, "tcp"), "ours-tcp"),
            **at(partial(_lined, "unix"), "ours-unix"),
            **at(lambda name: SseCalls(server=SUBJECTS[name].command()), *SSE_PEERS, since=WIDER),
            **at(partial(_lined, "tcp"), "raw-tcp", since=WIDER),
            **at(partial(_lined, "unix"), "raw-unix", since=WIDER),
        },
        bounds=PEERED,
        goal=False,
    ),
    _flights(),
    _setup(),
    Row(
        name="client",
        title="A client's call over HTTP",
        unit=CALL,
        variants={
            **at(_client, "client", "raw-client", "sdk-client"),
            **at(_client, "fastmcp-client", "typescript-client", since=NEW),
            **at(_client, "typescript2-client", since=PEERS),
        },
        bounds=(
            *CLIENT_BOUNDS,
            Bound("client", "fastmcp-client"),
            Bound("client", "typescript-client"),
            Bound("client", "typescript2-client"),
        ),
    ),
    *(_calling(width) for width in WINDOWS if width > 1),
    Row(
        name="client-bindings",
        title="A client's call over every binding",
        unit=CALL,
        variants=_clients(),
        bounds=(Bound("client-stdio", "sdk-client-stdio"),),
        goal=False,
    ),
)
