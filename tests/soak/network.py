"""The servers of the soak that are in one process: ``network.py BACKEND UNIX-SOCKET CERTIFICATE``.

It says where each binding is, then ``ready``; each line that it is sent is answered with a sample
of what it holds, without garbage and what is only remembered (``kept``: with what its tables have),
and it ends with its standard input.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import anyio
from msgspec import json, structs

from mcpcore.engine.config import Limits
from mcpcore.http.settings import HttpSettings
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.stream.settings import ConnectionSettings, SocketSettings
from mcpcore_transports.tls import server_tls
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.bindings.asgi_servers import offer_asgi
from tests.bindings.network import offer
from tests.faults.holdings import forget, kept
from tests.soak.people import authenticate
from tests.soak.sampling import listen_to_errors, sample
from tests.soak.tools import make_server

KEPT = b"kept\n"
"""What is asked for a sample with what is kept."""
MANY = 20_000
"""Requests that may be in flight: more than a storm has."""
LIMITS = Limits(message_size=32 * 1024 * 1024, in_flight=MANY)
PATIENCE = 300.0
"""Seconds that anything may take, on a machine that has other things to do."""
ROUND = 4 * PATIENCE
"""... and a round of an actor, of many calls, while storms hold up all others."""
LIVES = 90.0
"""Seconds after which a session is forgotten that nobody comes back to: more than a client may be
held up by a machine that has other things to do, and less than the end of a soak is waited for."""
_PUMP = ConnectionSettings(drain=0.2, stall=PATIENCE)
HTTP = HttpServerSettings(
    connections=MANY,
    connections_per_client=MANY,
    drain_time=1.0,
    head_time=PATIENCE,
    body_time=PATIENCE,
    body_grace=PATIENCE,
    idle_time=PATIENCE,
    write_time=PATIENCE,
)
SETTINGS = ServeSettings(
    runtime=RuntimeSettings(limits=LIMITS, input_timeout=PATIENCE),
    http=HttpSettings(
        max_body=LIMITS.message_size,
        max_calls=2 * MANY,
        stall_timeout=PATIENCE,
        session_idle=LIVES,
        session_unused=LIVES,
        replay_age=LIVES,
    ),
    http_link=HTTP,
    websocket=WebSocketSettings(
        close_timeout=0.5, handshake_timeout=PATIENCE, ping_timeout=PATIENCE, connection=_PUMP
    ),
    socket=SocketSettings(
        connection=_PUMP,
        connections_per_client=MANY,
        handshake_time=PATIENCE,
        first_time=PATIENCE,
        message_time=PATIENCE,
    ),
)
"""Nobody is hurried, and sessions that nobody comes back to are forgotten soon: so the end of the
soak is as its beginning."""


async def answer(also: Callable[[], Mapping[str, int]] = dict) -> None:
    """Answer whoever asks on standard input, until its end; ``also``: what is kept elsewhere."""
    while True:
        await anyio.wait_readable(0)
        asked = os.read(0, 4096)
        if not asked:
            return
        begun = time.process_time()
        found = sample(begun, forget())
        if asked == KEPT:
            found.kept = {**kept(), **also()}
        sys.stdout.buffer.write(json.encode(found) + b"\n")
        sys.stdout.flush()


async def main(path: str, certificate: str) -> None:
    listen_to_errors()
    stop = anyio.Event()
    server = make_server()
    secure = structs.replace(SETTINGS, ssl_context=server_tls(Path(certificate)))
    shared = structs.replace(SETTINGS, shared=True)
    link = structs.replace(HTTP, driver="anyio", parser="h11", usual_heads="parsed")
    streams = structs.replace(SETTINGS, http_link=link)
    known = structs.replace(SETTINGS, http_link=structs.replace(HTTP, authenticate=authenticate))
    bindings = (
        ("http", "http", SETTINGS),
        ("ws", "ws", SETTINGS),
        ("sse", "sse", SETTINGS),
        ("tcp", "tcp", SETTINGS),
        ("unix", "unix", SETTINGS),
        ("http-anyio", "http", streams),
        ("sse-anyio", "sse", streams),
        ("ws-shared", "http", shared),  # it says both URLs, that of WebSocket last
        ("https", "http", secure),
        ("wss", "ws", secure),
        ("tls", "tcp", secure),
        ("tokens", "http", known),
    )
    async with anyio.create_task_group() as group:
        for called, name, settings in bindings:
            address = path if name == "unix" else "127.0.0.1:0"
            await group.start(partial(offer, server, name, address, stop, settings, called=called))
        await group.start(offer_asgi, server, "asgi", stop, shared, PATIENCE)
        print("ready", flush=True)
        await answer()
        stop.set()


if __name__ == "__main__":
    anyio.run(main, sys.argv[2], sys.argv[3], backend=sys.argv[1])
