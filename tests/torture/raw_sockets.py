"""An act of plain bytes on sockets, with TLS or without: another language, and one too many."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream

from mcpcore_transports.stream.plain import PlainStream
from mcpcore_transports.targets import UnixTarget
from tests.faults.cutting import LOST, dial
from tests.torture.acts import Act
from tests.torture.raw_http import CONNECTIONS, Refused, call_of
from tests.torture.stages import contexts
from tests.torture.story import Story

_ENDED = (*LOST, ssl.SSLError)
_TLS = ("https", "tls")
_TRIES = 50
_GET = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Door:
    """Where a server is."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self.silent = not isinstance(target, UnixTarget) and target.url.startswith("tls:")
        """Nothing is said to those who may not come in: only after TLS it could be."""
        http = not isinstance(target, UnixTarget) and target.url.startswith("http")
        self.request = _GET if http else call_of("echo", {"text": "last"}) + b"\n"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ByteStream]:
        """Connect."""
        stream: ByteStream
        if isinstance(self._target, UnixTarget):
            stream = PlainStream(dial(self._target))  # anyio's fails if given up when just ready
        else:
            parts = urlsplit(self._target.url)
            place = str(parts.hostname), parts.port or 0
            if parts.scheme in _TLS:
                context = contexts()[1]
                stream = await anyio.connect_tcp(
                    *place, ssl_context=context, tls_standard_compatible=False
                )
            else:
                stream = await anyio.connect_tcp(*place)
        async with stream:
            yield stream


async def _line(stream: ByteStream) -> bytes:
    """Read until the end of a line."""
    heard = b""
    while b"\n" not in heard:
        heard += await stream.receive()
    return heard


async def _hears(stream: ByteStream, *words: bytes) -> str:
    """Read until one of these is there, and that is ``right``."""
    heard = b""
    while not any(each in heard for each in words):
        try:
            heard += await stream.receive()
        except anyio.EndOfStream:
            raise Refused(heard) from None
    return "right"


@asynccontextmanager
async def _reach(story: Story, target: Any, era: str) -> AsyncIterator[Door]:
    yield Door(target)


async def _speaks_http(door: Door) -> str:
    async with door.open() as stream:
        await stream.send(_GET)
        return await _hears(stream, b"HTTP/1.1 400")


async def _is_one_too_many(door: Door) -> str:
    """Come when there is no room: that is said, but not to the next one."""
    async with AsyncExitStack() as others:
        for _ in range(CONNECTIONS):
            await others.enter_async_context(door.open())
        if door.silent:
            with suppress(*_ENDED):
                await others.enter_async_context(door.open())
            return "right"
        turned_away = await others.enter_async_context(door.open())
        await turned_away.send(door.request)  # so that it hears something in any case
        heard = await _line(turned_away)
        with suppress(*_ENDED):
            async with door.open() as stream:
                await stream.send(door.request)
                await stream.receive()
    if not any(each in heard for each in (b"too many connections", b"HTTP/1.1 503 ")):
        raise Refused(heard)
    return "right"


async def _as_soon_as_there_is_room(door: Door, ask: Callable[[Door], Awaitable[str]]) -> str:
    """Of who has left the server hears late: until then one less can be let in."""
    for _ in range(_TRIES):
        with suppress(Refused, *_ENDED):
            return await ask(door)
    return await ask(door)


async def _last(door: Door) -> str:
    return await _as_soon_as_there_is_room(door, _calls)


async def _last_request(door: Door) -> str:
    return await _as_soon_as_there_is_room(door, _requests)


async def _calls(door: Door) -> str:
    async with door.open() as stream:
        await stream.send(door.request)
        heard = await _line(stream)
    if b'"last"' not in heard:
        raise Refused(heard)
    return "right"


async def _requests(door: Door) -> str:
    async with door.open() as stream:
        await stream.send(door.request)
        return await _hears(stream, b"HTTP/1.1 404")


SOCKETS = Act(
    meet=_reach,
    calls={_speaks_http: "right", _is_one_too_many: "right"},
    last=(_last, "right"),
    ends=(*_ENDED, Refused),
    one_by_one=True,
)
"""Plain bytes on a socket."""
CROWD = Act(
    meet=_reach,
    calls={_is_one_too_many: "right"},
    last=(_last_request, "right"),
    ends=(*_ENDED, Refused),
    one_by_one=True,
)
"""More connections than there may be, of HTTP."""
