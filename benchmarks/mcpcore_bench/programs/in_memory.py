"""Without any wire: our Client and server in one process, and a bare pair of Peers.

``python -m mcpcore_bench.programs.in_memory client|pair WARM SECONDS`` prints a sample.  A call is
the whole way: the request encoded, decoded, its params typed, a typed result encoded, decoded and
typed again on the client.
"""

import sys

import anyio
import msgspec
from msgspec import Struct

from mcpcore import (
    ClientCapabilities,
    Config,
    Implementation,
    Negotiation,
    Peer,
    Role,
    Server,
    ServerCapabilities,
    connect,
)
from mcpcore.engine.events import RequestReceived, ResultReceived
from mcpcore.types import CallToolParams, CallToolResult, TextContent, ToolsCapability
from mcpcore_bench.programs.measuring import TEXT, measured


class Arguments(Struct):
    """What the tool takes."""

    text: str


params_of = msgspec.json.Decoder(CallToolParams).decode
arguments_of = msgspec.json.Decoder(Arguments).decode
result_of = msgspec.json.Decoder(CallToolResult).decode
ME = Implementation(name="pair", version="1")


class Pair:
    """Two Peers that have negotiated, and nothing between them but bytes."""

    def __init__(self, negotiation: Negotiation) -> None:
        offered = ServerCapabilities(tools=ToolsCapability())
        self._server = Peer(Role.SERVER, Config(info=ME, capabilities=offered))
        self._client = Peer(
            Role.CLIENT, Config(info=ME, capabilities=ClientCapabilities(), negotiation=negotiation)
        )
        self._client.start(now=0.0)
        self._turn()
        self._turn()

    def call(self) -> CallToolResult | None:
        """Make one call."""
        arguments = {"name": "echo", "arguments": {"text": TEXT}}
        self._client.request("tools/call", arguments, now=0.0)
        return self._turn()

    def _turn(self) -> CallToolResult | None:
        client, server = self._client, self._server
        server.receive_data(client.lines_to_send(), now=0.0)
        while (event := server.next_event()) is not None:
            if isinstance(event, RequestReceived):
                given = params_of(event.params).arguments
                assert given is not None
                text = TextContent(text=arguments_of(given).text)
                server.respond(event.key, CallToolResult(content=[text]))
        client.receive_data(server.lines_to_send(), now=0.0)
        result = None
        while (told := client.next_event()) is not None:
            if isinstance(told, ResultReceived):
                result = result_of(told.result)
        return result


def check(result: CallToolResult | None) -> None:
    """End the program unless a result says what was asked for."""
    if result is None or result.content != [TextContent(text=TEXT)]:
        raise SystemExit(f"wrong reply: {result}")


async def pair(warm: float, seconds: float) -> None:
    """Measure two Peers."""
    made = Pair(Negotiation.LEGACY)

    async def call() -> None:
        check(made.call())

    print(await measured(call, warm, seconds))


async def client(warm: float, seconds: float) -> None:
    """Measure a client that is connected to a server object."""
    server = Server("memory", version="1")

    @server.tool
    def echo(text: str) -> str:
        """Say it again."""
        return text

    async with connect(server) as connected:
        await connected.tools()

        async def call() -> None:
            result = await connected.call_tool("echo", {"text": TEXT})
            check(result)

        print(await measured(call, warm, seconds))


if __name__ == "__main__":
    chosen = pair if sys.argv[1] == "pair" else client
    anyio.run(chosen, float(sys.argv[2]), float(sys.argv[3]))
