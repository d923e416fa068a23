"""Sites of authorization over real sockets: raw ones, and a world of tests/auth behind one."""

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit
from urllib.request import ProxyHandler, build_opener

import anyio
import pytest
from anyio.abc import ByteStream

from mcpcore.auth.needs import Fetch, NeedFailed
from tests.auth.world import World
from tests.clock import patience
from tests.faults.cutting import LOST, listening

T = TypeVar("T")


@dataclass
class Asked:
    """A request as it came."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


Answer = Callable[[Asked, ByteStream], Awaitable[None]]


@dataclass
class Site:
    """A server on loopback that keeps what it was asked."""

    port: int
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    lost: int = 0
    """Connections that were over before their answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def site(answer: Answer, ssl_context: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    """Run a site that answers one request a connection, byte by byte as the test likes."""
    made = Site(0)

    async def serve(stream: ByteStream) -> None:
        made.connections += 1
        try:
            made.asked.append(await _received(stream))
            await answer(made.asked[-1], stream)
        except LOST:
            made.lost += 1
        finally:
            await anyio.aclose_forcefully(stream)

    async with listening(serve, ssl_context) as made.port:
        yield made


async def _received(stream: ByteStream) -> Asked:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, target, _ = first.split(" ")
    headers = [
        (name.lower(), value.strip()) for name, _, value in (x.partition(":") for x in lines)
    ]
    while len(body) < int(dict(headers).get("content-length", 0)):
        body += await stream.receive()
    return Asked(method, target, headers, body)


def reply(body: bytes = b"{}", status: int = 200, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} x", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answering(data: bytes) -> Answer:
    """An answer that is always the same."""

    async def answer(_: Asked, stream: ByteStream) -> None:
        await stream.send(data)

    return answer


async def together(count: int, work: Callable[[], Awaitable[T]]) -> list[T]:
    """Do so many times the same at once; return what each comes to."""
    found: list[T] = []

    async def one() -> None:
        found.append(await work())

    with patience():
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(one)
    return found


def names(monkeypatch: pytest.MonkeyPatch, table: dict[str, list[str]]) -> list[str]:
    """Let the system resolve names by a table; return the list of those that were looked up."""
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        flags = kwargs.get("flags", args[3] if len(args) > 3 else 0)
        if name not in table or flags & socket.AI_NUMERICHOST:
            return real(host, port, *args, **kwargs)
        looked_up.append(name)
        return [found for address in table[name] for found in real(address, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return looked_up


class Person:
    """Someone who consents in a browser of their own, which comes back to the redirect URI."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.changed: dict[str, str | None] = {}
        """Parameters of the callback that differ."""
        self.pages: list[bytes] = []

    def open(self, url: str) -> bool:
        asked = dict(parse_qsl(urlsplit(url).query))
        self.world.opened.append(url)
        query = self.world.consent(asked, **self.changed)
        browser = build_opener(ProxyHandler({}))
        with browser.open(f"{asked['redirect_uri']}?{query}", timeout=60) as page:
            self.pages.append(page.read())
        return True


@dataclass
class Authority:
    """A protected server and its authorization server, at one site."""

    world: World
    site: Site

    @property
    def server(self) -> str:
        return f"{self.site.url}/mcp"

    def count(self, path: str) -> int:
        return sum(urlsplit(each.target).path == path for each in self.site.asked)


@asynccontextmanager
async def authority(before: Answer | None = None) -> AsyncIterator[Authority]:
    """Run a world at a real site.  ``before``: is called before each answer, and may hang."""
    world = World()

    async def answer(asked: Asked, stream: ByteStream) -> None:
        if before is not None:
            await before(asked, stream)
        need = Fetch(
            method=asked.method,
            url=f"{running.url}{asked.target}",
            headers=dict(asked.headers),
            body=asked.body,
            timeout=1,
        )
        world.sent.append(need)
        found = world.fetch(need)
        assert not isinstance(found, NeedFailed)
        lines = [f"{name}: {value}" for name, value in found.headers]
        await stream.send(reply(found.body, found.status, *lines))

    async with site(answer) as running:
        base = running.url
        world.resource = {"resource": f"{base}/mcp", "authorization_servers": [base]}
        world.metadata |= {
            "issuer": base,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "registration_endpoint": f"{base}/register",
        }
        world.pages |= {
            f"{base}/.well-known/oauth-protected-resource/mcp": world.resource,
            f"{base}/.well-known/oauth-authorization-server": world.metadata,
        }
        yield Authority(world, running)
