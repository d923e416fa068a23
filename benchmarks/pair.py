"""Two Peers in memory: CPU per sequential ``tools/call``, beside the SDK's client and server.

``python -m benchmarks.pair ERA CALLS`` prints microseconds of CPU per call.  A call is the whole
way: the request encoded, framed, decoded, its params typed, a typed result encoded, framed,
decoded and typed again on the client.
"""

import sys
import time
from collections.abc import Callable, Mapping

import msgspec
from msgspec import UNSET, Struct

from benchmarks.measure import OURS, SDK, printed
from mcpcore import (
    ClientCapabilities,
    Config,
    Implementation,
    Negotiation,
    Peer,
    Role,
    ServerCapabilities,
)
from mcpcore.engine.events import RequestReceived, ResultReceived
from mcpcore.spec.types import CallToolParams, CallToolResult, TextContent, ToolsCapability

CALLS = 4000


class Arguments(Struct):
    """What the tool takes."""

    text: str


PARAMS = msgspec.json.Decoder(CallToolParams)
ARGUMENTS = msgspec.json.Decoder(Arguments)
RESULT = msgspec.json.Decoder(CallToolResult)
ME = Implementation(name="pair", version="1")


def answer_call(server: Peer, event: RequestReceived) -> None:
    """Answer a ``tools/call`` as a typed handler would."""
    arguments = PARAMS.decode(event.params).arguments
    assert arguments is not UNSET
    text = TextContent(text=ARGUMENTS.decode(arguments).text)
    server.respond(event.key, CallToolResult(content=[text]))


def answer(server: Peer) -> None:
    """Answer what has arrived at the server."""
    while (event := server.next_event()) is not None:
        if isinstance(event, RequestReceived):
            answer_call(server, event)


def turn(client: Peer, server: Peer) -> CallToolResult | None:
    """Carry what the client has to say there and the answer back; return the result, if any."""
    server.receive_data(client.lines_to_send(), now=0.0)
    answer(server)
    client.receive_data(server.lines_to_send(), now=0.0)
    result = None
    while (event := client.next_event()) is not None:
        if isinstance(event, ResultReceived):
            result = RESULT.decode(event.result)
    return result


def call(client: Peer, server: Peer) -> CallToolResult | None:
    """Make one call."""
    client.request("tools/call", {"name": "echo", "arguments": {"text": "hello"}}, now=0.0)
    return turn(client, server)


def connect(era: str) -> tuple[Peer, Peer]:
    """Make a pair that has negotiated."""
    server_has = ServerCapabilities(tools=ToolsCapability())
    server = Peer(Role.SERVER, Config(info=ME, capabilities=server_has))
    config = Config(info=ME, capabilities=ClientCapabilities(), negotiation=Negotiation(era))
    client = Peer(Role.CLIENT, config)
    client.start(now=0.0)
    turn(client, server)
    turn(client, server)
    return client, server


def measure(era: str, calls: int) -> float:
    """Run the calls and return microseconds of CPU for each."""
    client, server = connect(era)
    for _ in range(200):
        call(client, server)
    result = None
    began = time.process_time()
    for _ in range(calls):
        result = call(client, server)
    spent = time.process_time() - began
    if result is None or result.content != [TextContent(text="hello")]:
        raise SystemExit(f"wrong answer: {result}")
    return spent / calls * 1e6


def ours(era: str) -> Callable[[], float]:
    """Return a run of our pair."""
    return lambda: printed([OURS, "-m", "benchmarks.pair", era, str(CALLS * 5)])


def theirs(era: str) -> Callable[[], float]:
    """Return a run of the SDK's pair."""
    return lambda: printed([SDK, "benchmarks/sdk_pair.py", era, str(CALLS)])


VARIANTS: Mapping[str, Callable[[], float]] = {
    "two Peers, legacy era": ours("legacy"),
    "official SDK, legacy era": theirs("legacy"),
    "two Peers, modern era": ours("modern"),
    "official SDK, modern era (no JSON)": theirs("modern"),
}

if __name__ == "__main__":
    print(measure(sys.argv[1], int(sys.argv[2])))
