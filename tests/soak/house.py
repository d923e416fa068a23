"""The bindings of the soak: the processes that serve on them, and how clients live there."""

import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from msgspec import json, structs

from mcpcore.http.settings import HttpClientSettings
from mcpcore.service import Server
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.http1.settings import HttpClientLinkSettings
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.stream.settings import ConnectionSettings, SocketSettings
from mcpcore_transports.targets import MemoryTarget
from mcpcore_transports.tls import client_tls
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.bindings.places import HTTP_WAYS, WITHOUT_UVLOOP, House
from tests.bindings.stories import SETTINGS, hasty
from tests.soak.network import LIMITS, MANY, PATIENCE
from tests.soak.people import PEOPLE, shown
from tests.soak.rules import REDIS_STORES, STORES
from tests.soak.sampling import Sample
from tests.soak.tools import make_server
from tests.transports.certificates import papers
from tests.transports.redis_server import PROGRAM, redis_server

UVLOOP = "http-uvloop"
SSE = ("sse", "sse-anyio")
REDIS = "stored-redis"
STORED = {"stored": STORES, REDIS: REDIS_STORES}
"""Where two processes share a store, and what they are called: in SQLite, and in Redis."""
HTTP = ("http", "http-anyio", UVLOOP, "https", "asgi", *STORED, "tokens", *SSE)
"""The driver that is usual on the event loop, that on streams of anyio with h11, the extra
``speed``, TLS, an ASGI application, two processes that share a store, who shows a token, and
HTTP+SSE on both drivers."""
WEBSOCKET = ("ws", "wss", "ws-shared", "asgi-ws")
"""Plain, over TLS, and on one port with HTTP, of our own and of an ASGI server."""
NETWORK = ("tcp", "tls", "unix", *WEBSOCKET, *HTTP)
EVERYWHERE = (*NETWORK, "stdio", "memory")
WITHOUT_REDIS = ""
"""Why there is no store in Redis, if there is none."""
if PROGRAM is None:
    WITHOUT_REDIS = "redis-server is not installed"
elif find_spec("redis") is None:
    WITHOUT_REDIS = "redis (extra redis) is not installed"
SHARING = 2
"""Processes that share a store."""
SERVERS = "servers"
"""What the process is called that has most bindings."""


def absent(backend: str) -> dict[str, str]:
    """Which bindings are not there on an event loop, and why."""
    reasons = {UVLOOP: WITHOUT_UVLOOP, REDIS: WITHOUT_REDIS}
    if backend not in HTTP_WAYS[UVLOOP].backends:
        reasons[UVLOOP] = f"uvloop is a loop of asyncio, not of {backend}"
    return {name: f"{name} is not there: {why}" for name, why in reasons.items() if why}


class StoreHouse(House):
    """Has processes that share a store, besides what any house has."""

    def __init__(self, backend: str) -> None:
        super().__init__(backend)
        self._sharing: dict[str, list[subprocess.Popen[str]]] = {}
        """Those of each store."""
        self._stores: dict[str, str] = {}
        """The URL of each."""
        self._databases = ExitStack()

    def target(self, name: str) -> Any:
        """What a client connects to."""
        if name in STORED and name not in self._urls:
            self._open_store(name)
        return super().target(name)

    def close(self) -> None:
        with self._databases:
            super().close()

    def _open_store(self, name: str) -> None:
        if name == REDIS:
            self._stores[name] = self._databases.enter_context(redis_server()).url
        else:
            self._stores[name] = f"sqlite:{Path(self._room.name, 'store.db')}"
        port, sharing = "0", self._sharing.setdefault(name, [])
        for _ in range(SHARING):
            sharing.append(self._share(name, port))
            port = self._port(name)

    def _share(self, name: str, port: str) -> "subprocess.Popen[str]":
        """Start one more, where the others are."""
        tally = str(Path(self._room.name, f"{name}-tally"))
        program = str(Path(__file__).with_name("stored.py"))
        process = super()._start(program, name, port, self._stores[name], tally)
        self._meet(process)
        return process

    def _port(self, name: str) -> str:
        return self._urls[name].split(":")[2].partition("/")[0]

    def _hear(self, process: "subprocess.Popen[str]") -> Sample:
        """What a process answers that was asked what it holds."""
        return json.decode(self._line(process), type=Sample)


class Shambles(StoreHouse):
    """Servers on pipes, and processes that share a store, of which nobody minds that they are
    killed."""

    def kill(self, name: str, number: int) -> None:
        """Kill one of the processes that share a store."""
        process = self._sharing[name][number]
        process.kill()
        process.communicate()
        del self._processes[process]

    def raise_again(self, name: str, number: int) -> None:
        """Start another one in the place of one that was killed."""
        self._sharing[name][number] = self._share(name, self._port(name))

    def logged(self, name: str, number: int) -> list[str]:
        """What one of them has logged as an error."""
        process = self._sharing[name][number]
        _ask(process, "rest")
        return self._hear(process).errors


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

    def _open_store(self, name: str) -> None:
        super()._open_store(name)
        for number, process in enumerate(self._sharing[name], 1):
            self._answering[f"{STORED[name]} {number}"] = process

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
_PUMP = ConnectionSettings(drain=0.2, stall=PATIENCE)
assert SETTINGS.process is not None
PATIENT = ClientSettings(
    limits=structs.replace(LIMITS, request_timeout=PATIENCE, max_timeout=PATIENCE),
    http=_HTTP,
    http_link=structs.replace(_HTTP_LINK, connections=MANY, idle_time=1.0),
    process=structs.replace(SETTINGS.process, startup_timeout=PATIENCE, connection=_PUMP),
    socket=SocketSettings(handshake_time=PATIENCE, connection=_PUMP),
    websocket=WebSocketSettings(
        close_timeout=0.2, handshake_timeout=PATIENCE, ping_timeout=PATIENCE, connection=_PUMP
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
