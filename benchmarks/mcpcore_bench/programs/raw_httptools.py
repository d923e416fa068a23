"""Raw limit: an HTTP server on httptools and msgspec, an asyncio protocol, heads written by hand.

``--loop asyncio|uvloop``; ``--checks no`` looks at no header; ``--cert``: TLS.
"""

import asyncio
from typing import Any

import httptools

from mcpcore_bench.programs.offer import arguments, secured
from mcpcore_bench.programs.raw_codec import Codec, Headers
from mcpcore_bench.programs.raw_h11 import announce
from mcpcore_bench.programs.raw_http import Answer, Site, by_hand, chunk, event, steps, together


class Protocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._target = b""

    def connection_made(self, transport: Any) -> None:
        """It has begun."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._headers, self._body, self._target = [], [], b""

    def on_url(self, part: bytes) -> None:
        """A part of the target."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._headers.append((name.lower(), value))

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        self._body.append(part)

    def on_message_complete(self) -> None:
        """Answer a request."""
        answer = self._site.respond(
            self._parser.get_method(), self._target, self._headers, b"".join(self._body)
        )
        if answer.late:
            asyncio.get_running_loop().call_later(answer.late, self._send, answer)
        else:
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        transport = self._transport
        transport.write(by_hand(answer))
        if answer.request is not None:
            if together(answer.request):
                transport.write(chunk(b"".join(steps(answer.request))))
            else:
                for data in steps(answer.request):
                    transport.write(chunk(data))
            transport.write(chunk(event(1, answer.body)) + b"0\r\n\r\n")


async def serve(site: Site, cert: str) -> None:
    """Serve for ever; ``cert``: over TLS."""
    loop, tls = asyncio.get_running_loop(), secured(cert)
    server = await loop.create_server(lambda: Protocol(site), "127.0.0.1", 0, ssl=tls)
    announce(server.sockets[0].getsockname()[1], "https" if tls else "http")
    await server.serve_forever()


def main() -> None:
    """Serve as the command line says."""
    chosen = arguments("loop", "checks")
    site = Site(Codec(chosen.tools), checked=chosen.checks != "no")
    if chosen.loop == "uvloop":
        import uvloop

        uvloop.run(serve(site, chosen.cert))
    else:
        asyncio.run(serve(site, chosen.cert))


if __name__ == "__main__":
    main()
