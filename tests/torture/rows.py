"""The drivers, each as a row: how a server is offered on it, and what is done there."""

from msgspec import Struct

from tests.bindings.places import ERAS, LEGACY, MODERN
from tests.torture.acts import Act
from tests.torture.asgi_raw import ASGI
from tests.torture.bindings_of_others import custom
from tests.torture.by_hand import BY_HAND, adapted_by_hand, by_hand
from tests.torture.features import FEATURES
from tests.torture.raw_http import RAW
from tests.torture.raw_sockets import CROWD, SOCKETS
from tests.torture.sites import (
    adapted,
    asgi,
    asgi_sockets,
    process,
    signalled,
)
from tests.torture.stages import Open, in_memory, network, over_http, over_websocket, shared
from tests.torture.stored import stored_in_memory, stored_in_redis, stored_in_sqlite
from tests.torture.story import COMMON, CUT, GONE, LARGE_MESSAGES, NARROW, REFUSED
from tests.torture.tasks import TASKS
from tests.torture.ways import (
    SOON,
    alone,
    behind_a_firm_proxy,
    behind_a_proxy,
    crowded,
    cut_off,
    driven,
    dying,
    narrow,
    pinging,
    raw,
    refusing,
    returning,
    stubborn,
    untrusted,
    with_features,
    with_tasks,
)
from tests.torture.workers import DEAF_WORKERS, WORKERS
from tests.transports.redis_server import PROGRAM

ASYNCIO = ("asyncio",)
BOTH = (*ASYNCIO, "trio")
"""The event loops."""
TINY, BRIEF, LONG = 20, 200, 50_000
"""Bytes that a system takes that has little room for lines, for messages, and for large ones."""


class Row(Struct, frozen=True):
    """A driver."""

    name: str
    open: Open
    act: Act = COMMON
    eras: tuple[str, ...] = ERAS
    backends: tuple[str, ...] = BOTH
    stored: bool = False
    """What a server had begun that was cancelled is its store's to keep."""
    silent: bool = False
    """A process whose server has failed does not go: who waits for it waits for a deadline."""


ROWS = {
    row.name: row
    for row in (
        Row("memory", in_memory(wire=False)),
        Row("memory-wire", in_memory(wire=True)),
        Row("process", process),
        Row("tcp", network("tcp")),
        Row("unix", network("unix")),
        Row("ws", network("ws", over_websocket)),
        Row("http", driven(network("http", over_http))),
        *[
            Row(name, driven(made, "asyncio", parser), COMMON, eras, (loop,))
            for name, made, parser, eras, loop in (
                ("http-asyncio", network("http", over_http), "h11", ERAS, "asyncio"),
                ("http-httptools", network("http", over_http), "httptools", ERAS, "asyncio"),
                ("http-uvloop", network("http", over_http), "httptools", ERAS, "uvloop"),
                ("sse-asyncio", network("sse"), "h11", (LEGACY,), "asyncio"),
                ("ws-shared", network("http", shared, shared=True), "h11", ERAS, "asyncio"),
            )
        ],
        Row("ws-shared-anyio", driven(network("http", shared, shared=True))),
        Row("httpx", adapted),
        Row("asgi", asgi),
        Row("asgi-ws", asgi_sockets),
        Row("https", driven(network("http", over_http, tls=True)), eras=(MODERN,)),
        Row("https-asyncio", network("http", over_http, tls=True), COMMON, (MODERN,), ("asyncio",)),
        Row("wss", network("ws", over_websocket, tls=True), eras=(MODERN,)),
        Row("tls", network("tcp", tls=True), eras=(LEGACY,)),
        Row("features", with_features(in_memory(wire=False)), FEATURES),
        Row("features-tcp", with_features(network("tcp")), FEATURES),
        Row("features-http", driven(with_features(network("http", over_http))), FEATURES),
        Row("raw", driven(raw), RAW, (MODERN,)),
        Row("raw-asyncio", driven(raw, "asyncio"), RAW, (MODERN,), ("asyncio",)),
        *[
            Row(f"refused-by-{name}", made, GONE, (MODERN,), silent=silent)
            for name, made, silent in (
                ("us-tcp", untrusted(network("tcp", tls=True)), False),
                ("us-https", untrusted(network("http", over_http, tls=True)), False),
                ("proxy", behind_a_firm_proxy, False),
                ("death", dying("echo gone >&2; exit 3"), True),
                ("orphan", dying("(trap '' TERM; exec sleep 60) & exit 3"), True),
            )
        ],
        Row("workers-deaf", alone, DEAF_WORKERS, (MODERN,)),
        Row("by-hand", by_hand, BY_HAND, (MODERN,)),
        Row("by-hand-httpx", adapted_by_hand, BY_HAND, (MODERN,)),
        *[
            Row(f"crowded-{name}", crowded(made), act, (MODERN,), backends)
            for name, made, act, backends in (
                ("tcp", network("tcp"), SOCKETS, BOTH),
                ("unix", narrow(network("unix"), TINY), SOCKETS, BOTH),
                ("tls", network("tcp", tls=True), SOCKETS, BOTH),
                ("https", driven(network("http", over_http, tls=True)), CROWD, BOTH),
                ("https-asyncio", network("http", over_http, tls=True), CROWD, ASYNCIO),
            )
        ],
        Row("tasks", with_tasks(network("tcp")), TASKS),
        Row("tasks-listen", with_tasks(in_memory(wire=True), listen=True), TASKS, (MODERN,)),
        Row("returning", returning),
        Row("cut-off", cut_off(network("ws"), 1500, 1500), CUT),
        Row("cut-off-http", driven(cut_off(network("http", http=SOON), words=b"data: {")), CUT),
        Row("cut-off-sse", driven(cut_off(network("sse"), 1500, 1500)), CUT, (LEGACY,)),
        Row("proxy", driven(behind_a_proxy), eras=(MODERN,)),
        Row("pings", pinging, eras=(MODERN,)),
        Row("asgi-raw", asgi, ASGI, (MODERN,)),
        Row("signalled", signalled, LARGE_MESSAGES, (MODERN,)),
        Row("custom", custom, eras=(LEGACY,)),
        Row("workers", alone, WORKERS, (MODERN,)),
        Row("stubborn", stubborn, REFUSED, (MODERN,), silent=True),
        *[
            Row(f"large-{name}", made, LARGE_MESSAGES, (MODERN,))
            for name, made in (
                ("memory", in_memory(wire=True)),
                ("process", process),
                ("tcp", network("tcp")),
                ("unix", network("unix")),
                ("tls", network("tcp", tls=True)),
                ("ws", network("ws", over_websocket)),
                ("http", driven(network("http", over_http))),
            )
        ],
        *[
            Row(f"narrow-{name}", narrow(made, room), act, (MODERN,), backends)
            for name, made, room, act, backends in (
                ("tcp", network("tcp"), BRIEF, NARROW, BOTH),
                ("unix", network("unix"), BRIEF, NARROW, BOTH),
                ("process", process, BRIEF, NARROW, BOTH),
                ("ws", network("ws", over_websocket), BRIEF, NARROW, BOTH),
                ("tls", network("tcp", tls=True), BRIEF, NARROW, BOTH),
                ("wss", network("ws", over_websocket, tls=True), BRIEF, NARROW, BOTH),
                ("http", driven(network("http", over_http)), BRIEF, NARROW, BOTH),
                ("http-asyncio", network("http", over_http), BRIEF, NARROW, ASYNCIO),
                ("ws-shared", network("http", shared, shared=True), LONG, LARGE_MESSAGES, ASYNCIO),
                ("ws-anyio", driven(network("http", shared, shared=True)), BRIEF, NARROW, BOTH),
                ("raw", driven(raw), LONG, RAW, BOTH),
            )
        ],
        Row("large-http-asyncio", network("http"), LARGE_MESSAGES, (MODERN,), ("asyncio",)),
        *[
            Row(f"refused-{name}", refusing(made), REFUSED, (MODERN,), backends)
            for name, made, backends in (
                ("tcp", network("tcp"), BOTH),
                ("tls", network("tcp", tls=True), BOTH),
                ("ws", network("ws", over_websocket), BOTH),
                ("wss", network("ws", over_websocket, tls=True), BOTH),
                ("ws-shared", network("http", shared, shared=True), ("asyncio",)),
                ("ws-anyio", driven(network("http", shared, shared=True)), BOTH),
                ("asgi-ws", asgi_sockets, BOTH),
            )
        ],
        Row("sse", driven(network("sse")), eras=(LEGACY,)),
        Row("store-memory", stored_in_memory, eras=(LEGACY,), stored=True),
        Row("store-sqlite", stored_in_sqlite, eras=(LEGACY,), stored=True),
    )
}
if PROGRAM is not None:
    ROWS["store-redis"] = Row("store-redis", stored_in_redis, eras=(LEGACY,), stored=True)
SELDOM = {
    name
    for name, row in ROWS.items()
    if row.act is not COMMON or name in ("custom", "pings", "proxy")
}
"""Those of which the tests run fewer points: they are many, and much in them is elsewhere, too."""
