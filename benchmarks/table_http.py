"""The rows about HTTP."""

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.load.jobs import Ask, Events, HttpCalls, Resume, SelfMeasured
from benchmarks.programs.offer import FILLERS_FROM
from benchmarks.rows import UNCHANGED, Bound, Row, Variant, at
from benchmarks.subjects import SUBJECTS

CALL = "µs of CPU a call"
EVENT = "µs of CPU an event"
MB = 1_000_000
SESSIONS = {"1": "1 session", "100": "100 sessions", "10000": "10,000 sessions"}
STREAMS = {"1": "1 stream", "100": "100 streams", "1000": "1,000 streams"}
TOOLS = {"10": "10 tools", "1000": "1,000 tools"}
OURS = ("ours-anyio", "ours-asyncio", "ours-speed")
NEW = "2026-11-22T01:00:00+00:00"
"""Since when the rows and variants are there that came last."""
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


def numbered(
    titles: dict[str, str], make: Callable[[str, str], HttpCalls], subject: str, since: str
) -> dict[str, Variant]:
    """One subject under different circumstances."""
    return {
        key: Variant(title, partial(make, subject, key), SUBJECTS[subject].needs, since)
        for key, title in titles.items()
    }


def _sizes(name: str, title: str, size: int, **members: Any) -> Row:
    raws = ("raw-anyio", "raw-protocol", "raw-httptools")
    job = calls(ask=Ask("echo", size), replies="any", connections=1, **members)
    bounded = size in (MB, 10 * MB)
    limit = 1.5 if bounded else None
    return Row(
        name=name,
        title=title,
        unit=CALL,
        # fastmcp takes 4 MB at most, and cannot be told otherwise.
        variants=at(job, *OURS, *raws, "sdk", *(("fastmcp",) if size < 4 * MB else ())),
        bounds=(
            *(Bound(ours, raw, limit) for ours, raw in zip(OURS, raws, strict=True)),
            *(Bound(ours, "sdk", 1 / 3 if bounded else None) for ours in OURS),
        ),
        goal=bounded,
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
        bounds=(
            Bound("ours-anyio", "raw-anyio"),
            Bound("ours-asyncio", "raw-protocol"),
            Bound("ours-speed", "raw-httptools"),
            Bound("ours-asyncio", "sdk"),
        ),
        goal=False,
    )


def _crowded(
    name: str,
    title: str,
    titles: dict[str, str],
    make: Any,
    subject: str = "ours-asyncio",
    since: str = "",
) -> Row:
    first, *others = titles
    return Row(
        name=name,
        title=title,
        unit=CALL,
        variants=numbered(titles, make, subject, since),
        bounds=tuple(Bound(other, first, UNCHANGED) for other in others),
    )


def _differing(name: str, title: str, **members: Any) -> Row:
    """No head, or hardly one, is the same as the one before: nothing known of it helps."""
    return Row(
        name=name,
        title=title,
        unit=CALL,
        variants=at(
            calls(replies="any", **members),
            *OURS,
            "raw-anyio",
            "raw-protocol",
            "raw-httptools",
            "sdk",
            "sdk-best",
        ),
        bounds=CALL_BOUNDS,
    )


def _sessions(subject: str, key: str) -> HttpCalls:
    return HttpCalls(
        server=SUBJECTS[subject].command(),
        era="legacy",
        sessions=int(key),
        in_turn=True,
        connections=1,
    )


def _streams(subject: str, key: str) -> HttpCalls:
    count = int(key)
    return HttpCalls(
        server=SUBJECTS[subject].command(),
        era="legacy",
        sessions=count,
        streams=count,
        connections=1,
    )


def _tools(subject: str, key: str) -> HttpCalls:
    first, *more = (Ask("filler", number) for number in range(int(key) - FILLERS_FROM))
    server = SUBJECTS[subject].command("--tools", key)
    return HttpCalls(server=server, ask=first, more=tuple(more), connections=1)


HTTP = Row(
    name="http",
    title="HTTP modern tools/call, JSON reply, 16 in flight",
    unit=CALL,
    variants=at(calls(replies="any"), *EVERYBODY),
    bounds=(
        *CALL_BOUNDS,
        Bound("ours-trio", "raw-trio", 1.3),
        Bound("ours-trio", "sdk", 1 / 2),
        Bound("ours-asyncio", "sdk-sse"),
        Bound("ours-asyncio", "fastmcp"),
    ),
)

ROWS = (
    HTTP,
    Row(
        name="http-legacy",
        title="HTTP legacy session, JSON replies, 16 in flight",
        unit=CALL,
        variants=at(
            legacy(),
            *OURS,
            "raw-anyio",
            "raw-protocol",
            "raw-httptools",
            "sdk",
            "fastmcp",
            "typescript",
        ),
        bounds=(
            Bound("ours-asyncio", "raw-protocol", 1.4),
            Bound("ours-asyncio", "sdk", 1 / 4),
            Bound("ours-anyio", "raw-anyio"),
            Bound("ours-speed", "raw-httptools"),
            Bound("ours-asyncio", "typescript"),
        ),
    ),
    Row(
        name="http-legacy-sse",
        title="HTTP legacy session, SSE replies, 16 in flight",
        unit=CALL,
        variants=at(
            legacy(replies="sse"),
            *OURS,
            "raw-anyio",
            "raw-protocol",
            "raw-httptools",
            "sdk-sse",
            "fastmcp-sse",
        ),
        bounds=(
            Bound("ours-asyncio", "raw-protocol", 1.4),
            Bound("ours-asyncio", "sdk-sse", 1 / 6),
            Bound("ours-anyio", "raw-anyio"),
            Bound("ours-speed", "raw-httptools"),
        ),
    ),
    _flying(1),
    _flying(64),
    _flying(1000),
    _differing(
        "http-lengths",
        "HTTP modern tools/call, texts of 64 lengths in turn",
        more=tuple(Ask("echo", 200 + more) for more in range(1, 64)),
    ),
    _differing("http-heads", "HTTP modern tools/call, a header that differs each time", vary=True),
    Row(
        name="structured",
        title="A structured tool: ten items in, a typed result out, over HTTP",
        unit=CALL,
        variants=at(
            calls(ask=Ask("total", 10), replies="any"),
            *OURS,
            "raw-protocol",
            "sdk",
            "sdk-high",
            "fastmcp",
        ),
        bounds=(Bound("ours-asyncio", "raw-protocol"), Bound("ours-asyncio", "sdk-high")),
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
        variants=at(
            calls("--tools", "10", ask=Ask("list", 10), replies="any"),
            *OURS,
            "raw-protocol",
            "sdk",
        ),
        bounds=(Bound("ours-asyncio", "raw-protocol"), Bound("ours-asyncio", "sdk")),
        goal=False,
    ),
    Row(
        name="list-1000",
        title="tools/list with 1,000 tools, unchanged",
        unit=CALL,
        variants=at(
            calls("--tools", "1000", ask=Ask("list", 1000), replies="any", connections=1),
            *OURS,
            "raw-anyio",
            "raw-protocol",
            "raw-httptools",
            "sdk",
            "sdk-high",
        ),
        bounds=(
            Bound("ours-asyncio", "raw-protocol", 2.0),
            Bound("ours-anyio", "raw-anyio", 2.0),
            Bound("ours-asyncio", "sdk-high", 1 / 100),
            Bound("ours-asyncio", "sdk"),
        ),
        note="The bound of 100 x is held against the SDK's MCPServer, which makes the list from "
        "tools that were declared as ours are. The program on its low-level server (official SDK, "
        "JSON replies) has the list ready, as an object made once by hand, and the SDK only checks "
        "and encodes it for each request: the ratio to that is shown, and is not what is bounded.",
    ),
    Row(
        name="progress",
        title="1,000 progress events on one SSE stream, one at a time",
        unit=EVENT,
        variants=at(
            lambda name: Events(server=SUBJECTS[name].command()),
            *OURS,
            "raw-anyio",
            "raw-protocol",
            "raw-httptools",
            "sdk-sse",
            "fastmcp-sse",
        ),
        bounds=(
            Bound("ours-anyio", "raw-anyio", 1.5),
            Bound("ours-asyncio", "raw-anyio", 1.5),
            Bound("ours-anyio", "sdk-sse", 1 / 3),
            Bound("ours-asyncio", "sdk-sse", 1 / 3),
            Bound("ours-asyncio", "raw-protocol"),
            Bound("ours-speed", "raw-httptools"),
        ),
        note="Ours is a handler that awaits `context.drained()` behind each event. The raw "
        "programs on a protocol are a loop that writes and never waits, so fast that the kernel "
        "joins ten of their events and more in a packet, and two or three of everybody else's.",
    ),
    Row(
        name="progress-together",
        title="1,000 progress events that are ready together",
        unit=EVENT,
        variants={
            **at(
                lambda name: Events(server=SUBJECTS[name].command(), together=True),
                *OURS,
                "raw-anyio",
                "raw-protocol",
                "raw-httptools",
                "sdk-sse",
            ),
            **at(lambda name: SelfMeasured(server=SUBJECTS[name].command()), "encoding", since=NEW),
        },
        bounds=(
            *(Bound(ours, "encoding", 3.5) for ours in OURS),
            Bound("ours-anyio", "raw-anyio", 3.5),
            Bound("ours-asyncio", "raw-protocol", 3.5),
            Bound("ours-asyncio", "sdk-sse", 1 / 3),
        ),
    ),
    Row(
        name="resume",
        title="Catching up 10,000 events of a stream that broke off",
        unit=EVENT,
        variants=at(lambda name: Resume(server=SUBJECTS[name].command()), *OURS, "sdk-events"),
        bounds=(Bound("ours-asyncio", "sdk-events"),),
        goal=False,
    ),
    Row(
        name="waiting",
        title="1,000 requests in flight that wait 50 ms each",
        unit="µs of wall clock a call",
        variants=at(
            calls(ask=Ask("wait", 50), replies="any", connections=1000, wall=True, warm=0.5),
            *OURS,
            "raw-protocol",
            "raw-httptools",
            "sdk",
        ),
        bounds=(
            Bound("ours-asyncio", "raw-protocol", 1 / 0.65),
            Bound("ours-asyncio", "sdk", 1 / 4),
            Bound("ours-speed", "raw-httptools", 1 / 0.65),
            Bound("ours-speed", "sdk", 1 / 8),
        ),
    ),
    _crowded("sessions", "Calls in 1, 100, 10,000 sessions in turn", SESSIONS, _sessions),
    _crowded(
        "sessions-anyio",
        "The same with anyio",
        SESSIONS,
        _sessions,
        "ours-anyio",
    ),
    _crowded(
        "sessions-speed",
        "The same with the speed extra",
        SESSIONS,
        _sessions,
        "ours-speed",
    ),
    _crowded("streams", "A call beside 1, 100, 1,000 open GET streams", STREAMS, _streams),
    _crowded("streams-anyio", "The same with anyio", STREAMS, _streams, "ours-anyio", NEW),
    _crowded(
        "streams-speed", "The same with the speed extra", STREAMS, _streams, "ours-speed", NEW
    ),
    _crowded("tools", "Calls of all but a few of 10, 1,000 tools in turn", TOOLS, _tools),
    _crowded("tools-anyio", "The same with anyio", TOOLS, _tools, "ours-anyio", NEW),
    _crowded("tools-speed", "The same with the speed extra", TOOLS, _tools, "ours-speed", NEW),
)
