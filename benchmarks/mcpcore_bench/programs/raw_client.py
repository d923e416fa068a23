"""Raw limit: a client on h11 and anyio that calls ``echo`` and types the result.

h11 parses the responses; requests are written by hand.

``python -m mcpcore_bench.programs.raw_client [--width N] WARM SECONDS URL`` prints a sample: CPU of
this process, with N calls in flight, each on a connection that no other uses meanwhile.
"""

import sys
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import anyio
import h11
import msgspec
from anyio.abc import SocketStream
from msgspec import Struct

from mcpcore_bench.programs.measuring import TEXT, measured, widened

MODERN = "2026-07-28"


class Text(Struct):
    """A block."""

    type: str
    text: str


class Result(Struct):
    """Of a call."""

    content: list[Text]


class Response(Struct):
    """A response."""

    jsonrpc: str
    id: int
    result: Result


read = msgspec.json.Decoder(Response).decode
encode = msgspec.json.Encoder().encode
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
}


async def main(width: int, warm: float, seconds: float, url: str) -> None:
    """Measure."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    head = (
        f"POST {parts.path} HTTP/1.1\r\nhost: {parts.hostname}:{parts.port}\r\n"
        "content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
        f"mcp-protocol-version: {MODERN}\r\nmcp-method: tools/call\r\nmcp-name: echo\r\n"
    ).encode()
    number = 0
    unused: list[SocketStream] = []
    async with AsyncExitStack() as stack:
        for _ in range(width):
            stream = await anyio.connect_tcp(parts.hostname, parts.port)
            unused.append(await stack.enter_async_context(stream))

        async def call() -> None:
            nonlocal number
            number += 1
            mine = number
            params = {"name": "echo", "arguments": {"text": TEXT}, "_meta": META}
            message = {"jsonrpc": "2.0", "id": mine, "method": "tools/call", "params": params}
            body = encode(message)
            stream = unused.pop()
            await stream.send(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
            # One of its own for each response is cheaper than to bring one to its start again.
            http = h11.Connection(h11.CLIENT)
            answer = []
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(await stream.receive())
                elif isinstance(event, h11.Response):
                    if event.status_code != 200:
                        raise SystemExit(f"status {event.status_code}")
                elif isinstance(event, h11.Data):
                    answer.append(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    break
            unused.append(stream)
            found = read(b"".join(answer))
            if found.id != mine or found.result.content[0].text != TEXT:
                raise SystemExit(f"wrong reply: {found}")

        print(await measured(call, warm, seconds, width))


if __name__ == "__main__":
    flying, (warmth, time, given) = widened(sys.argv[1:])
    anyio.run(main, flying, float(warmth), float(time), given)
