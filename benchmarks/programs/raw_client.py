"""Raw limit: a client on h11 and anyio that calls ``echo`` and types the result.

``python -m benchmarks.programs.raw_client WARM SECONDS URL`` prints a sample: CPU of this process.
"""

import sys
from urllib.parse import urlsplit

import anyio
import h11
import msgspec
from msgspec import Struct

from benchmarks.programs.measuring import TEXT, measured

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


async def main(warm: float, seconds: float, url: str) -> None:
    """Measure."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    headers = [
        ("host", f"{parts.hostname}:{parts.port}"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
    ]
    number = 0
    async with await anyio.connect_tcp(parts.hostname, parts.port) as stream:
        http = h11.Connection(h11.CLIENT)

        async def call() -> None:
            nonlocal number
            number += 1
            params = {"name": "echo", "arguments": {"text": TEXT}, "_meta": META}
            message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
            body = encode(message)
            head = h11.Request(
                method="POST",
                target=parts.path,
                headers=[*headers, ("content-length", str(len(body)))],
            )
            data = http.send(head) or b""
            data += http.send(h11.Data(data=body)) or b""
            await stream.send(data + (http.send(h11.EndOfMessage()) or b""))
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
            http.start_next_cycle()
            found = read(b"".join(answer))
            if found.id != number or found.result.content[0].text != TEXT:
                raise SystemExit(f"wrong reply: {found}")

        print(await measured(call, warm, seconds))


if __name__ == "__main__":
    anyio.run(main, float(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
