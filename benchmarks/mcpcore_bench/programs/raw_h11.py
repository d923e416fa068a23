"""Raw limit: an HTTP server on h11 and msgspec, on anyio streams, asyncio streams or a protocol.

``--io anyio|streams|protocol``, ``--backend asyncio|trio`` (anyio only), ``--cert`` for TLS
(protocol only).  h11 parses every request, each with an object of its own; responses are written by
hand.
"""

import asyncio
import sys
from typing import Any

import anyio
import h11
from anyio.abc import SocketAttribute, SocketStream

from mcpcore_bench.programs.offer import arguments, secured
from mcpcore_bench.programs.raw_codec import Codec
from mcpcore_bench.programs.raw_http import Answer, Site, by_hand, chunk, event, steps, together

_HEAD = 65536
"""Bytes of a head at most."""


class Exchange:
    """The HTTP of one connection: bytes in, requests out, responses to bytes."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD)
        self._request: h11.Request | None = None
        self._body: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Take bytes of the client."""
        self._http.receive_data(data)

    def next_answer(self) -> Answer | None:
        """Answer the next request, if it has arrived, and the last one has its response."""
        http = self._http
        while True:
            found = http.next_event()
            if type(found) is h11.Request:
                self._request, self._body = found, []
            elif type(found) is h11.Data:
                self._body.append(found.data)
            elif type(found) is h11.EndOfMessage:
                request = self._request
                assert request is not None
                return self._site.respond(
                    request.method, request.target, list(request.headers), b"".join(self._body)
                )
            else:
                return None

    def whole(self, answer: Answer) -> bytes:
        """Encode a response; where more events come, its head."""
        if answer.request is None:
            self._over()
        return by_hand(answer)

    def part(self, data: bytes) -> bytes:
        """Encode a part of the body."""
        return chunk(data)

    def end(self) -> bytes:
        """Encode the end, and be ready for the next request."""
        self._over()
        return b"0\r\n\r\n"

    def _over(self) -> None:
        # What was made to parse one request is cheaper to make again than to bring to its start.
        if self._http.their_state is h11.DONE:
            rest, _ = self._http.trailing_data
            self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD)
            if rest:
                self._http.receive_data(rest)


async def by_anyio(site: Site) -> None:
    """Serve on anyio streams."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")

    async def serve(stream: SocketStream) -> None:
        exchange = Exchange(site)
        async with stream:
            try:
                while True:
                    exchange.feed(await stream.receive())
                    while (answer := exchange.next_answer()) is not None:
                        if answer.late:
                            await anyio.sleep(answer.late)
                        await stream.send(exchange.whole(answer))
                        if answer.request is not None:
                            await tell(stream, exchange, answer)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return

    announce(listener.extra(SocketAttribute.local_port))  # noqa: S610 - anyio's
    await listener.serve(serve)


async def tell(stream: SocketStream, exchange: Exchange, answer: Answer) -> None:
    """Send the events that precede an answer, and the answer."""
    assert answer.request is not None
    if together(answer.request):
        await stream.send(exchange.part(b"".join(steps(answer.request))))
    else:
        for data in steps(answer.request):
            await stream.send(exchange.part(data))
    await stream.send(exchange.part(event(1, answer.body)) + exchange.end())


async def by_streams(site: Site) -> None:
    """Serve on asyncio streams."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = Exchange(site)
        try:
            while data := await reader.read(65536):
                exchange.feed(data)
                while (answer := exchange.next_answer()) is not None:
                    if answer.late:
                        await asyncio.sleep(answer.late)
                    writer.write(exchange.whole(answer))
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


class Protocol(asyncio.Protocol):
    """Serve by callbacks."""

    def __init__(self, site: Site) -> None:
        self._exchange = Exchange(site)
        self._transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        """It has begun."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer what has come."""
        exchange = self._exchange
        exchange.feed(data)
        while (answer := exchange.next_answer()) is not None:
            if answer.late:
                loop = asyncio.get_running_loop()
                loop.call_later(answer.late, self._send, answer)
            else:
                self._send(answer)

    def _send(self, answer: Answer) -> None:
        exchange, transport = self._exchange, self._transport
        transport.write(exchange.whole(answer))
        if answer.request is not None:
            if together(answer.request):
                transport.write(exchange.part(b"".join(steps(answer.request))))
            else:
                for data in steps(answer.request):
                    transport.write(exchange.part(data))
            transport.write(exchange.part(event(1, answer.body)) + exchange.end())


async def by_protocol(site: Site, cert: str) -> None:
    """Serve on a protocol; ``cert``: over TLS."""
    loop, tls = asyncio.get_running_loop(), secured(cert)
    server = await loop.create_server(lambda: Protocol(site), "127.0.0.1", 0, ssl=tls)
    announce(server.sockets[0].getsockname()[1], "https" if tls else "http")
    await server.serve_forever()


def announce(port: int, scheme: str = "http") -> None:
    """Say where we are."""
    print(f"listening on {scheme}://127.0.0.1:{port}/mcp", file=sys.stderr, flush=True)


def main() -> None:
    """Serve as the command line says."""
    chosen = arguments("io", "backend")
    site = Site(Codec(chosen.tools))
    if chosen.io == "streams":
        asyncio.run(by_streams(site))
    elif chosen.io == "protocol":
        asyncio.run(by_protocol(site, chosen.cert))
    else:
        anyio.run(by_anyio, site, backend=chosen.backend or "asyncio")


if __name__ == "__main__":
    main()
