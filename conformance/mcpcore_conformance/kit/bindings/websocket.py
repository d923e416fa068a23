"""A server over WebSocket: one message a text frame.

The handshake and what is read are wsproto's; what is sent can be any frame or any bytes.
"""

import os
import re
import ssl
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import anyio
import wsproto
from anyio.abc import ByteStream
from wsproto import events
from wsproto.connection import ConnectionType
from wsproto.utilities import RemoteProtocolError

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.bindings.inbox import Inbox, Rest
from mcpcore_conformance.kit.bindings.staging import Staging
from mcpcore_conformance.kit.heard import Event, Gone, Headers, Heard, Noise, Text
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.tokens import Tokens
from mcpcore_conformance.kit.unreachable import reason_of
from mcpcore_conformance.kit.verdicts import Broken
from mcpcore_conformance.kit.wire import Overrides, Refused, Wire

CHUNK = 65536
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
SUBPROTOCOL = "mcp"
_SHORT, _MEDIUM = 126, 65536
_SWITCHED = re.compile(rb"HTTP/1\.1 101\b")


class WebSocketStage(Staging):
    """Reaches ``ws://`` or ``wss://``; ``offers`` are the subprotocols of every connection.

    ``tokens``: those of the authorization server that the server was told of.
    """

    binding = Binding.WS

    def __init__(
        self,
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        offers: Sequence[str] = (SUBPROTOCOL,),
        tokens: Tokens | None = None,
    ) -> None:
        super().__init__()
        parts = urlsplit(url)
        self.target = url
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if parts.scheme == "wss" else 80)
        self._authority = parts.netloc.rpartition("@")[2]
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "wss" else None
        self.headers = dict(headers or {})
        self.tokens = tokens
        self._offers = offers

    async def connect(
        self,
        revision: Revision,
        *,
        log: Log,
        headers: Headers | None = None,
        anonymous: bool = False,
        offers: Sequence[str] | None = None,
        path: str | None = None,
        edit: Callable[[bytes], bytes] | None = None,
        **_options: Any,
    ) -> "WebSocketWire":
        """Open a connection; raises Refused with the status if it is not upgraded.

        Where the server has accepted, but not in the way of RFC 6455: with headers alone.
        ``edit`` changes the bytes of the opening before they are sent.  ``anonymous``: without the
        headers that the target was given, such as credentials.
        """
        own = {} if anonymous else self.headers
        request = events.Request(
            host=self._authority,
            target=self._path if path is None else path,
            subprotocols=list(self._offers if offers is None else offers),
            extra_headers=[
                (name.encode(), value.encode()) for name, value in [*own.items(), *(headers or [])]
            ],
        )
        try:
            with anyio.fail_after(self.patience):
                stream = await self._open()
                return await self._upgraded(stream, request, log, edit)
        except (OSError, TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            raise Refused(f"{self.target}: {reason_of(error)}") from error

    async def _open(self) -> ByteStream:
        if self._tls is None:
            return await anyio.connect_tcp(self._host, self._port)
        return await anyio.connect_tcp(
            self._host, self._port, tls=True, ssl_context=self._tls, tls_standard_compatible=False
        )

    async def _upgraded(
        self,
        stream: ByteStream,
        request: events.Request,
        log: Log,
        edit: Callable[[bytes], bytes] | None,
    ) -> "WebSocketWire":
        socket = wsproto.WSConnection(ConnectionType.CLIENT)
        number = log.number()
        opening = socket.send(request)
        if edit is not None:
            opening = edit(opening)
        log.add(True, number, "head", opening)
        accepted, head = False, b""
        try:
            await stream.send(opening)
            while True:
                data = await stream.receive(CHUNK)
                log.add(False, number, "bytes", data)
                head += data
                try:
                    socket.receive_data(data)
                except RemoteProtocolError as error:
                    raise _misdone(head, error) from error
                for event in socket.events():
                    if isinstance(event, events.AcceptConnection):
                        accepted = True
                        wire = WebSocketWire(self, stream, socket, log, number, event)
                        self.tasks.start_soon(wire.read)
                        return wire
                    if isinstance(event, events.RejectConnection):
                        raise Refused(
                            f"HTTP status {event.status_code}",
                            status=event.status_code,
                            headers=_plain(event.headers),
                        )
        finally:
            if not accepted:
                with anyio.CancelScope(shield=True):
                    await anyio.aclose_forcefully(stream)


class WebSocketWire(Wire):
    """One WebSocket; pings are answered, pongs are heard as events of that name."""

    binding = Binding.WS

    def __init__(
        self,
        stage: WebSocketStage,
        stream: ByteStream,
        socket: wsproto.WSConnection,
        log: Log,
        number: int,
        opened: events.AcceptConnection,
    ) -> None:
        self.url = stage.target
        self.accepted = _plain(opened.extra_headers)
        """Headers of the upgrade's response."""
        self.subprotocol = opened.subprotocol
        """The one that the server has chosen."""
        self._stage = stage
        self.number = number
        self._stream = stream
        self._socket = socket
        self._log = log
        self._inbox = Inbox(anyio.current_time)
        self._rest = Rest()
        self._scope = anyio.CancelScope()
        self._text: list[str] = []
        self._closing = False
        self._done = anyio.Event()
        self._writing = anyio.Lock()

    async def say(self, payload: bytes, *, headers: Overrides | None = None) -> int:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        self._log.add(True, self.number, "message", payload)
        await self._write(encoded(TEXT, payload))
        return 0

    async def frame(self, opcode: int, payload: bytes, *, fin: bool = True) -> None:
        """Send one frame as it is (RFC 6455 section 5.2), masked."""
        await self.raw(encoded(opcode, payload, fin=fin))

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._log.add(True, self.number, "bytes", data)
        await self._write(data)

    async def rest(self, seconds: float) -> None:
        """Read nothing from now on, until nothing was written for so many seconds."""
        self._rest.begin(seconds)

    async def hear(self, within: float) -> Heard | None:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        return await self._inbox.get(within)

    async def finish(self) -> None:
        """Send the closing frame, with 1000."""
        if not self._closing:
            self._closing = True
            await self.frame(CLOSE, struct.pack("!H", 1000))

    async def cut(self, exchange: int = 0) -> None:
        """Drop the connection without a closing frame."""
        self._log.add(True, self.number, "close", b"dropped")
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)

    async def close(self) -> None:
        """Close as RFC 6455 has it, and drop what is left."""
        with self._stage.leaving():
            if not self._done.is_set():
                await self.finish()
                await self._done.wait()
        await self.cut()

    async def _write(self, data: bytes) -> None:
        try:
            # what is said and what answers a frame are written by different tasks
            with self._stage.writing(data):
                async with self._writing:
                    await self._stream.send(data)
            self._rest.wrote()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            # the end, which will be heard, says why
            self._log.add(True, self.number, "note", b"the server does not read any more")

    async def _reply(self, opcode: int, payload: bytes) -> None:
        with suppress(Broken):
            await self._write(encoded(opcode, payload))

    async def read(self) -> None:
        """Read until the end; the stage runs it in a task."""
        gone: Gone | None = None
        with self._scope:
            try:
                gone = await self._frames(self._take())
                while gone is None:
                    await self._rest.over()
                    data = await self._stream.receive(CHUNK)
                    self._log.add(False, self.number, "bytes", data)
                    self._socket.receive_data(data)
                    gone = await self._frames(self._take())
            except RemoteProtocolError as error:
                self._inbox.put(Noise(f"no WebSocket frame: {error}"))
            except (
                anyio.EndOfStream,
                anyio.BrokenResourceError,
                anyio.ClosedResourceError,
                OSError,
            ):
                gone = Gone("the connection ended without a closing frame")
        self._inbox.put(gone or Gone("dropped"))
        self._done.set()

    def _take(self) -> list[events.Event]:
        return list(self._socket.events())

    async def _frames(self, found: list[events.Event]) -> Gone | None:
        for event in found:
            match event:
                case events.TextMessage():
                    self._text.append(str(event.data))
                    if event.message_finished:
                        payload, self._text = "".join(self._text).encode(), []
                        self._inbox.put(Text(payload))
                case events.BytesMessage():
                    self._inbox.put(Noise("a binary frame", bytes(event.data)))
                case events.Ping():
                    await self._reply(PONG, bytes(event.payload))
                case events.Pong():
                    self._inbox.put(Event(0, name="pong", data=bytes(event.payload)))
                case events.CloseConnection():
                    if not self._closing:
                        self._closing = True
                        await self._reply(CLOSE, struct.pack("!H", event.code))
                    reason = f"closed with {int(event.code)} {event.reason or ''}".strip()
                    return Gone(reason, code=int(event.code))
        return None


def encoded(opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True) -> bytes:
    """Write a frame (RFC 6455 section 5.2)."""
    first = opcode | (0x80 if fin else 0)
    bit = 0x80 if masked else 0
    if len(payload) < _SHORT:
        head = struct.pack("!BB", first, bit | len(payload))
    elif len(payload) < _MEDIUM:
        head = struct.pack("!BBH", first, bit | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, bit | 127, len(payload))
    if not masked:
        return head + payload
    key = os.urandom(4)
    mask = (key * (len(payload) // 4 + 1))[: len(payload)]
    whole = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return head + key + whole.to_bytes(len(payload), "big")


def _misdone(head: bytes, error: RemoteProtocolError) -> Refused:
    """What an answer to the opening is in which wsproto has found something wrong."""
    line, *fields = head.partition(b"\r\n\r\n")[0].split(b"\r\n")
    if not _SWITCHED.match(line):
        return Refused(f"not an upgrade: {error}")
    pairs = (each.partition(b":") for each in fields)
    headers = _plain((name, value.strip()) for name, _, value in pairs)
    return Refused(f"accepted with status 101, but: {error}", headers=headers)


def _plain(headers: Any) -> Headers:
    return [
        (bytes(name).decode("latin-1").lower(), bytes(value).decode("latin-1"))
        for name, value in headers
    ]
