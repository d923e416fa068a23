"""The rows about gateways: what a hop costs, and whether it stays what it costs."""

from functools import partial
from typing import Any

from mcpcore_bench.load.jobs import Ask, HttpCalls, Memory
from mcpcore_bench.rows import UNCHANGED, Bound, Row, Variant, at
from mcpcore_bench.subjects import SUBJECTS
from mcpcore_bench.table.http import CALL, MB

NEW = "2026-11-28T13:00:00+00:00"
"""Since when the table has them."""
_HOPS = ("hop", "hop-speed", "fastmcp-hop")
_DIRECT = ("ours-asyncio", "ours-speed")
_LISTED, _SERVERS = 1000, 20
_MEGABYTE = Ask("long", MB)


def _calls(name: str, *more: str, behind: tuple[str, ...] = (), **members: Any) -> HttpCalls:
    """``more``: words for the gateway; ``behind``: for the server behind it."""
    return HttpCalls(
        server=SUBJECTS[name].command(*more),
        replies=members.pop("replies", "any"),
        behind=SUBJECTS["ours-speed"].command(*behind) if "hop" in name else None,
        **members,
    )


def _through(name: str, title: str, **members: Any) -> Row:
    return Row(
        name=name,
        title=f"A tools/call through a gateway, HTTP to HTTP, {title}",
        unit=CALL,
        variants=at(partial(_calls, **members), *_DIRECT, *_HOPS, since=NEW),
        bounds=(
            Bound("hop", "ours-asyncio", 4.0),
            Bound("hop-speed", "ours-speed", 4.0),
            Bound("hop", "fastmcp-hop", 1 / 100),
        ),
        note="Of a gateway it is what its process alone takes; the server behind it has the speed "
        "extra. Of ours without one it is what the server takes.",
    )


def _memory(name: str) -> Memory:
    behind = SUBJECTS["ours-asyncio"].command() if name == "hop" else None
    return Memory(server=SUBJECTS[name].command(), what="session", behind=behind)


def _in_turn(count: int) -> HttpCalls:
    return _calls("hop", era="legacy", replies="json", sessions=count, in_turn=True)


def _servers(count: int) -> HttpCalls:
    return _calls("hop", "--servers", str(count), "--naming", "never")


def _numbered(make: Any, titles: dict[int, str]) -> dict[str, Variant]:
    needs = SUBJECTS["hop"].needs
    return {
        str(count): Variant(title, partial(make, count), needs, NEW)
        for count, title in titles.items()
    }


def _list(name: str) -> HttpCalls:
    ask, each = Ask("list", _LISTED), _LISTED // _SERVERS
    if name != "hop":
        return _calls(name, "--tools", str(_LISTED), ask=ask, connections=1)
    words, behind = ("--servers", str(_SERVERS), "--ttl", "3600"), ("--tools", str(each))
    return _calls(name, *words, behind=behind, ask=ask, connections=1, warm=1.0)


ROWS = (
    _through("hop", "2026-07-28, 16 in flight"),
    _through("hop-1", "2026-07-28, 1 in flight", connections=1),
    _through("hop-legacy", "2025-11-25, 16 in flight", era="legacy"),
    Row(
        name="hop-stdio",
        title="A tools/call through a gateway, HTTP to stdio, 2025-11-25, 16 in flight",
        unit=CALL,
        variants=at(
            lambda name: HttpCalls(server=SUBJECTS[name].command(), era="legacy", replies="any"),
            "ours-asyncio",
            "hop-stdio",
            "mcp-proxy",
            since=NEW,
        ),
        bounds=(Bound("hop-stdio", "ours-asyncio", 2.5), Bound("hop-stdio", "mcp-proxy", 1 / 6)),
        note="mcp-proxy has one process behind it for all sessions, ours one for each.",
    ),
    Row(
        name="hop-1m",
        title="An argument of 1 MB through a gateway, HTTP to HTTP, 2026-07-28, 1 in flight",
        unit=CALL,
        variants=at(partial(_calls, ask=_MEGABYTE, connections=1), *_DIRECT, *_HOPS[:2], since=NEW),
        bounds=(Bound("hop", "ours-asyncio", 2.5), Bound("hop-speed", "ours-speed", 2.5)),
    ),
    Row(
        name="hop-waiting",
        title="1,000 requests in flight that wait 50 ms each, through a gateway",
        unit="µs of wall clock a call",
        variants=at(
            partial(_calls, ask=Ask("wait", 50), connections=1000, wall=True, warm=0.5),
            *_DIRECT,
            "hop",
            "hop-speed",
            since=NEW,
        ),
        bounds=(Bound("hop", "ours-asyncio", 1.25), Bound("hop-speed", "ours-speed", 1.25)),
        note="A gateway is one process more, and the work of a call through it more than twice as "
        "much: a machine with two cores is at its limit then, and the gateway at that of one. No "
        "call can take less time there than the CPU of the gateway (µs of CPU), nor than half of "
        "what load, gateway and server take together.",
    ),
    Row(
        name="hop-sessions",
        title="Calls through a gateway in 1, 100, 10,000 sessions in turn, 16 in flight",
        unit=CALL,
        variants=_numbered(
            _in_turn, {1: "1 session", 100: "100 sessions", 10_000: "10,000 sessions"}
        ),
        bounds=(Bound("100", "1", UNCHANGED), Bound("10000", "1", UNCHANGED)),
    ),
    Row(
        name="hop-servers",
        title="Calls through a gateway before 2, 50 servers, 16 in flight",
        unit=CALL,
        variants=_numbered(_servers, {2: "2 servers", 50: "50 servers"}),
        bounds=(Bound("50", "2", UNCHANGED),),
    ),
    Row(
        name="hop-list",
        title=f"tools/list with {_LISTED:,} tools of {_SERVERS} servers, which may be kept",
        unit=CALL,
        variants=at(_list, "ours-asyncio", "hop", since=NEW),
        bounds=(Bound("hop", "ours-asyncio", 2.0),),
    ),
    Row(
        name="hop-session",
        title="Memory of an idle session, through a gateway",
        unit="kB",
        variants=at(_memory, "ours-asyncio", "hop", since=NEW),
        bounds=(Bound("hop", "ours-asyncio", 2.0),),
    ),
)
