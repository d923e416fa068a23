"""The workbench on every binding of the network at once: ``network.py BACKEND UNIX-SOCKET``.

It says where each is, then ``ready``, and ends with its standard input.
"""

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import anyio
from anyio.abc import TaskStatus

from mcpcore.http.settings import HttpSettings
from mcpcore.service import Server
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.serve.serve import ServeSettings, serve
from mcpcore_transports.server.settings import RuntimeSettings
from tests.bindings.places import ROOMY
from tests.bindings.workbench import make_workbench
from tests.clock import PATIENCE

SETTINGS = ServeSettings(
    runtime=RuntimeSettings(limits=ROOMY),
    http=HttpSettings(max_body=ROOMY.message_size),
    # The other loop has the other driver, and reads heads by what is installed.
    http_link=HttpServerSettings(
        parser="h11" if sys.argv[1:2] == ["trio"] else "auto", head_time=PATIENCE
    ),
)


async def offer(
    server: Server,
    name: str,
    address: str,
    stop: anyio.Event,
    settings: ServeSettings = SETTINGS,
    *,
    called: str | None = None,
    task_status: TaskStatus[None],
) -> None:
    """Serve on one binding, and say where; it may be ``called`` by another name."""
    await serve(
        server,
        **{name: address},  # type: ignore[arg-type]
        settings=settings,
        on_listening=lambda url: print(called or name, url),
        on_ready=task_status.started,
        stop=stop,
    )


async def main(path: str) -> None:
    stop = anyio.Event()
    server = make_workbench()
    bindings: dict[str, Any] = {
        "http": "127.0.0.1:0",
        "ws": "127.0.0.1:0",
        "sse": "127.0.0.1:0",
        "tcp": "127.0.0.1:0",
        "unix": path,
    }
    async with anyio.create_task_group() as group:
        for name, address in bindings.items():
            await group.start(partial(offer, server, name, address, stop))
        print("ready", flush=True)
        await anyio.wait_readable(0)  # nobody writes: it is the end
        stop.set()


if __name__ == "__main__":
    if sys.argv[1] == "asyncio":
        asyncio.run(main(sys.argv[2]))  # anyio has not begun this loop: see network_ways
    else:
        anyio.run(main, sys.argv[2], backend=sys.argv[1])
