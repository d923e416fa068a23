"""The rows about what takes no wire, memory, starting up, stores."""

from collections.abc import Callable
from functools import partial
from shutil import which

from mcpcore_bench.load.jobs import (
    After,
    Ask,
    Binding,
    Command,
    FirstReply,
    Held,
    Import,
    LineCalls,
    Memory,
    Peak,
    Replies,
    SelfMeasured,
)
from mcpcore_bench.rows import Bound, Row, Variant, at, constant
from mcpcore_bench.subjects import OURS, SDK, SUBJECTS, missing_in
from mcpcore_bench.table.bindings import LIMITED
from mcpcore_bench.table.http import BESIDE, CALL, FLIGHTS, MB, PEERS, WIDER

_HTTP_OURS = ("ours-anyio", "ours-asyncio", "ours-speed")
_MODERN = ("sdk", "fastmcp", "typescript2")
_SESSIONS = ("fastmcp", "typescript2-sessions")


def _first_reply(name: str) -> FirstReply:
    return FirstReply(server=SUBJECTS[name].command())


def _alone(name: str) -> SelfMeasured:
    return SelfMeasured(server=SUBJECTS[name].command())


def _imports(title: str, python: str, statement: str) -> Variant:
    command = Command((python, "-c", statement))
    needs = partial(missing_in, SDK, "mcp") if python == SDK else (lambda: None)
    return Variant(title, lambda: Import(server=command), needs)


def _memory(what: Held, *names: str, later: tuple[str, ...] = ()) -> dict[str, Variant]:
    """``later``: those that the table has since others were there."""

    def job(name: str) -> Memory:
        return Memory(server=SUBJECTS[name].command(), what=what)

    return {**at(job, *names), **at(job, *later, since=PEERS)}


def _held(binding: Binding, count: int = 1000) -> Callable[[str], Memory]:
    def job(name: str) -> Memory:
        server = SUBJECTS[name].command()
        return Memory(server=server, what="connection", binding=binding, count=count)

    return job


def _waiting(binding: Binding, replies: Replies = "json") -> Callable[[str], Memory]:
    def job(name: str) -> Memory:
        return Memory(
            server=SUBJECTS[name].command(),
            what="call",
            binding=binding,
            era="modern",
            replies=replies,
            count=300,
        )

    return job


def _peak(name: str, title: str, size: int) -> Row:
    return Row(
        name=name,
        title=title,
        unit="times request and reply",
        variants={
            **at(
                lambda name: Peak(server=SUBJECTS[name].command(), size=size),
                *_HTTP_OURS,
                "raw-protocol",
            ),
            "bytes": constant("request and reply", 1.0),
        },
        bounds=tuple(Bound(ours, "bytes", 3.0) for ours in _HTTP_OURS),
    )


def _line(size: int) -> Variant:
    server = SUBJECTS["ours-stdio"]
    # One at a time: few, but long ones.
    return Variant(
        f"{size // MB} MB",
        lambda: LineCalls(server=server.command(), ask=Ask("echo", size), seconds=1.5),
        server.needs,
    )


def _stores() -> dict[str, Variant]:
    def needs(kind: str) -> str | None:
        if kind == "redis" and which("redis-server") is None:
            return "redis-server is not installed"
        return None

    def job(kind: str, batch: int) -> SelfMeasured:
        words = (OURS, "-m", "mcpcore_bench.programs.stores", kind, str(batch))
        return SelfMeasured(server=Command(words))

    return {
        f"{kind}-{batch}": Variant(
            f"{kind}, {batch} a batch", partial(job, kind, batch), partial(needs, kind)
        )
        for kind in ("memory", "sqlite", "sqlite-full", "redis")
        for batch in (1, 10, 100)
    }


SERVING = (
    "import mcpcore_transports.serve.serve, mcpcore_transports.http.server.listening;"
    "from mcpcore import HttpServer"
)
BARE = (
    "import asyncio, socket, ssl, h11, msgspec;"
    "from anyio import Event, lowlevel, to_thread; from anyio.abc import SocketAttribute"
)
"""The same modules of other packages as SERVING has loaded in the end, and no others."""
BARE_STDIO = "import anyio._backends._asyncio"
"""The same modules of other packages as our server on stdio has loaded in the end."""
RAW_STDIO = "from mcpcore_bench.programs.raw_stdio import main; main()"
RESIDENT = (
    "import os; pages = int(open('/proc/self/statm').read().split()[1]);"
    "print('{\"value\":%.3f}' % (pages * os.sysconf('SC_PAGE_SIZE') / 1e6))"
)
"""Prints how much memory a program has, in MB."""

ROWS = (
    Row(
        name="memory",
        title="In one process: Client and server, a bare pair of Peers",
        unit=CALL,
        variants=at(_alone, "memory", "pair", "sdk-memory"),
        bounds=(Bound("memory", "sdk-memory", 1 / 4), Bound("pair", "sdk-memory", 1 / 12)),
    ),
    _peak("peak-1m", "Peak of memory, 1 MB of text and back", 1_000_000),
    _peak("peak-10m", "Peak of memory, 10 MB of text and back", 10_000_000),
    Row(
        name="idle-connection",
        title="Memory of an idle connection",
        unit="kB a connection",
        variants={
            **_memory("connection", *_HTTP_OURS, "raw-protocol", "sdk"),
            "8-kb": constant("8 kB", 8.0),
        },
        bounds=(Bound("ours-asyncio", "8-kb", 1.0), Bound("ours-asyncio", "sdk")),
    ),
    Row(
        name="idle-bindings",
        title="Memory of an idle connection over the other bindings, one request made",
        unit="kB a connection",
        variants={
            **at(_held("ws"), "ours-ws", "raw-ws", "websockets", since=FLIGHTS),
            **at(_held("sse"), "ours-sse", since=FLIGHTS),
            **at(_held("tcp"), "ours-tcp", since=FLIGHTS),
            **at(_held("unix"), "ours-unix", since=FLIGHTS),
            # Its sessions take long to open, and a few hundred tell as much.
            **at(_held("sse", 300), "sdk-sse-binding", since=WIDER),
            **at(_held("tcp"), "raw-tcp", since=WIDER),
            **at(_held("unix"), "raw-unix", since=WIDER),
        },
        bounds=(
            Bound("ours-ws", "raw-ws"),
            Bound("ours-ws", "websockets"),
            Bound("ours-sse", "sdk-sse-binding"),
            *LIMITED,
        ),
        goal=False,
        note="HTTP+SSE has a session, with a connection for its stream and one for what is posted.",
    ),
    Row(
        name="idle-session",
        title="Memory of an idle legacy session",
        unit="kB a session",
        variants=_memory("session", *_HTTP_OURS, "sdk", later=_SESSIONS),
        bounds=(
            Bound("ours-asyncio", "sdk", 1 / 8),
            *(Bound("ours-asyncio", peer) for peer in _SESSIONS),
        ),
    ),
    Row(
        name="idle-stream",
        title="Memory of an idle legacy session with a GET stream",
        unit="kB a session",
        variants=_memory("stream", *_HTTP_OURS, "sdk", later=_SESSIONS),
        bounds=(
            Bound("ours-asyncio", "sdk", 1 / 8),
            *(Bound("ours-asyncio", peer) for peer in _SESSIONS),
        ),
    ),
    Row(
        name="active-session",
        title="Memory of a session with a connection and a call that waits",
        unit="kB a session",
        # The call is sent for a reply in JSON alone, which the TypeScript SDK refuses.
        variants=_memory("call", *_HTTP_OURS, "sdk", later=("fastmcp",)),
        bounds=(Bound("ours-asyncio", "sdk"), Bound("ours-asyncio", "fastmcp")),
        goal=False,
    ),
    Row(
        name="active-connection",
        title="Memory of a connection with a modern call that waits, behind one that was answered",
        unit="kB a connection",
        variants={
            **at(_waiting("http"), *_HTTP_OURS[1:], "raw-protocol", since=WIDER),
            # The SDKs want both types in Accept, and choose by their settings.
            **at(_waiting("http", "any"), *_MODERN, since=WIDER),
            **at(_waiting("ws"), "ours-ws", since=WIDER),
            **at(_waiting("tcp"), "ours-tcp", since=WIDER),
        },
        bounds=(
            Bound("ours-asyncio", "raw-protocol"),
            *(Bound("ours-asyncio", peer) for peer in _MODERN),
        ),
        goal=False,
        note="HTTP, unless a binding is named; `ours` by itself is WebSocket.  The raw programs of "
        "other bindings answer in the order of the requests, and so cannot wait.",
    ),
    Row(
        name="idle-server",
        title="Memory of an idle HTTP server",
        unit="MB",
        variants={
            **_memory("idle", *_HTTP_OURS, "raw-anyio", "sdk", "fastmcp"),
            "bare": Variant(
                "what ours imports of anyio, h11, msgspec",
                lambda: SelfMeasured(server=Command((OURS, "-c", f"{BARE}; {RESIDENT}"))),
                lambda: None,
                FLIGHTS,
            ),
        },
        bounds=(
            Bound("ours-asyncio", "raw-anyio", 1.5),
            Bound("ours-asyncio", "bare", 1.5),
            Bound("ours-asyncio", "sdk", 1 / 2),
        ),
    ),
    Row(
        name="import",
        title="Importing what serves HTTP, in a fresh interpreter",
        unit="ms of CPU",
        variants={
            "ours": _imports("ours", OURS, SERVING),
            "bare": _imports("what ours imports of anyio, h11, msgspec", OURS, BARE),
            "core": _imports("mcpcore alone", OURS, "import mcpcore"),
            "nothing": _imports("nothing", OURS, "pass"),
            "sdk": _imports("official SDK", SDK, "import mcp"),
        },
        bounds=(Bound("ours", "bare", 1.5), Bound("ours", "sdk", 1 / 4)),
    ),
    Row(
        name="start",
        title="From start to first reply on stdio",
        unit="ms of CPU",
        variants={
            **at(
                _first_reply,
                "ours-stdio",
                "raw-stdio-ready",
                "sdk-stdio",
                "sdk-high-stdio",
                "fastmcp-stdio",
                "typescript-stdio",
            ),
            **at(_first_reply, "typescript2-stdio", since=PEERS),
            "bare": Variant(
                "raw, by readiness, with what ours imports of anyio, msgspec",
                lambda: FirstReply(
                    server=Command((OURS, "-c", f"{BARE_STDIO}; {RAW_STDIO}", "--io", "ready"))
                ),
                lambda: None,
                BESIDE,
            ),
        },
        bounds=(
            Bound("ours-stdio", "raw-stdio-ready"),
            Bound("ours-stdio", "bare", 1.5),
            Bound("ours-stdio", "sdk-stdio", 1 / 5),
            *(
                Bound("ours-stdio", peer, 1.0, clock)
                for peer in ("typescript-stdio", "typescript2-stdio")
                for clock in (False, True)
            ),
        ),
        note="CPU is that of all threads together, of which Node has several at work while it "
        "starts: by the wall clock it is there earlier than its CPU says.",
    ),
    Row(
        name="long-lines",
        title="A long line to a stdio server, and its echo",
        unit=CALL,
        variants={"8": _line(8 * MB), "32": _line(32 * MB)},
        bounds=(Bound("32", "8", 6.0),),
    ),
    Row(
        name="stores",
        title="An event that is added to a stream",
        unit="µs of wall clock an event",
        variants=_stores(),
        bounds=tuple(Bound(f"{kind}-1", "memory-1") for kind in ("sqlite", "sqlite-full", "redis")),
        goal=False,
    ),
    Row(
        name="after",
        title="CPU of a server after load, 64 connections open",
        unit="µs of CPU a second",
        variants=at(
            lambda name: After(server=SUBJECTS[name].command()), *_HTTP_OURS, "raw-anyio", "sdk"
        ),
        goal=False,
    ),
)
