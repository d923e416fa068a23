"""The kit as an HTTP server: heads, bodies and event streams as a case wants them.

The syntax of HTTP/1.1 is h11's; with ``raw`` a case writes what it likes.
"""

from collections.abc import Sequence

import anyio
import h11
from anyio.abc import ByteStream

from mcpcore_conformance.kit.client_wire import Asked, Came, HostSettings, HostWire
from mcpcore_conformance.kit.heard import Done, Headers, Text
from mcpcore_conformance.kit.hosts.listener import LOOPBACK, ListeningHost, receive, write
from mcpcore_conformance.kit.model import Binding

BODY_LIMIT = 64 * 1024 * 1024
EVENT_STREAM = ("content-type", "text/event-stream")
JSON = ("content-type", "application/json")


class Exchange:
    """One request of a client, and the kit's response as far as it is."""

    def __init__(
        self, number: int, stream: ByteStream, connection: h11.Connection, patience: float
    ) -> None:
        self.number = number
        self.patience = patience
        """Seconds for a write."""
        self.stream = stream
        self.connection = connection
        self.over = anyio.Event()
        """Nothing more can be said in it."""
        self.begun = False
        self.events = False
        self.keep = True
        """The connection can serve another exchange."""
        self._writing = anyio.Lock()

    async def send(self, *events: h11.Event) -> bool:
        """Write parts of the response."""
        if self.over.is_set():
            return False
        try:
            data = b"".join(self.connection.send(event) or b"" for event in events)
        except h11.LocalProtocolError:
            self.keep = False
            return False
        self.begun = True
        return await self.write(data)

    async def write(self, data: bytes) -> bool:
        """Write bytes as they are."""
        async with self._writing:
            if await write(self.stream, data, self.patience):
                return True
        self.keep = False
        self.over.set()
        return False


class HttpWire:
    """All that a client does at one HTTP endpoint."""

    binding: Binding = Binding.HTTP

    def __init__(self, host: "HttpHost") -> None:
        self.number = host.log.number()
        self.host = host
        self.exchanges: dict[int, Exchange] = {}

    def open(self, exchange: int) -> bool:
        """Return True if the exchange can still be answered, or its response can go on."""
        found = self.exchanges.get(exchange)
        return found is not None and not found.over.is_set()

    def streaming(self, exchange: int) -> bool:
        """Return True if the response of the exchange is an event stream under way."""
        return self.open(exchange) and self.exchanges[exchange].events

    async def reply(
        self,
        exchange: int,
        status: int,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> bool:
        """Answer an exchange with a whole response; content-length is added."""
        if not self.open(exchange) or self.exchanges[exchange].begun:
            return False
        found = self.exchanges[exchange]
        fields = [*headers]
        if status not in (204, 304):
            fields.append(("content-length", str(len(body))))
        self._log(exchange, "head", _shown(status, fields) + body)
        parts: list[h11.Event] = [h11.Response(status_code=status, headers=fields)]
        if body:
            parts.append(h11.Data(data=body))
        sent = await found.send(*parts, h11.EndOfMessage())
        found.over.set()
        return sent

    async def stream(
        self, exchange: int, headers: Sequence[tuple[str, str]] = (), status: int = 200
    ) -> bool:
        """Send one event on a stream."""
        if not self.open(exchange) or self.exchanges[exchange].begun:
            return False
        given = {name.lower() for name, _ in headers}
        fields = [*headers] if "content-type" in given else [EVENT_STREAM, *headers]
        fields.append(("cache-control", "no-cache"))
        self._log(exchange, "head", _shown(status, fields))
        found = self.exchanges[exchange]
        found.events = True
        return await found.send(h11.Response(status_code=status, headers=fields))

    async def event(
        self,
        exchange: int,
        data: bytes | None = None,
        *,
        id: str | None = None,
        name: str | None = None,
        retry: int | None = None,
        comment: str | None = None,
    ) -> bool:
        """Send one event on a stream."""
        lines = []
        if comment is not None:
            lines.append(f":{comment}".encode())
        if name is not None:
            lines.append(f"event: {name}".encode())
        if id is not None:
            lines.append(f"id: {id}".encode())
        if retry is not None:
            lines.append(f"retry: {retry}".encode())
        if data is not None:
            lines += [b"data: " + line for line in data.split(b"\n")]
        return await self.write(exchange, b"\n".join(lines) + b"\n\n")

    async def write(self, exchange: int, data: bytes) -> bool:
        """Send bytes of the body of a response that has begun, as one chunk."""
        if not self.open(exchange):
            return False
        self._log(exchange, "bytes", data)
        return await self.exchanges[exchange].send(h11.Data(data=data))

    async def end(self, exchange: int) -> bool:
        """End a response that has begun in good order."""
        if not self.open(exchange):
            return False
        self._log(exchange, "end", b"")
        sent = await self.exchanges[exchange].send(h11.EndOfMessage())
        self.exchanges[exchange].over.set()
        return sent

    async def raw(self, exchange: int, data: bytes, *, close: bool = True) -> bool:
        """Send bytes in place of a response, as they are, and close the connection."""
        if not self.open(exchange):
            return False
        found = self.exchanges[exchange]
        found.begun, found.keep = True, False
        self._log(exchange, "bytes", data)
        sent = await found.write(data)
        if close:
            found.over.set()
        return sent

    async def say(self, payload: bytes, exchange: int = 0) -> bool:
        """See :class:`~mcpcore_conformance.kit.client_wire.HostWire`."""
        if self.streaming(exchange):
            return await self.event(exchange, payload)
        return await self.reply(exchange, 200, [JSON], payload)

    async def finish(self) -> None:
        """End every stream in good order."""
        for number in [*self.exchanges]:
            if self.streaming(number):
                await self.end(number)

    async def cut(self, exchange: int = 0) -> None:
        """See :class:`~mcpcore_conformance.kit.client_wire.HostWire`."""
        for number, found in self.exchanges.items():
            if exchange in (0, number) and not found.over.is_set():
                self._log(number, "close", b"")
                found.keep = False
                found.over.set()
                await anyio.aclose_forcefully(found.stream)

    def _log(self, exchange: int, kind: str, data: bytes) -> None:
        self.host.log.add(True, self.number, kind, data, exchange)


class HttpHost(ListeningHost):
    """An endpoint for Streamable HTTP at ``/mcp``; everything else that is asked is heard too."""

    binding: Binding = Binding.HTTP
    path = "/mcp"

    def __init__(self, settings: HostSettings | None = None) -> None:
        super().__init__(settings)
        self.wire: HttpWire | None = None
        self._count = 0

    @property
    def origin(self) -> str:
        """Scheme and authority."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def address(self) -> str:
        """The URL of the endpoint."""
        return f"{self.origin}{self.path}"

    async def serve(self, stream: ByteStream, connection: int) -> None:
        """Serve one exchange after another on one TCP connection."""
        parser = h11.Connection(h11.SERVER)
        while True:
            try:
                request, body = await read_request(parser, stream, self.settings.patience)
            except h11.RemoteProtocolError as error:
                self.log.add(False, 0, "note", f"not HTTP: {error}".encode())
                return
            if request is None:
                return
            exchange = Exchange(self._number(), stream, parser, self.settings.patience)
            await self.take(exchange, asked_of(request, exchange.number, connection), body)
            await self._respond(exchange)
            if not exchange.keep or parser.our_state is not h11.DONE:
                return
            if parser.their_state is not h11.DONE:
                return
            parser.start_next_cycle()

    async def take(self, exchange: Exchange, asked: Asked, body: bytes) -> None:
        """Pass on a request."""
        if self.wire is None:
            self.wire = HttpWire(self)
            self.put(self.wire, Came())
        self.deliver(self.wire, exchange, asked, body)

    def deliver(self, wire: HttpWire, exchange: Exchange, asked: Asked, body: bytes) -> None:
        """Pass on a request as one of a wire."""
        wire.exchanges[exchange.number] = exchange
        shown = f"{asked.method} {asked.target}\n".encode()
        shown += b"".join(f"{name}: {value}\n".encode() for name, value in asked.headers)
        self.log.add(False, wire.number, "head", shown + b"\n" + body, exchange.number)
        self.put(wire, asked)
        if body:
            self.put(wire, Text(body, exchange.number))

    def gone(self, exchange: Exchange) -> None:
        """Pass on that the client has dropped an exchange before its response was complete."""
        wire: HostWire | None = self.owner(exchange)
        if wire is not None:
            self.log.add(False, wire.number, "close", b"", exchange.number)
        self.put(wire, Done(exchange.number, clean=False))

    def owner(self, exchange: Exchange) -> HttpWire | None:
        """The wire that an exchange belongs to."""
        return self.wire

    def _number(self) -> int:
        self._count += 1
        return self._count

    async def _respond(self, exchange: Exchange) -> None:
        """Wait until the response is complete, or the client does not want it any more."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, exchange)
            await exchange.over.wait()
            tasks.cancel_scope.cancel()

    async def _watch(self, exchange: Exchange) -> None:
        while data := await receive(exchange.stream):
            exchange.connection.receive_data(data)
        exchange.keep = False
        if not exchange.over.is_set():
            self.gone(exchange)
            exchange.over.set()


async def read_request(
    parser: h11.Connection, stream: ByteStream, patience: float
) -> tuple[h11.Request | None, bytes]:
    """Read one request; None at the end of the connection.  ``patience``: seconds for a write."""
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            if parser.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                await write(stream, parser.send(go_on) or b"", patience)
            parser.receive_data(await receive(stream))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            if len(body) < BODY_LIMIT:
                body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return request, bytes(body)
        else:
            return None, b""


def asked_of(request: h11.Request, exchange: int, connection: int) -> Asked:
    """Read the head of a request."""
    headers: Headers = [
        (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.headers
    ]
    return Asked(
        exchange,
        request.method.decode("ascii"),
        request.target.decode("ascii", "replace"),
        headers,
        connection,
    )


def _shown(status: int, headers: Sequence[tuple[str, str]]) -> bytes:
    lines = [f"HTTP {status}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\n".join(lines).encode()
