"""Serving of the development authorization server over HTTP/1.1, on loopback only.

The syntax of HTTP is h11's.  One connection carries one request.  Requests whose Host is not on
loopback are refused, so that no web page reaches the server by a name of its own (DNS rebinding).
"""

import http.client
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

import anyio
import anyio.to_thread
import h11
from anyio.abc import ByteStream, SocketAttribute, TaskStatus
from anyio.streams.tls import TLSStream

from mcpcore.auth.urls import check_url, is_public, parse_url
from mcpcore.errors import UrlRefused
from mcpcore_conformance.auth.model import Refused, Request, Response
from mcpcore_conformance.auth.server import MAX_BODY, DevelopmentServer
from mcpcore_conformance.kit.hosts.door import Door
from mcpcore_transports.link import LOST
from mcpcore_transports.tls import client_certificate

_PATIENCE = 10.0
"""Seconds for a request, and for the client to take its response."""
_CONNECTIONS = 32
_DROPPED = 64
"""Reads of input after the response."""
_DOCUMENT = 16 * 1024
"""Bytes of a client id metadata document."""


def check_loopback(host: str) -> str:
    """Return an address of loopback.  Raises ValueError for any other host."""
    address = "127.0.0.1" if host == "localhost" else host
    if not ip_address(address).is_loopback:
        raise ValueError("the development authorization server listens on loopback only")
    return address


async def serve(
    build: Callable[[str], DevelopmentServer],
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    ssl_context: ssl.SSLContext | None = None,
    task_status: TaskStatus[DevelopmentServer] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled.

    ``build``: makes the server for an issuer, once the port is known.  ``ssl_context``: serves
    https; what certificates of clients it verifies, they are known by.  Raises ValueError for a
    host that is not on loopback.
    """
    listener = Door(
        await anyio.create_tcp_listener(local_host=check_loopback(host), local_port=port)
    )
    async with listener:
        bound = listener.extra(SocketAttribute.local_address)[1]  # noqa: S610 - no Django
        scheme = "http" if ssl_context is None else "https"
        server = build(f"{scheme}://{f'[{host}]' if ':' in host else host}:{bound}")
        task_status.started(server)
        limiter, lock = anyio.CapacityLimiter(_CONNECTIONS), anyio.Lock()

        async def answer(stream: ByteStream) -> None:
            async with limiter, stream:
                with anyio.move_on_after(_PATIENCE), suppress(ssl.SSLError):
                    if ssl_context is not None:
                        stream = await TLSStream.wrap(
                            stream, ssl_context=ssl_context, standard_compatible=False
                        )
                    await _exchange(server, stream, lock)

        await listener.serve(answer)


async def _exchange(server: DevelopmentServer, stream: ByteStream, lock: anyio.Lock) -> None:
    """Read a request and write the response."""
    connection, bodiless = h11.Connection(h11.SERVER), False
    try:
        try:
            request = await _read(connection, stream)
            bodiless = request.method == "HEAD"
            # In a thread, as a document may be fetched; one at a time, as its tables are shared.
            async with lock:
                response = await anyio.to_thread.run_sync(server.handle, request)
        except Refused as refused:
            response = refused.response()
        except h11.RemoteProtocolError as error:
            response = Refused("invalid_request", str(error), error.error_status_hint).response()
        await stream.send(_written(connection, response, bodiless=bodiless))
        if not isinstance(stream, TLSStream):  # which has no such end
            await stream.send_eof()
        for _ in range(_DROPPED):  # a connection that closes with unread input loses the response
            await stream.receive()
    except LOST:
        return  # the client has gone


async def _read(connection: h11.Connection, stream: ByteStream) -> Request:
    head: h11.Request | None = None
    body = bytearray()
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive())
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY:
                raise Refused("invalid_request", "the body is too large", 413)
    assert head is not None
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]
    path, _, query = head.target.decode("latin-1").partition("?")
    request = Request(
        method=head.method.decode("latin-1"),
        path=path,
        query=query,
        headers=headers,
        body=bytes(body),
        wall=time.time(),
        certificate=client_certificate(stream) if isinstance(stream, TLSStream) else None,
    )
    try:
        local = parse_url(f"http://{request.header('host')}", "the host").loopback
    except UrlRefused:
        local = False
    if not local:
        raise Refused("invalid_request", "the host is not on loopback", 403)
    return request


def _written(connection: h11.Connection, response: Response, *, bodiless: bool) -> bytes:
    length = ("content-length", str(len(response.body)))
    headers = [*response.headers, length, ("connection", "close")]
    events: list[h11.Event] = [h11.Response(status_code=response.status, headers=headers)]
    if response.body and not bodiless:
        events.append(h11.Data(data=response.body))
    events.append(h11.EndOfMessage())
    return b"".join(connection.send(event) or b"" for event in events)


def fetch_document(url: str) -> bytes | None:
    """Return the client id metadata document at a URL, None if it cannot be fetched.

    The address that is connected to is the one that was checked.  Redirects are not followed.
    """
    place = check_url(url, "the client id metadata document")
    until = time.monotonic() + _PATIENCE
    body = b""
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        addresses = [str(each[4][0]) for each in found]
        if not addresses or not all(map(is_public, addresses)):
            return None
        trust = ssl.create_default_context()
        with (
            socket.create_connection((addresses[0], place.port), _PATIENCE / 2) as plain,
            trust.wrap_socket(plain, server_hostname=place.host) as secure,
        ):
            connection = http.client.HTTPSConnection(place.host, place.port)
            connection.sock = secure
            headers = {"Accept": "application/json"}
            connection.request("GET", place.path + place.query, headers=headers)
            response = connection.getresponse()
            while len(body) <= _DOCUMENT and time.monotonic() < until:
                piece = response.read1(_DOCUMENT)
                if not piece:
                    return body if response.status == 200 else None
                body += piece
    except (OSError, http.client.HTTPException):
        pass
    return None
