"""The workbench over HTTP, served in each way of :data:`~tests.bindings.places.HTTP_WAYS`:
``network_ways.py BACKEND``.

It says where each is, then ``ready``, and ends with its standard input.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import anyio
from msgspec import structs

from tests.bindings.asgi_servers import offer_asgi
from tests.bindings.network import SETTINGS, offer
from tests.bindings.places import ASGI, HTTP_WAYS
from tests.bindings.workbench import make_workbench

_IDLE = 300.0
"""Seconds that a connection may be idle: longer than any test takes."""


async def main(backend: str) -> None:
    stop = anyio.Event()
    server = make_workbench()
    async with anyio.create_task_group() as group:
        for name, way in HTTP_WAYS.items():
            if backend not in way.backends:
                continue
            if name == ASGI:
                await group.start(offer_asgi, server, name, stop, SETTINGS, _IDLE)
                continue
            link = structs.replace(SETTINGS.http_link, driver=way.driver, parser=way.parser)
            settings = structs.replace(SETTINGS, http_link=link)
            serving = partial(offer, server, "http", "127.0.0.1:0", stop, settings, called=name)
            await group.start(serving)
        print("ready", flush=True)
        await anyio.wait_readable(0)  # nobody writes: it is the end
        stop.set()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], backend=sys.argv[1])
