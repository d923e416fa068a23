"""The servers of the soak, all in one process: ``network.py BACKEND UNIX-SOCKET``.

It says where each binding is, then ``ready``; each line that it is sent is answered with a sample
of what it holds (``rest``: without garbage, and what is only remembered), and it ends with its
standard input.
"""

import gc
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import anyio
from msgspec import json, structs

from mcpcore.engine.config import Limits
from mcpcore.http.settings import HttpSettings
from tests.bindings.network import offer
from tests.soak.sampling import listen_to_errors, sample
from tests.soak.tools import make_server
from transports.http_heads import RequestParser
from transports.http_settings import HttpServerSettings
from transports.pump import PumpSettings
from transports.runtime import RuntimeSettings
from transports.server import ServeSettings
from transports.socket_settings import SocketSettings
from transports.websocket_settings import WebSocketSettings

MANY = 20_000
"""Requests that may be in flight: more than a storm has."""
LIMITS = Limits(message_size=32 * 1024 * 1024, in_flight=MANY)
PATIENCE = 300.0
"""Seconds that anything may take, on a machine that has other things to do."""
_PUMP = PumpSettings(drain=0.2, stall=PATIENCE)
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
        session_idle=30.0,
        session_unused=30.0,
        replay_age=30.0,
    ),
    http_link=HTTP,
    websocket=WebSocketSettings(
        close_timeout=0.5, handshake_timeout=PATIENCE, ping_timeout=PATIENCE, pump=_PUMP
    ),
    socket=SocketSettings(
        pump=_PUMP, connections_per_client=MANY, first_time=PATIENCE, message_time=PATIENCE
    ),
)
"""Nobody is hurried, and sessions that nobody comes back to are forgotten soon: so the end of the
soak is as its beginning."""


async def main(path: str) -> None:
    listen_to_errors()
    stop = anyio.Event()
    server = make_server()
    bindings: dict[str, Any] = {
        "http": "127.0.0.1:0",
        "ws": "127.0.0.1:0",
        "sse": "127.0.0.1:0",
        "tcp": "127.0.0.1:0",
        "unix": path,
    }
    async with anyio.create_task_group() as group:
        for name, address in bindings.items():
            await group.start(partial(offer, server, name, address, stop, SETTINGS))
        streams = structs.replace(SETTINGS, http_link=structs.replace(HTTP, driver="anyio"))
        serving = partial(offer, server, "http", "127.0.0.1:0", stop, streams, called="http-anyio")
        await group.start(serving)
        print("ready", flush=True)
        while True:
            await anyio.wait_readable(0)
            asked = os.read(0, 4096)
            if not asked:
                break
            begun = time.process_time()
            if b"rest" in asked:
                gc.collect()
                _forget()
            sys.stdout.buffer.write(json.encode(sample(begun)) + b"\n")
            sys.stdout.flush()
        stop.set()


def _forget() -> None:
    """Heads of requests are remembered, up to a bound that a short soak does not come to."""
    for each in gc.get_objects():
        if type(each) is RequestParser:
            each.forget()


if __name__ == "__main__":
    anyio.run(main, sys.argv[2], backend=sys.argv[1])
