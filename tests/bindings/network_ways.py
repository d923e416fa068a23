"""The workbench over HTTP, served in each way of :data:`~tests.bindings.places.HTTP_WAYS` that a
loop has: ``network_ways.py BACKEND LOOP``, of which the latter is ``usual`` or ``uvloop``.

On asyncio it runs as a program does that does not begin with anyio: in callbacks of such a loop
anyio knows of none.  It says where each is, then ``ready``, and ends with its standard input.
"""

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import anyio
from msgspec import structs

from tests.bindings.asgi_servers import offer_asgi
from tests.bindings.network import SETTINGS, offer
from tests.bindings.places import ASGI, HTTP_WAYS, WSGI
from tests.bindings.workbench import make_workbench
from tests.bindings.wsgi_server import offer_wsgi

_IDLE = 300.0
"""Seconds that a connection may be idle: longer than any test takes."""
_APPLICATIONS = {ASGI: offer_asgi, WSGI: offer_wsgi}


def options_of(loop: str) -> dict[str, Any]:
    """What anyio, or asyncio, is told of the loop."""
    if loop == "usual":
        return {}
    from uvloop import new_event_loop

    return {"loop_factory": new_event_loop}


def check(loop: str) -> None:
    """Show that this runs on the loop that was asked for."""
    if loop == "uvloop":
        assert type(asyncio.get_running_loop()).__module__.startswith(loop)


async def main(backend: str, loop: str) -> None:
    check(loop)
    stop = anyio.Event()
    server = make_workbench()
    async with anyio.create_task_group() as group:
        for name, way in HTTP_WAYS.items():
            if backend not in way.backends or way.uvloop != (loop == "uvloop"):
                continue
            if name in _APPLICATIONS:
                # WSGI has an event loop of its own, where the lifespan of a server begins anew
                served = make_workbench() if name == WSGI else server
                await group.start(_APPLICATIONS[name], served, name, stop, SETTINGS, _IDLE)
                continue
            link = structs.replace(
                SETTINGS.http_link,
                driver=way.driver,
                parser=way.parser,
                usual_heads="parsed" if way.parsed else "plainly",
            )
            settings = structs.replace(SETTINGS, http_link=link)
            serving = partial(offer, server, "http", "127.0.0.1:0", stop, settings, called=name)
            await group.start(serving)
        if backend == "trio":  # hypercorn starts while what it serves is offered
            await anyio.wait_all_tasks_blocked()
        print("ready", flush=True)
        await anyio.wait_readable(0)  # nobody writes: it is the end
        stop.set()


if __name__ == "__main__":
    backend, loop = sys.argv[1:3]
    if backend == "asyncio":
        with asyncio.Runner(**options_of(loop)) as runner:
            runner.run(main(backend, loop))
    else:
        anyio.run(main, backend, loop, backend=backend, backend_options=options_of(loop))
