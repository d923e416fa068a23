"""A server over Streamable HTTP: each message is a POST, answers come on its response.

The syntax of HTTP/1.1 is h11's; which headers go with a message is the kit's own reading
(:mod:`mcpcore_conformance.kit.headers`).  A connection serves one exchange after another.
"""

import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import anyio
import h11
from anyio.abc import ByteStream

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.bindings.http_pour import pour
from mcpcore_conformance.kit.bindings.http_response import Response
from mcpcore_conformance.kit.bindings.inbox import Inbox
from mcpcore_conformance.kit.bindings.staging import Staging
from mcpcore_conformance.kit.headers import for_message
from mcpcore_conformance.kit.heard import Done, Gone, Head, Headers, Heard, header
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.tokens import Tokens
from mcpcore_conformance.kit.unreachable import reason_of
from mcpcore_conformance.kit.verdicts import Broken
from mcpcore_conformance.kit.wire import Overrides, Poured, Refused, Wire

CHUNK = 65536
BROKEN = b"broken off"
"""How a response has ended that was not whole."""
MULTIPLE_CHOICES = 300


class HttpStage(Staging):
    """Reaches the endpoint at ``url``; ``tls`` for https.

    ``reuses``: whether a connection serves several exchanges.  A message for which an idle one is
    closed is sent again, so that whoever answers elsewhere than on the response has it twice.
    ``tokens``: those of the authorization server that the server was told of.
    """

    binding = Binding.HTTP

    def __init__(
        self,
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        other_headers: Mapping[str, str] | None = None,
        reuses: bool = True,
        tokens: Tokens | None = None,
    ) -> None:
        super().__init__()
        parts = urlsplit(url)
        self.url = self.target = url
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.authority = parts.netloc.rpartition("@")[2]
        self.path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.headers = dict(headers or {})
        self.other_headers = dict(other_headers or {})
        self.tokens = tokens
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self.reuses = reuses
        self._idle: list[tuple[ByteStream, h11.Connection]] = []

    async def __aexit__(self, *raised: Any) -> bool | None:
        """Close all connections."""
        with anyio.CancelScope(shield=True):
            for stream, _ in self._idle:
                await anyio.aclose_forcefully(stream)
        return await super().__aexit__(*raised)

    async def connect(
        self,
        revision: Revision,
        *,
        log: Log,
        headers: Headers | None = None,
        anonymous: bool = False,
        other: bool = False,
        **_options: Any,
    ) -> "HttpWire":
        """Return a wire on which no session has begun; nothing is sent yet.

        ``anonymous``: without the headers that the target was given, such as credentials;
        ``other``: with those of a second principal.
        """
        chosen = {} if anonymous else self.other_headers if other else self.headers
        own = [*chosen.items()]
        return HttpWire(self, revision, log, [*own, *(headers or [])])

    async def stream(self) -> ByteStream:
        """Open a connection of its own; raises Refused."""
        try:
            with anyio.fail_after(self.patience):
                if self._tls is None:
                    return await anyio.connect_tcp(self.host, self.port)
                return await anyio.connect_tcp(
                    self.host,
                    self.port,
                    tls=True,
                    ssl_context=self._tls,
                    tls_standard_compatible=False,
                )
        except (OSError, TimeoutError) as error:
            raise Refused(f"{self.host}:{self.port}: {reason_of(error)}") from error

    async def reachable(self, host: str) -> bool:
        """Whether the port can be reached at another address."""
        try:
            with anyio.fail_after(self.patience):
                stream = await anyio.connect_tcp(host, self.port)
        except (OSError, TimeoutError):
            return False
        await anyio.aclose_forcefully(stream)
        return True

    async def borrow(self) -> tuple[ByteStream, h11.Connection, bool]:
        """An idle connection, else a new one; and whether it was used before."""
        if self._idle:
            stream, connection = self._idle.pop()
            return stream, connection, True
        return await self.stream(), h11.Connection(h11.CLIENT), False

    def give_back(self, stream: ByteStream, connection: h11.Connection) -> None:
        """Keep a connection whose exchange is over."""
        connection.start_next_cycle()
        self._idle.append((stream, connection))


class _Exchange:
    """One request, and its response as it comes."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.scope = anyio.CancelScope()
        self.stream: ByteStream | None = None


class HttpWire(Wire):
    """A conversation over HTTP: the session's id and version are kept as a client has to."""

    binding = Binding.HTTP

    def __init__(self, stage: HttpStage, revision: Revision, log: Log, headers: Headers) -> None:
        self.number = log.number()
        self.url, self.authority, self.path = stage.url, stage.authority, stage.path
        self.session: str | None = None
        """The id that the server gave; sent with everything from then on.  May be set."""
        self._stage = stage
        self._revision = revision
        self._log = log
        self._headers = headers
        self._agreed = False
        self._inbox = Inbox(anyio.current_time)
        self._exchanges: dict[int, _Exchange] = {}
        self._count = 0
        self._opening = 0
        """The exchange of initialize."""

    # Sending

    async def say(self, payload: bytes, *, headers: Overrides | None = None) -> int:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        made: dict[str, str | None] = {**dict(self.headers_for(payload)), **(headers or {})}
        chosen = [(name, value) for name, value in made.items() if value is not None]
        opening = self._opens(payload)
        exchange = self._new()
        if opening:
            self._opening = exchange.number
        await self._fetch(exchange, "POST", None, chosen, payload)
        return exchange.number

    def headers_for(self, payload: bytes | None) -> Headers:
        """The headers that a message goes with; None: those of a request without a message."""
        if payload is None:
            return [*self._headers, *self._of_session()]
        made = {**dict(self._headers), **for_message(payload, self._revision, self._agreed)}
        if self.session is not None and not self._opens(payload):
            made["mcp-session-id"] = self.session
        return [*made.items()]

    def _opens(self, payload: bytes) -> bool:
        return self._revision.handshake and b'"initialize"' in payload

    async def listen(self, last_event_id: str | None = None) -> int:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        headers = [("accept", "text/event-stream"), *self._of_session()]
        if last_event_id is not None:
            headers.append(("last-event-id", last_event_id))
        return await self.fetch("GET", headers=headers)

    async def fetch(
        self,
        method: str,
        *,
        target: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> int:
        """Send one request exactly as given (Host and framing are added); returns its exchange."""
        exchange = self._new()
        await self._fetch(exchange, method, target, headers, body)
        return exchange.number

    async def _fetch(
        self,
        exchange: _Exchange,
        method: str,
        target: str | None,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
    ) -> None:
        given = {name.lower() for name, _ in headers}
        fields = [(name, value) for name, value in self._headers if name.lower() not in given]
        if "host" not in given:
            fields.insert(0, ("host", self._stage.authority))
        if body is not None and not given & {"content-length", "transfer-encoding"}:
            fields.append(("content-length", str(len(body))))
        lines = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in [*fields, *headers]
        ]
        request = h11.Request(method=method, target=target or self._stage.path, headers=lines)
        await self._start(exchange, request, body)

    async def raw(self, data: bytes, *, finish: bool = False) -> int:
        """Send bytes on a new TCP (or TLS) connection, as they are; the response is heard."""
        exchange = self._new()
        exchange.stream = stream = await self._connected()
        connection = h11.Connection(h11.CLIENT)
        # the reading side has to know that a request was made
        connection.send(h11.Request(method="POST", target="/", headers=[("host", "x")]))
        connection.send(h11.EndOfMessage())
        self._log.add(True, self.number, "bytes", data, exchange.number)
        await self._write(stream, data)
        if finish:
            await stream.send_eof()
        self._stage.tasks.start_soon(self._receive, exchange, stream, connection, False)
        return exchange.number

    async def visit(self, url: str) -> int:
        """GET what is at a URL, on any host, with nothing of the session; returns its exchange."""
        elsewhere = HttpStage(url)
        exchange = self._new()
        try:
            exchange.stream = stream = await elsewhere.stream()
        except Refused as error:
            raise Broken(f"{url}: {error.reason}") from error
        connection = h11.Connection(h11.CLIENT)
        headers = [("host", elsewhere.authority), ("accept", "application/json")]
        request = h11.Request(method="GET", target=elsewhere.path, headers=headers)
        data = (connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b"")
        self._log.add(True, self.number, "head", data, exchange.number)
        await self._write(stream, data)
        self._stage.tasks.start_soon(self._receive, exchange, stream, connection, False)
        return exchange.number

    async def more(self, exchange: int, data: bytes) -> None:
        """Send more bytes on the connection of a ``raw`` exchange."""
        stream = self._exchanges[exchange].stream
        assert stream is not None
        self._log.add(True, self.number, "bytes", data, exchange)
        await self._write(stream, data)

    async def pour(
        self,
        *pieces: bytes,
        within: float = 2.0,
        first: float = 2.0,
        methods: Sequence[str] = (),
        wait: bool = False,
    ) -> Poured:
        """Send bytes on a connection of their own and return all that came of them.

        Ends when the server closes, or with ``within`` seconds of silence, ``first`` of them as
        long as nothing has come, for a server that is busy elsewhere.  ``methods``: of the
        requests that are meant, by default POST; ``wait``: each piece but the first is sent when
        something has come.
        """
        number = self._new().number
        stream = await self._connected()
        try:
            for piece in pieces:
                self._log.add(True, self.number, "bytes", piece, number)
            found = await pour(
                stream, pieces, within=within, first=first, methods=methods, wait=wait
            )
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)
        for each in found.responses:
            head = "".join(f"{name}: {value}\n" for name, value in each.headers)
            shown = f"HTTP {each.status}\n{head}\n".encode() + each.body
            self._log.add(False, self.number, "head", shown, number)
        self._log.add(False, self.number, "end" if found.closed else "note", b"", number)
        return found

    async def reachable(self, host: str) -> bool:
        """Return True if the server's port can be reached at another address."""
        return await self._stage.reachable(host)

    async def _start(self, exchange: _Exchange, request: h11.Request, body: bytes | None) -> None:
        for _ in range(2):
            try:
                stream, connection, used = await self._stage.borrow()
            except Refused as error:
                self._inbox.put(Gone(error.reason))
                return
            head = connection.send(request)
            data = b"" if body is None else connection.send(h11.Data(data=body))
            end = connection.send(h11.EndOfMessage())
            payload = (head or b"") + (data or b"") + (end or b"")
            # first, as what it brings about may be heard before sending returns
            self._log.add(True, self.number, "head", payload, exchange.number)
            try:
                await self._write(stream, payload)
            except Broken:
                await anyio.aclose_forcefully(stream)
                if used:
                    # it was closed while it was idle
                    continue
                raise
            exchange.stream = stream
            again = (request, body) if used else None
            reusable = self._stage.reuses
            self._stage.tasks.start_soon(
                self._receive, exchange, stream, connection, reusable, again
            )
            return

    async def _connected(self) -> ByteStream:
        try:
            return await self._stage.stream()
        except Refused as error:
            raise Broken(f"no connection: {error.reason}") from error

    async def _write(self, stream: ByteStream, data: bytes) -> None:
        try:
            with self._stage.writing(data):
                await stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            # the response, if there is one, says why
            self._log.add(True, self.number, "note", b"the server does not read any more")

    def _new(self) -> _Exchange:
        self._count += 1
        exchange = self._exchanges[self._count] = _Exchange(self._count)
        return exchange

    def _of_session(self) -> list[tuple[str, str]]:
        made = [] if self.session is None else [("mcp-session-id", self.session)]
        if self._revision.version_header and self._agreed:
            made.append(("mcp-protocol-version", self._revision.name))
        return made

    # Receiving

    async def hear(self, within: float) -> Heard | None:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        return await self._inbox.get(within)

    async def _receive(
        self,
        exchange: _Exchange,
        stream: ByteStream,
        connection: h11.Connection,
        reusable: bool,
        again: tuple[h11.Request, bytes | None] | None = None,
    ) -> None:
        reader = Response(exchange.number, self._took_head, self._inbox.put)
        clean = False
        try:
            with exchange.scope:
                try:
                    clean = await self._read(reader, stream, connection)
                except (
                    anyio.BrokenResourceError,
                    anyio.ClosedResourceError,
                    anyio.EndOfStream,
                    OSError,
                    h11.RemoteProtocolError,
                ) as error:
                    self._log.add(False, self.number, "note", repr(error).encode(), exchange.number)
                if not clean and reader.head is None and again is not None:
                    # an idle connection that the server had closed: nothing of it was read
                    await anyio.aclose_forcefully(stream)
                    exchange.scope = anyio.CancelScope()
                    await self._start(exchange, *again)
                    return
                reusable = reusable and clean and connection.our_state is h11.DONE
                if reusable and connection.their_state is h11.DONE:
                    self._stage.give_back(stream, connection)
                    stream = _NO_STREAM
        finally:
            # also when the stage ends
            if stream is not _NO_STREAM:
                with anyio.CancelScope(shield=True):
                    await anyio.aclose_forcefully(stream)
        cut = exchange.scope.cancel_called
        self._inbox.put(Done(exchange.number, clean, bytes(reader.body), cut=cut))
        self._log.add(False, self.number, "end", b"" if clean else BROKEN, exchange.number)

    async def _read(self, reader: Response, stream: ByteStream, connection: h11.Connection) -> bool:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                try:
                    data = await stream.receive(CHUNK)
                except anyio.EndOfStream:
                    data = b""
                self._log.add(False, self.number, "bytes", data, reader.exchange)
                connection.receive_data(data)
            elif isinstance(event, h11.Response):
                reader.start(event)
            elif isinstance(event, h11.Data):
                reader.data(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                reader.end()
                return True
            elif isinstance(event, (h11.ConnectionClosed, h11.PAUSED)):
                return reader.head is not None

    def _took_head(self, head: Head) -> None:
        """Keep what a client keeps of a response: the session's id after initialize."""
        if head.exchange == self._opening and head.status < MULTIPLE_CHOICES:
            self.session = header(head.headers, "mcp-session-id")
            self._agreed = True
        self._inbox.put(head)

    # Leaving

    async def cut(self, exchange: int = 0) -> None:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        for number, each in self._exchanges.items():
            if exchange in (0, number):
                each.scope.cancel()
        await anyio.lowlevel.checkpoint()

    async def finish(self) -> None:
        """End the session with DELETE, if there is one."""
        if self.session is not None:
            await self.fetch("DELETE", headers=self._of_session())

    async def close(self) -> None:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        with self._stage.leaving():
            if self.session is not None:
                exchange = await self.fetch("DELETE", headers=self._of_session())
                while (heard := await self._inbox.get(1.0)) is not None:
                    if isinstance(heard, Gone) or heard == Done(exchange, at=heard.at):
                        break
        await self.cut()


_NO_STREAM: Any = object()
