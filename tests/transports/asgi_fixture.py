"""ASGI servers as processes, each with the application of :mod:`tests.transports.asgi_site`."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
from msgspec import Struct

from tests.clock import PATIENCE
from tests.ports import free_port
from tests.transports.http_fixture import Client

ROOT = Path(__file__).parents[2]


class Kind(Struct, frozen=True):
    """An ASGI server: how it is started, and what it says once it is up."""

    name: str
    command: tuple[str, ...]
    ready: str
    path: str = "/mcp"
    app: str = "tests.transports.asgi_site:app"
    excused: str = ""
    """A pattern: what it may complain of though nothing is wrong with the application."""


_CLOSED_MEANWHILE = (
    r"[^\n]*\[ERROR\] Error in ASGI Framework\nTraceback [^\n]*"
    r"(?:\n  [^\n]*)*protocol_send\n(?:  [^\n]*\n)*"
    r"trio\.BusyResourceError: another task is currently sending data on this SocketStream\n"
)
"""Hypercorn sends the end of its side without its lock once a client has gone."""
_PLAIN = ("--http", "h11", "--ws", "wsproto", "--loop", "asyncio")  # whatever else is installed
_UVICORN = ("uvicorn", "{app}", "--port", "{port}", *_PLAIN, "--no-access-log", "--lifespan")
_MOUNTED = "tests.transports.asgi_site:mounted"

KINDS = {
    kind.name: kind
    for kind in (
        Kind("uvicorn", (*_UVICORN, "off"), "Uvicorn running on"),
        Kind(
            "granian",
            ("granian", "--interface", "asginl", "--port", "{port}", "{app}"),
            "Started worker",
        ),
        Kind(
            "hypercorn on trio",
            ("hypercorn", "-k", "trio", "-b", "127.0.0.1:{port}", "{app}"),
            "Running on",
            excused=_CLOSED_MEANWHILE,
        ),
        Kind(
            "mounted in Starlette",
            (*_UVICORN, "on"),
            "Uvicorn running on",
            path="/inner/mcp",
            app=_MOUNTED,
        ),
    )
}


class Site:
    """A server, and the connections that a test has made to it."""

    def __init__(self, kind: Kind, port: int) -> None:
        self.kind = kind.name
        self.port = port
        self.path = kind.path
        self.url = f"http://127.0.0.1:{port}{kind.path}"
        self.status: int | None = None
        """How the process ended, once it has."""
        self._clients: list[SiteClient] = []

    async def connect(self) -> "SiteClient":
        """Open a connection, to be closed by :meth:`leave` at the latest."""
        client = SiteClient(await anyio.connect_tcp("127.0.0.1", self.port), self.path)
        self._clients.append(client)
        return client

    async def leave(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.aclose()
        self._clients.clear()


class SiteClient(Client):
    """Sends what is written for ``/mcp`` to where the application is."""

    def __init__(self, stream: Any, path: str) -> None:
        super().__init__(stream)
        self._path = path.encode()

    async def send(self, *parts: bytes) -> None:
        await super().send(*(part.replace(b" /mcp ", b" %b " % self._path, 1) for part in parts))

    async def head(self) -> Any:
        """The head of a response; names are in lower case, whatever the server writes."""
        response = await super().head()
        response.headers = {name.lower(): value for name, value in response.headers.items()}
        return response


def _await_listener(port: int) -> None:
    """Some say that they are up before they listen."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        else:
            return


@contextmanager
def running(kind: Kind, *options: str, quiet: bool = True, **environment: str) -> Iterator[Site]:
    """Run a server; check that it ends by a signal, and if it is to be quiet without complaints."""
    port = free_port()
    words = [word.format(port=port, app=kind.app) for word in kind.command]
    process = subprocess.Popen(
        [sys.executable, "-m", *words, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
    )
    assert process.stdout is not None
    said = ""
    try:
        while kind.ready not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        _await_listener(port)
        site = Site(kind, port)
        yield site
        process.terminate()
        said += process.communicate(timeout=PATIENCE)[0]
        site.status = process.returncode
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert process.returncode in (0, -15), said
    if quiet:
        said = re.sub(kind.excused, "", said)
        assert "Traceback" not in said, said
        assert "ERROR" not in said, said
