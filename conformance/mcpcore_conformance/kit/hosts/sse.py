"""The kit as a server of HTTP+SSE (2024-11-05): a stream, and an address to post to."""

from itertools import count

from mcpcore_conformance.kit.client_wire import Asked, Came, HostSettings
from mcpcore_conformance.kit.heard import Gone
from mcpcore_conformance.kit.hosts.http import Exchange, HttpHost, HttpWire
from mcpcore_conformance.kit.model import Binding

_NOT_FOUND = 404


class SseWire(HttpWire):
    """One stream and what is posted to it; ``say`` sends a ``message`` event on the stream."""

    binding = Binding.SSE

    def __init__(self, host: "SseHost", stream: int) -> None:
        super().__init__(host)
        self.down = stream

    async def say(self, payload: bytes, exchange: int = 0) -> bool:
        """See :class:`~mcpcore_conformance.kit.client_wire.HostWire`."""
        return await self.event(self.down, payload, name="message")

    async def finish(self) -> None:
        """End the stream."""
        await self.end(self.down)


class SseHost(HttpHost):
    """A stream at ``/sse``; a POST to that address is refused, as an old server does it."""

    binding = Binding.SSE
    path = "/sse"

    def __init__(self, settings: HostSettings | None = None) -> None:
        super().__init__(settings)
        self.refused: list[Asked] = []
        """Requests that belong to no stream."""
        self._wires: dict[str, SseWire] = {}
        self._names = count(1)

    async def take(self, exchange: Exchange, asked: Asked, body: bytes) -> None:
        """Open a stream, take a message, or refuse."""
        path, _, query = asked.target.partition("?")
        if asked.method == "GET" and path == self.path:
            await self._begin(exchange, asked)
            return
        wire = self._wires.get(query)
        if asked.method == "POST" and wire is not None:
            self.deliver(wire, exchange, asked, body)
            await wire.reply(exchange.number, 202)
            return
        self.refused.append(asked)
        lost = HttpWire(self)
        lost.exchanges[exchange.number] = exchange
        here = path == self.path
        await lost.reply(exchange.number, self.settings.post_status if here else _NOT_FOUND)

    async def _begin(self, exchange: Exchange, asked: Asked) -> None:
        wire = SseWire(self, exchange.number)
        name = f"of={next(self._names)}"
        self._wires[name] = wire
        wire.exchanges[exchange.number] = exchange
        if self.settings.refuse:
            self.settings.refuse -= 1
            await wire.reply(exchange.number, 503)
            return
        self.put(wire, Came())
        self.deliver(wire, exchange, asked, b"")
        await wire.stream(exchange.number)
        if self.settings.endpoint is not None:
            endpoint = f"{self.settings.endpoint}?{name}".encode()
            await wire.event(exchange.number, endpoint, name="endpoint")

    def owner(self, exchange: Exchange) -> HttpWire | None:
        """See :class:`~mcpcore_conformance.kit.hosts.http.HttpHost`."""
        return next(
            (wire for wire in self._wires.values() if exchange.number in wire.exchanges), None
        )

    def gone(self, exchange: Exchange) -> None:
        """Pass on that a stream has been dropped."""
        super().gone(exchange)
        wire = self.owner(exchange)
        if isinstance(wire, SseWire) and wire.down == exchange.number:
            self.put(wire, Gone("the client has closed the stream"))
