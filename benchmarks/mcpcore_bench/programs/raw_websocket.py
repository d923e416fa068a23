"""Raw limits: WebSocket servers with the raw codec: on wsproto, or on the ``websockets`` library.

``--io anyio|streams`` (wsproto on anyio or asyncio streams) or ``--io websockets``; ``--cert`` for
TLS, not on anyio.
"""

import asyncio
import sys
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request, TextMessage

from mcpcore_bench.programs.offer import arguments, secured
from mcpcore_bench.programs.raw_codec import Codec
from mcpcore_bench.programs.raw_stdio import answer


class Conversation:
    """The WebSocket of one connection: bytes in, bytes out."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._ws = WSConnection(ConnectionType.SERVER)
        self._parts: list[str] = []
        self.over = False

    def feed(self, data: bytes) -> bytes:
        """Take what came; return what answers it."""
        ws, out = self._ws, []
        ws.receive_data(data)
        for event in ws.events():
            if isinstance(event, TextMessage):
                self._parts.append(event.data)
                if event.message_finished:
                    line = "".join(self._parts).encode()
                    self._parts = []
                    if reply := answer(self._codec, line):
                        out.append(ws.send(TextMessage(data=reply[:-1].decode())))
            elif isinstance(event, Request):
                chosen = "mcp" if "mcp" in event.subprotocols else None
                out.append(ws.send(AcceptConnection(subprotocol=chosen)))
            elif isinstance(event, Ping):
                out.append(ws.send(event.response()))
            elif isinstance(event, CloseConnection):
                out.append(ws.send(event.response()))
                self.over = True
        return b"".join(out)


async def by_anyio(codec: Codec) -> None:
    """Serve on anyio streams."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")

    async def serve(stream: SocketStream) -> None:
        conversation = Conversation(codec)
        async with stream:
            try:
                while not conversation.over:
                    if out := conversation.feed(await stream.receive()):
                        await stream.send(out)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return

    announce(listener.extra(SocketAttribute.local_port))  # noqa: S610 - anyio's
    await listener.serve(serve)


async def by_streams(codec: Codec, cert: str) -> None:
    """Serve on asyncio streams; ``cert``: over TLS."""
    tls = secured(cert)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = Conversation(codec)
        try:
            while not conversation.over and (data := await reader.read(65536)):
                writer.write(conversation.feed(data))
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    announce(server.sockets[0].getsockname()[1], "wss" if tls else "ws")
    await server.serve_forever()


async def by_websockets(codec: Codec, cert: str) -> None:
    """Serve with the websockets library, without compression, which we do not offer either.

    ``cert``: over TLS.
    """
    from websockets.asyncio.server import serve
    from websockets.typing import Subprotocol

    async def talk(connection: Any) -> None:
        async for message in connection:
            if reply := answer(codec, message.encode()):
                await connection.send(reply[:-1].decode())

    tls = secured(cert)
    async with serve(
        talk,
        "127.0.0.1",
        0,
        compression=None,
        subprotocols=[Subprotocol("mcp")],
        max_size=None,
        ssl=tls,
    ) as server:
        announce(next(iter(server.sockets)).getsockname()[1], "wss" if tls else "ws")
        await server.serve_forever()


def announce(port: int, scheme: str = "ws") -> None:
    """Say where we are."""
    print(f"listening on {scheme}://127.0.0.1:{port}/mcp", file=sys.stderr, flush=True)


def main() -> None:
    """Serve as the command line says."""
    chosen = arguments("io")
    codec = Codec(chosen.tools)
    if chosen.io == "websockets":
        asyncio.run(by_websockets(codec, chosen.cert))
        return
    if chosen.io == "streams":
        asyncio.run(by_streams(codec, chosen.cert))
    else:
        anyio.run(by_anyio, codec)


if __name__ == "__main__":
    main()
