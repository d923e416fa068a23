"""The server of the soak over HTTP as the extra ``speed`` has it, in a process of its own:
``network_ways.py asyncio uvloop``.

It says and answers what :mod:`tests.soak.network` does.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import anyio
from msgspec import structs

from tests.bindings.network import offer
from tests.bindings.network_ways import check, options_of
from tests.bindings.places import HTTP_WAYS
from tests.soak.network import HTTP, SETTINGS, answer
from tests.soak.sampling import listen_to_errors
from tests.soak.tools import make_server


async def main(loop: str) -> None:
    listen_to_errors()
    check(loop)
    stop = anyio.Event()
    server = make_server()
    async with anyio.create_task_group() as group:
        for name, way in HTTP_WAYS.items():
            if way.uvloop:
                link = structs.replace(HTTP, driver=way.driver, parser=way.parser)
                settings = structs.replace(SETTINGS, http_link=link)
                serving = partial(offer, server, "http", "127.0.0.1:0", stop, settings)
                await group.start(partial(serving, called=name))
        print("ready", flush=True)
        await answer()
        stop.set()


if __name__ == "__main__":
    backend, loop = sys.argv[1:3]
    anyio.run(main, loop, backend=backend, backend_options=options_of(loop))
