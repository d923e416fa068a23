"""The server under attack: ``python -m mcpcore_bench.floods.server SETTINGS``, these in JSON.

It says ``listening on PORT`` and serves until its standard input ends.  Members of SETTINGS:
``http`` and ``link``, what differs from the defaults of HttpSettings and HttpServerSettings;
``queued`` and ``in_flight``, bounds of Limits; ``backend``, asyncio or trio.
"""

import gc
import json
import sys
from functools import partial

import anyio
from anyio import to_thread

from mcpcore import (
    Context,
    HttpServerSettings,
    HttpSettings,
    Limits,
    RuntimeSettings,
    Server,
    ServeSettings,
    serve,
)

LINE = "x" * 50_000
MUCH = 120


def make() -> Server:
    """Make a server with a fast tool, a slow one and a talkative one."""
    server = Server("under attack")
    never = anyio.Event()

    @server.tool
    def quick() -> str:
        """Answer at once."""
        return "here"

    @server.tool
    async def slow() -> str:
        """Wait until it is cancelled."""
        await never.wait()
        return "never"

    @server.tool
    async def pour(context: Context) -> str:
        """Log without end, and without looking whether anybody reads: much at first."""
        count = 0
        while True:
            context.log("info", LINE)
            count += 1
            await anyio.sleep(0.05 if count < MUCH else 10.0)

    gushed = 0

    @server.tool
    async def gush(context: Context) -> str:
        """Log without end, each line when the one before it has been taken."""
        nonlocal gushed
        while True:
            context.log("error", LINE)
            gushed += 1
            await context.drained()

    @server.tool
    def lines() -> str:
        """Tell how many lines ``gush`` has logged."""
        return str(gushed)

    @server.tool
    def in_use() -> str:
        """Tell how many blocks of memory hold something, garbage taken away."""
        gc.collect()
        return str(sys.getallocatedblocks())

    return server


async def main(settings: ServeSettings) -> None:
    """Serve until standard input ends."""
    stop = anyio.Event()

    async def wait() -> None:
        await to_thread.run_sync(sys.stdin.read)
        stop.set()

    def listening(url: str) -> None:
        print("listening on", url.split("/")[2].rpartition(":")[2], flush=True)

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await serve(
            make(), http="127.0.0.1:0", settings=settings, on_listening=listening, stop=stop
        )


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    chosen = ServeSettings(
        http=HttpSettings(**given.get("http", {})),
        http_link=HttpServerSettings(**given.get("link", {})),
        runtime=RuntimeSettings(
            limits=Limits(
                **{name: given[name] for name in ("queued", "in_flight") if name in given}
            )
        ),
    )
    anyio.run(partial(main, chosen), backend=given.get("backend", "asyncio"))
