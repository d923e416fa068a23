"""The rows about HTTP."""

from collections.abc import Callable
from typing import Any

from mcpcore_bench.load.jobs import Ask, Events, HttpCalls, Resume, SelfMeasured
from mcpcore_bench.rows import Bound, Row, at
from mcpcore_bench.subjects import SUBJECTS

CALL = "µs of CPU a call"
EVENT = "µs of CPU an event"
MB = 1_000_000
OURS = ("ours-anyio", "ours-asyncio", "ours-speed")
NEW = "2026-11-22T01:00:00+00:00"
"""Since when the rows and variants are there that came with the clients of peers."""
PEERS = "2026-11-22T09:00:00+00:00"
"""Since when the TypeScript SDK 2.x is there, and what fastmcp got with it."""
FLIGHTS = "2026-11-22T13:00:00+00:00"
"""Since when other bindings have rows for set-up and numbers in flight, and resuming a limit."""
WIDER = "2026-11-22T16:00:00+00:00"
"""Since when clients have calls in flight, and other bindings large texts, peers and limits."""
BESIDE = "2026-11-22T20:00:00+00:00"
"""Since when starting is held against the raw program with what ours imports of others."""
OTHERS = "2026-11-23T03:00:00+00:00"
"""Since when structured tools are called over other bindings, and a row has TLS."""
CALL_BOUNDS = (
    Bound("ours-anyio", "raw-anyio", 1.3),
    Bound("ours-asyncio", "raw-protocol", 1.4),
    Bound("ours-speed", "raw-httptools", 1.8),
    Bound("ours-anyio", "sdk", 1 / 2),
    Bound("ours-asyncio", "sdk", 1 / 3),
    Bound("ours-speed", "sdk-best", 1 / 9),
)
"""What a call over HTTP may cost, driver by driver."""
EVERYBODY = (
    "ours-anyio",
    "ours-trio",
    "ours-asyncio",
    "ours-speed",
    "raw-anyio",
    "raw-trio",
    "raw-protocol",
    "raw-streams",
    "raw-httptools",
    "raw-httptools-asyncio",
    "raw-bare",
    "sdk",
    "sdk-sse",
    "sdk-best",
    "sdk-high",
    "fastmcp",
)


def calls(*more: str, **members: Any) -> Callable[[str], HttpCalls]:
    """Make jobs of this kind; ``more``: words for the server."""
    return lambda name: HttpCalls(server=SUBJECTS[name].command(*more), **members)


def legacy(*more: str, **members: Any) -> Callable[[str], HttpCalls]:
    """The same in sessions; the SDKs want both types in Accept, and choose by their settings."""

    def make(name: str) -> HttpCalls:
        own = name.startswith(("ours", "raw"))
        replies = members.get("replies", "json") if own else "any"
        return HttpCalls(
            server=SUBJECTS[name].command(*more), **{**members, "era": "legacy", "replies": replies}
        )

    return make


def _sizes(name: str, title: str, size: int, **members: Any) -> Row:
    raws = ("raw-anyio", "raw-protocol", "raw-httptools")
    job = calls(ask=Ask("echo", size), replies="any", connections=1, **members)
    bounded = size >= MB
    # A smaller one is held as any call is: the SDK's best, which speed has to beat, is not in it.
    limits = (1.5, 1.5, 1.5) if bounded else (1.3, 1.4, 1.8)
    shares = (1 / 3, 1 / 3, 1 / 3) if bounded else (1 / 2, 1 / 3, None)
    return Row(
        name=name,
        title=title,
        unit=CALL,
        # fastmcp takes 4 MB at most, and cannot be told otherwise.
        variants={
            **at(job, *OURS, *raws, "sdk", *(("fastmcp",) if size < 4 * MB else ())),
            **at(job, "typescript2", since=PEERS),
        },
        bounds=(
            *(Bound(*each) for each in zip(OURS, raws, limits, strict=True)),
            *(Bound(ours, "sdk", share) for ours, share in zip(OURS, shares, strict=True)),
            Bound("ours-asyncio", "typescript2"),
        ),
    )


def _flying(count: int) -> Row:
    return Row(
        name=f"http-{count}",
        title=f"HTTP modern tools/call, JSON reply, {count:,} in flight",
        unit=CALL,
        variants=at(
            calls(connections=count, replies="any"),
            *OURS,
            "raw-anyio",
            "raw-protocol",
            "raw-httptools",
            "sdk",
        ),
        bounds=tuple(bound for bound in CALL_BOUNDS if bound.peer != "sdk-best"),
    )


def _events(name: str) -> Events:
    return Events(server=SUBJECTS[name].command())


def _together(name: str) -> Events:
    return Events(server=SUBJECTS[name].command(), together=True)


def _resume(name: str) -> Resume:
    return Resume(server=SUBJECTS[name].command())


_TOTAL = calls(ask=Ask("total", 10), replies="any")
_TEN = calls("--tools", "10", ask=Ask("list", 10), replies="any")
_THOUSAND = calls("--tools", "1000", ask=Ask("list", 1000), replies="any", connections=1)
_WAITING = calls(ask=Ask("wait", 50), replies="any", connections=1000, wall=True, warm=0.5)

HTTP = Row(
    name="http",
    title="HTTP modern tools/call, JSON reply, 16 in flight",
    unit=CALL,
    variants={
        **at(calls(replies="any"), *EVERYBODY),
        **at(calls(replies="any"), "typescript2", "typescript2-high", since=PEERS),
    },
    bounds=(
        *CALL_BOUNDS,
        Bound("ours-trio", "raw-trio", 1.3),
        Bound("ours-trio", "sdk", 1 / 2),
        Bound("ours-asyncio", "sdk-sse"),
        Bound("ours-asyncio", "fastmcp"),
        Bound("ours-asyncio", "typescript2"),
    ),
)

ROWS = (
    HTTP,
    Row(
        name="http-legacy",
        title="HTTP legacy session, JSON replies, 16 in flight",
        unit=CALL,
        variants={
            **at(
                legacy(),
                *OURS,
                "raw-anyio",
                "raw-protocol",
                "raw-httptools",
                "sdk",
                "fastmcp",
                "typescript",
            ),
            **at(legacy(), "typescript2-sessions", since=PEERS),
        },
        bounds=(
            Bound("ours-asyncio", "raw-protocol", 1.4),
            Bound("ours-asyncio", "sdk", 1 / 4),
            Bound("ours-anyio", "raw-anyio"),
            Bound("ours-speed", "raw-httptools"),
            Bound("ours-asyncio", "typescript"),
            Bound("ours-asyncio", "typescript2-sessions"),
        ),
    ),
    Row(
        name="http-legacy-sse",
        title="HTTP legacy session, SSE replies, 16 in flight",
        unit=CALL,
        variants={
            **at(
                legacy(replies="sse"),
                *OURS,
                "raw-anyio",
                "raw-protocol",
                "raw-httptools",
                "sdk-sse",
                "fastmcp-sse",
            ),
            **at(legacy(replies="sse"), "typescript2-sse", since=PEERS),
        },
        bounds=(
            Bound("ours-asyncio", "raw-protocol", 1.4),
            Bound("ours-asyncio", "sdk-sse", 1 / 6),
            Bound("ours-asyncio", "typescript2-sse"),
            Bound("ours-anyio", "raw-anyio"),
            Bound("ours-speed", "raw-httptools"),
        ),
    ),
    _flying(1),
    _flying(64),
    _flying(1000),
    Row(
        name="structured",
        title="A structured tool: ten items in, a typed result out, over HTTP",
        unit=CALL,
        variants={
            **at(_TOTAL, *OURS, "raw-protocol", "sdk", "sdk-high", "fastmcp"),
            **at(_TOTAL, "typescript2", "typescript2-high", since=PEERS),
        },
        bounds=(
            Bound("ours-asyncio", "raw-protocol"),
            Bound("ours-asyncio", "sdk-high"),
            Bound("ours-asyncio", "typescript2-high"),
        ),
        goal=False,
    ),
    _sizes("echo-10k", "10 kB of text and back, over HTTP", 10_000),
    _sizes("echo-1m", "1 MB of text and back, over HTTP", MB),
    _sizes("echo-10m", "10 MB of text and back, over HTTP", 10 * MB, seconds=1.5),
    _sizes("echo-16m", "16 MB of text and back, over HTTP", 16 * MB, seconds=1.5),
    Row(
        name="list-10",
        title="tools/list with 10 tools",
        unit=CALL,
        variants={
            **at(_TEN, *OURS, "raw-protocol", "sdk"),
            **at(_TEN, "fastmcp", "typescript2", since=PEERS),
        },
        bounds=(
            Bound("ours-asyncio", "raw-protocol"),
            Bound("ours-asyncio", "sdk"),
            Bound("ours-asyncio", "fastmcp"),
            Bound("ours-asyncio", "typescript2"),
        ),
        goal=False,
    ),
    Row(
        name="list-1000",
        title="tools/list with 1,000 tools, unchanged",
        unit=CALL,
        variants={
            **at(_THOUSAND, *OURS, "raw-anyio", "raw-protocol", "raw-httptools", "sdk", "sdk-high"),
            **at(_THOUSAND, "fastmcp", "typescript2", "typescript2-high", since=PEERS),
        },
        bounds=(
            Bound("ours-asyncio", "raw-protocol", 2.0),
            Bound("ours-anyio", "raw-anyio", 2.0),
            Bound("ours-asyncio", "sdk-high", 1 / 100),
            Bound("ours-asyncio", "sdk", 1 / 100),
            Bound("ours-asyncio", "fastmcp"),
            Bound("ours-asyncio", "typescript2"),
            Bound("ours-asyncio", "typescript2-high"),
        ),
        note="The SDK's MCPServer makes the list from tools that were declared as ours are. The "
        "program on its low-level server (official SDK, JSON replies) has the list ready, as an "
        "object made once by hand, and the SDK only checks and encodes it for each request. So it "
        "is with the TypeScript SDK 2.x, which wants a server made for each request over HTTP: "
        "its McpServer has all tools registered each time, its Server has the list ready.",
    ),
    Row(
        name="progress",
        title="1,000 progress events on one SSE stream, one at a time",
        unit=EVENT,
        variants={
            **at(
                _events,
                *OURS,
                "raw-anyio",
                "raw-protocol",
                "raw-httptools",
                "sdk-sse",
                "fastmcp-sse",
            ),
            **at(_events, "typescript2", since=PEERS),
        },
        bounds=(
            Bound("ours-anyio", "raw-anyio", 1.5),
            Bound("ours-asyncio", "raw-anyio", 1.5),
            Bound("ours-anyio", "sdk-sse", 1 / 3),
            Bound("ours-asyncio", "sdk-sse", 1 / 3),
            Bound("ours-asyncio", "raw-protocol"),
            Bound("ours-speed", "raw-httptools"),
            Bound("ours-asyncio", "typescript2"),
        ),
        note="The bound holds ours against the raw program on anyio's streams and h11, on "
        "asyncio's loop: on anyio, which has the same loop and streams, and on asyncio, whose "
        "driver is a protocol without anyio. Beside the raw program of its own loop, driver "
        "and parser (raw protocol and h11; for the speed extra httptools and uvloop) ours "
        "stands without a bound. Ours is a handler that awaits `context.drained()` behind "
        "each event. The raw programs on a protocol are a loop that writes and never waits, "
        "so fast that the kernel joins ten of their events and more in a packet, and two or "
        "three of everybody else's.",
    ),
    Row(
        name="progress-together",
        title="1,000 progress events that are ready together",
        unit=EVENT,
        variants={
            **at(_together, *OURS, "raw-anyio", "raw-protocol", "raw-httptools", "sdk-sse"),
            **at(lambda name: SelfMeasured(server=SUBJECTS[name].command()), "encoding", since=NEW),
            **at(_together, "typescript2", since=PEERS),
        },
        bounds=(
            *(Bound(ours, "encoding", 3.5) for ours in OURS),
            Bound("ours-anyio", "raw-anyio", 3.5),
            Bound("ours-asyncio", "raw-protocol", 3.5),
            Bound("ours-speed", "raw-httptools"),
            Bound("ours-asyncio", "sdk-sse", 1 / 3),
            Bound("ours-asyncio", "typescript2"),
        ),
    ),
    Row(
        name="resume",
        title="Catching up 10,000 events of a stream that broke off",
        unit=EVENT,
        variants={
            **at(_resume, *OURS, "sdk-events"),
            **at(_resume, "fastmcp-events", "typescript2-events", since=PEERS),
            **at(_resume, "raw-anyio", "raw-protocol", "raw-httptools", since=FLIGHTS),
        },
        bounds=(
            Bound("ours-anyio", "raw-anyio"),
            Bound("ours-asyncio", "raw-protocol"),
            Bound("ours-speed", "raw-httptools"),
            Bound("ours-asyncio", "sdk-events"),
            Bound("ours-asyncio", "fastmcp-events"),
            Bound("ours-asyncio", "typescript2-events"),
        ),
        goal=False,
    ),
    Row(
        name="waiting",
        title="1,000 requests in flight that wait 50 ms each",
        unit="µs of wall clock a call",
        variants={
            **at(_WAITING, *OURS, "raw-protocol", "raw-httptools", "sdk"),
            **at(_WAITING, "fastmcp", "typescript2", since=PEERS),
        },
        bounds=(
            Bound("ours-asyncio", "raw-protocol", 1 / 0.65),
            Bound("ours-asyncio", "sdk", 1 / 4),
            Bound("ours-speed", "raw-httptools", 1 / 0.65),
            Bound("ours-speed", "sdk", 1 / 8),
            Bound("ours-asyncio", "fastmcp"),
            Bound("ours-asyncio", "typescript2"),
        ),
    ),
)
