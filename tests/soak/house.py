"""The bindings of the soak: the processes that serve on them, and how clients live there."""

import subprocess
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from msgspec import json, structs

from mcpcore.http.settings import HttpClientSettings
from mcpcore.service import Server
from tests.bindings.places import HTTP_WAYS, WITHOUT_UVLOOP, House
from tests.bindings.stories import SETTINGS, hasty
from tests.soak.network import LIMITS, MANY, PATIENCE
from tests.soak.people import PEOPLE, shown
from tests.soak.rules import STORES
from tests.soak.sampling import Sample
from tests.soak.tools import make_server
from tests.transports.certificates import papers
from transports.client_open import ClientSettings
from transports.http_settings import HttpClientLinkSettings
from transports.pump import PumpSettings
from transports.runtime import RuntimeSettings
from transports.socket_settings import SocketSettings
from transports.targets import MemoryTarget
from transports.tls import client_tls
from transports.websocket_settings import WebSocketSettings

UVLOOP = "http-uvloop"
SSE = ("sse", "sse-anyio")
HTTP = ("http", "http-anyio", UVLOOP, "https", "asgi", "stored", "tokens", *SSE)
"""The driver that is usual on the event loop, that on streams of anyio with h11, the extra
``speed``, TLS, an ASGI application, two processes that share a store, who shows a token, and
HTTP+SSE on both drivers."""
WEBSOCKET = ("ws", "wss", "ws-shared")
"""Plain, over TLS, and on one port with HTTP."""
NETWORK = ("tcp", "tls", "unix", *WEBSOCKET, *HTTP)
EVERYWHERE = (*NETWORK, "stdio", "memory")
SHARING = 2
"""Processes that share a store."""
SERVERS = "servers"
"""What the process is called that has most bindings."""


def absent(backend: str) -> dict[str, str]:
    """Which bindings are not there on an event loop, and why."""
    if backend not in HTTP_WAYS[UVLOOP].backends:
        return {UVLOOP: f"{UVLOOP} is not there: uvloop is a loop of asyncio, not of {backend}"}
    return {UVLOOP: f"{UVLOOP} is not there: {WITHOUT_UVLOOP}"} if WITHOUT_UVLOOP else {}


class StoreHouse(House):
    """Has processes that share a store, besides what any house has."""

    def __init__(self, backend: str) -> None:
        super().__init__(backend)
        self._sharing: list[subprocess.Popen[str]] = []

    def target(self, name: str) -> Any:
        """What a client connects to."""
        if name == "stored" and name not in self._urls:
            self._open_store()
        return super().target(name)

    def _open_store(self) -> None:
        port = "0"
        for _ in range(SHARING):
            self._sharing.append(self._share(port))
            port = self._port()

    def _share(self, port: str) -> "subprocess.Popen[str]":
        """Start one more, where the others are."""
        database = str(Path(self._room.name, "store.db"))
        process = super()._start(str(Path(__file__).with_name("stored.py")), port, database)
        self._meet(process)
        return process

    def _port(self) -> str:
        return self._urls["stored"].split(":")[2].partition("/")[0]

    def _hear(self, process: "subprocess.Popen[str]") -> Sample:
        """What a process answers that was asked what it holds."""
        return json.decode(self._line(process), type=Sample)


class Shambles(StoreHouse):
    """Servers on pipes, and processes that share a store, of which nobody minds that they are
    killed."""

    def kill(self, number: int) -> None:
        """Kill one of the processes that share a store."""
        process = self._sharing[number]
        process.kill()
        process.communicate()
        self._processes.remove(process)

    def raise_again(self, number: int) -> None:
        """Start another one in the place of one that was killed."""
        self._sharing[number] = self._share(self._port())

    def logged(self, number: int) -> list[str]:
        """What one of them has logged as an error."""
        _ask(self._sharing[number], "rest")
        return self._hear(self._sharing[number]).errors


class SoakHouse(StoreHouse):
    """The processes of the servers; what is in memory is made once."""

    def __init__(self, backend: str) -> None:
        super().__init__(backend)
        self.shambles = Shambles(backend)
        self._inside: Server = make_server()
        self._turn = count()
        self._answering: dict[str, subprocess.Popen[str]] = {}
        """The processes of the network, by name; each tells what it holds."""
        self.absent = absent(backend)
        """Which bindings are not there, and why."""

    def there(self, bindings: Sequence[str] = EVERYWHERE) -> tuple[str, ...]:
        """Those of some bindings that are there."""
        return tuple(name for name in bindings if name not in self.absent)

    def target(self, name: str) -> Any:
        """What a client connects to; each time somebody else comes to where tokens are shown."""
        if name == "memory":
            return MemoryTarget(self._inside, RuntimeSettings(limits=LIMITS))
        if name in NETWORK and not self._urls:
            super().target("http")  # its process says where most are
        target = super().target(name)
        if name == "tokens":
            target = structs.replace(target, headers=shown(PEOPLE[next(self._turn) % len(PEOPLE)]))
        return target

    def _open_store(self) -> None:
        super()._open_store()
        for number, process in enumerate(self._sharing, 1):
            self._answering[f"{STORES} {number}"] = process

    def _start(self, program: str, *words: str) -> Any:
        if program == "network.py":
            words = (*words, str(papers().server))
        process = super()._start(str(Path(__file__).with_name(program)), *words)
        if called := _CALLED.get(program):
            self._answering[called] = process
        return process

    def close(self) -> None:
        self.shambles.close()
        super().close()

    def ask(self, *, kept: bool) -> dict[str, Sample]:
        """Ask the processes of the network what each holds, and ``kept``: what its tables have."""
        for process in self._answering.values():
            _ask(process, "kept" if kept else "rest")
        return {name: self._hear(each) for name, each in self._answering.items()}


def _ask(process: "subprocess.Popen[str]", what: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{what}\n")
    process.stdin.flush()


_CALLED = {"network.py": SERVERS, "network_ways.py": "server on uvloop"}
"""The processes of which there is one, by their programs."""
_TRUSTING = client_tls(ca=papers().trusted.file)
_HTTP = HttpClientSettings(
    endpoint_timeout=PATIENCE, notify_timeout=PATIENCE, stream_timeout=PATIENCE
)
_HTTP_LINK = HttpClientLinkSettings(
    connect_time=PATIENCE,
    write_time=PATIENCE,
    body_time=PATIENCE,
    close_time=0.3,
    idle_time=10.0,  # less than any server
)
_PUMP = PumpSettings(drain=0.2, stall=PATIENCE)
assert SETTINGS.process is not None
PATIENT = ClientSettings(
    limits=structs.replace(LIMITS, request_timeout=PATIENCE, max_timeout=PATIENCE),
    http=_HTTP,
    http_link=structs.replace(_HTTP_LINK, connections=MANY, idle_time=1.0),
    process=structs.replace(SETTINGS.process, startup_timeout=PATIENCE, pump=_PUMP),
    socket=SocketSettings(handshake_time=PATIENCE, pump=_PUMP),
    websocket=WebSocketSettings(
        close_timeout=0.2, handshake_timeout=PATIENCE, ping_timeout=PATIENCE, pump=_PUMP
    ),
    ssl_context=_TRUSTING,
)
"""Nobody is hurried: how fast the machine is, is not what is looked at."""
STEADY = structs.replace(
    PATIENT,
    limits=structs.replace(SETTINGS.limits, request_timeout=PATIENCE, max_timeout=PATIENCE),
    reconnect=SETTINGS.reconnect,
    http=structs.replace(_HTTP, max_resumes=0, linger=0.3),
    http_link=_HTTP_LINK,
)
"""... nor does it come back where a connection is lost."""


def impatient(seconds: float) -> ClientSettings:
    """A client that waits no longer than this for anything."""
    return structs.replace(hasty(seconds), ssl_context=_TRUSTING)
