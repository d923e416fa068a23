"""A program with a lifespan, of which the environment says what becomes of it.

``LIFE``: what goes wrong.  ``LIFE_DIARY``: a file for what happens, with the process to which it
does.  ``LIFE_BROKEN``: a file; while it is there, no start succeeds.
"""

import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
from starlette.applications import Starlette
from starlette.routing import Mount

from mcpcore.service import Server
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.serve.asgi import asgi_app
from mcpcore_transports.serve.serve import ServeSettings, run
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.settings import RuntimeSettings

LIFE = os.environ.get("LIFE", "")


def note(what: str) -> None:
    if path := os.environ.get("LIFE_DIARY"):
        with open(path, "a", encoding="utf-8") as diary:
            diary.write(f"{what} {os.getpid()}\n")


@asynccontextmanager
async def open_database() -> AsyncIterator[str]:
    note("start")
    if LIFE == "refused" or os.path.exists(os.environ.get("LIFE_BROKEN", "")):  # noqa: ASYNC240
        raise ConnectionRefusedError("no database")
    if LIFE == "refused at length":
        raise ConnectionRefusedError("\u20ac" * 20_000)
    if LIFE == "exits":
        sys.exit(7)
    if LIFE in ("starts for ever", "starts slowly"):
        await anyio.sleep_forever()
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        if LIFE == "fails in a group":
            raise LookupError("no table")
        note("started")
        yield "the database"
        group.cancel_scope.cancel()
    note("end")
    if LIFE == "ends late":
        await anyio.sleep(0.5)  # longer than handlers have
    if LIFE == "ends in a storm":
        with anyio.CancelScope(shield=True):
            for _ in range(4):
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(10):
                    await anyio.lowlevel.checkpoint()
    if LIFE == "ends badly":
        raise OSError("cannot flush")
    if LIFE == "ends never":
        await anyio.sleep_forever()
    note("ended")
    if LIFE == "interrupted at its end":
        threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()


server = Server("lively", version="1", lifespan=open_database)


@server.tool
def database(context: Context[str]) -> str:
    return context.lifespan


@server.tool
def pid() -> int:
    return os.getpid()


SETTINGS = ServeSettings(
    runtime=RuntimeSettings(
        lifespan_start=0.1 if LIFE == "starts for ever" else 60.0,
        lifespan_end=0.1 if LIFE == "ends never" else 30.0,
    ),
    http_link=HttpServerSettings(drain_time=0.1),
)

app = asgi_app(server, settings=SETTINGS)
inner = asgi_app(server, settings=SETTINGS)


@asynccontextmanager
async def of_the_site(site: Starlette) -> AsyncIterator[None]:
    await inner.prepare()
    note("site begins")
    yield
    await inner.aclose()
    note("site ends")


mounted = Starlette(routes=[Mount("/inner", app=inner)], lifespan=of_the_site)

if __name__ == "__main__":
    run(server, settings=SETTINGS, backend=sys.argv[1])
