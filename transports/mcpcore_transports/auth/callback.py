"""The place of the callback: a listener on loopback that one browser comes back to.

It takes one GET of one path with the right state, and answers everything else without a word of
what was sent.  Sources: RFC 8252 sections 7.3 and 8.3 (loopback redirection), RFC 9110 section 7.2
(Host), Content Security Policy Level 3, Fetch Metadata Request Headers.
"""

import hmac
import logging
import socket
from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
from anyio.abc import ByteStream

from mcpcore.auth.urls import Url, parse_url
from mcpcore.errors import AuthorizationError, LinkError, UrlRefused
from mcpcore_transports.auth.stores import TICK
from mcpcore_transports.http1.body import BadHead
from mcpcore_transports.http1.format import format_response
from mcpcore_transports.http1.heads import find_head, read_by_h11
from mcpcore_transports.http1.settings import HeadLimits
from mcpcore_transports.link import LOST
from mcpcore_transports.stream.plain import NOT_HERE, accept_each, close_listener, listen_tcp

logger = logging.getLogger("mcpcore.auth")

_PLACES = {"127.0.0.1": ("127.0.0.1",), "::1": ("::1",), "localhost": ("127.0.0.1", "::1")}
"""Addresses to listen on by the host of the redirect URI."""
_LIMITS = HeadLimits(first_line=8 * 1024, size=64 * 1024, count=100)
"""Limits of a request: browsers send the cookies of all programs on this machine, of any port."""
_TIME = 5.0
"""Seconds for a request and its reply."""
_CONNECTIONS = 16
"""Connections at a time; more are closed."""
_WRONG = 10
"""Pages that are opened here with a wrong state, after which no further one is waited for."""
_PORTS = 5
"""Ports that are tried until one is free on both addresses."""
_held = set[int]()
"""Ports that redirect URIs name, and sign-ins of this process have."""
PAGE = "<!doctype html><html lang=en><meta charset=utf-8><title>{0}</title><p>{0}</p></html>"
_DONE = "You can close this window and go back to the program that sent you here."
_REFUSED = "This is not the answer that is waited for."
PAGE_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
"""Headers of a page of a sign-in."""


class CallbackListener:
    """Listener for one callback; :func:`listen` makes it.  Close it in the end."""

    def __init__(
        self, url: str, listeners: Sequence[socket.socket], held: Collection[int] = ()
    ) -> None:
        self.url = url
        """Redirect URI, with the port."""
        self._port = held
        self._parts = parse_url(url, "the redirect URI")
        self._listeners = listeners
        self._serving = 0
        self._wrong = 0
        self._query: str | None = None
        self._over = anyio.Event()

    async def wait(self, state: str) -> str:
        """Return the query of the callback with this state.

        Raises AuthorizationError after ten with another one.
        """
        async with anyio.create_task_group() as tasks:
            for listener in self._listeners:
                tasks.start_soon(self._accept, listener, state)
            await self._over.wait()
            tasks.cancel_scope.cancel()
        if self._query is None:
            raise AuthorizationError(f"{_WRONG} callbacks with a wrong state came")
        return self._query

    async def aclose(self) -> None:
        """Close the port."""
        for listener in self._listeners:
            close_listener(listener)
        _held.difference_update(self._port)
        self._port = ()  # closed twice, it is not that of another one

    async def _accept(self, listener: socket.socket, state: str) -> None:
        async with anyio.create_task_group() as tasks:

            async def let_in(stream: ByteStream, address: object) -> None:
                if self._serving >= _CONNECTIONS:
                    await anyio.aclose_forcefully(stream)
                else:
                    self._serving += 1
                    tasks.start_soon(self._serve, stream, state)

            await accept_each(listener, let_in, logger)

    async def _serve(self, stream: ByteStream, state: str) -> None:
        """Answer one request, within its time."""
        last = False
        try:
            with anyio.move_on_after(_TIME):
                status, query = self._judge(await _head(stream), state)
                if query is not None:
                    self._query, last = query, True
                    await self.aclose()  # nobody else is heard any more
                await _reply(stream, status)
                last = last or self._wrong >= _WRONG
        except LOST:
            pass
        finally:
            self._serving -= 1
            await anyio.aclose_forcefully(stream)
            if last or self._wrong >= _WRONG:
                self._over.set()

    def _judge(self, head: bytes | None, state: str) -> tuple[HTTPStatus, str | None]:
        """Return the status for a request, and its query if it is the callback."""
        if head is None:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, None
        try:
            request = read_by_h11(head)
        except BadHead:
            return HTTPStatus.BAD_REQUEST, None
        hosts = [
            value.decode("latin-1").lower() for name, value in request.headers if name == b"host"
        ]
        if hosts != [_authority(self._parts)]:  # a name that was made to point here
            return HTTPStatus.MISDIRECTED_REQUEST, None
        path, _, query = request.target.decode("latin-1").partition("?")
        if path != (self._parts.path or "/") or self._query is not None:
            return HTTPStatus.NOT_FOUND, None
        if request.method != b"GET":
            return HTTPStatus.METHOD_NOT_ALLOWED, None
        if not has_state(query, state):
            # Any web page may ask for images here, as often as it likes.
            wanted = [value for name, value in request.headers if name == b"sec-fetch-dest"]
            self._wrong += wanted in ([], [b"document"])
            return HTTPStatus.BAD_REQUEST, None
        return HTTPStatus.OK, query


async def listen(redirect_uri: str, *, patient: bool = False) -> CallbackListener:
    """Listen for the callback at a redirect URI on loopback, on a free port if it names none.

    ``patient``: wait until no other sign-in of this process has the port.  Raises
    AuthorizationError, also if another process has it.
    """
    url = parse_url(redirect_uri, "the redirect URI")
    places = _PLACES.get(url.host)
    if places is None or url.scheme != "http":
        raise UrlRefused("the redirect URI", "it is not http on loopback")
    port = urlsplit(redirect_uri).port or 0
    while patient and port in _held:  # noqa: ASYNC110 - perhaps by one of another thread
        await anyio.sleep(TICK)
    held = {port} - {0} - _held
    _held.update(held)
    try:
        for attempt in range(_PORTS):
            try:
                listeners, bound = await _bind(places, port)
            except LinkError as error:
                if port or attempt == _PORTS - 1:
                    raise AuthorizationError(f"no callback can be received: {error}") from None
                continue
            break
    except BaseException:
        _held.difference_update(held)
        raise
    host = f"[{url.host}]" if ":" in url.host else url.host
    return CallbackListener(f"http://{host}:{bound}{url.path}{url.query}", listeners, held)


async def _bind(places: Sequence[str], port: int) -> tuple[list[socket.socket], int]:
    """Bind the same port on every address that this machine has."""
    listeners: list[socket.socket] = []
    problem: LinkError | None = None
    try:
        for place in places:
            try:
                (bound,) = await listen_tcp(place, port, anywhere=False)
            except LinkError as error:
                if not _absent(error):
                    raise
                problem = error
                continue
            port = port or bound.getsockname()[1]
            listeners.append(bound)
        if not listeners and problem is not None:
            raise problem
    except BaseException:
        for listener in listeners:
            close_listener(listener)
        raise
    return listeners, port


def has_state(query: str, state: str) -> bool:
    """Return True if a query holds the state once."""
    try:
        pairs: list[tuple[str, Any]] = parse_qsl(query, keep_blank_values=True, max_num_fields=32)
    except ValueError:
        return False
    found = [value for name, value in pairs if name == "state"]
    return len(found) == 1 and hmac.compare_digest(found[0].encode(), state.encode())


def _absent(error: LinkError) -> bool:
    """Return True if the machine lacks an address: most often that of IPv6."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in NOT_HERE


def _authority(url: Url) -> str:
    return url.origin.partition("://")[2]


async def _head(stream: ByteStream) -> bytes | None:
    """Receive the head of a request; None if it is too large, or none."""
    buffer = bytearray()
    try:
        while not (size := find_head(buffer, _LIMITS)):
            buffer += await stream.receive(8 * 1024)
    except BadHead:
        return None
    return bytes(buffer[:size])


async def _reply(stream: ByteStream, status: HTTPStatus) -> None:
    body = PAGE.format(_DONE if status == HTTPStatus.OK else _REFUSED).encode()
    end = (b"connection", b"close"), (b"content-length", b"%d" % len(body))
    headers = [*PAGE_HEADERS, *end]
    await stream.send(format_response(status, headers) + body)
    await stream.send_eof()
