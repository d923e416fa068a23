"""Serve an object in this process to a client that is somebody: ``with_principal.py MODULE:NAME``.

Prints the result of the tool that is named next; runs inside the environment of the object.
"""

import sys
from functools import partial
from importlib import import_module

import anyio

from mcpcore import HttpServerSettings, Principal, ServeSettings, adapt, connect, serve

module, _, name = sys.argv[1].partition(":")
settings = ServeSettings(
    http_link=HttpServerSettings(authenticate=lambda request: Principal("ada", scopes=["admin"]))
)


async def main() -> None:
    urls: list[str] = []
    ready, stop = anyio.Event(), anyio.Event()
    server = adapt(getattr(import_module(module), name))
    serving = partial(serve, server, http="127.0.0.1:0", settings=settings, stop=stop)
    async with anyio.create_task_group() as group:
        group.start_soon(partial(serving, on_listening=urls.append, on_ready=ready.set))
        await ready.wait()
        async with connect(urls[0]) as client:
            print((await client.call_tool(sys.argv[2])).text)
        stop.set()


anyio.run(main)
