"""Mutants of clients for this project's rules of WebSocket."""

from collections.abc import Iterable

from conformance.mutants.client_faults import ClientFault, gives_up, without_header
from conformance.mutants.model import Table
from mcpcore_conformance.kit.client_wire import Arrival
from mcpcore_conformance.kit.heard import Gone, Noise, Text

table = Table("docs/websocket")


@table.client("binary", "websocket/client-text-frames")
class _Binary(ClientFault):
    """Sends binary frames."""

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        if isinstance(arrival, Gone):
            return (Noise("a binary frame", b"{}"), arrival)
        return (arrival,)


@table.client("no-pongs", "websocket/client-answers-pings")
class _NoPongs(ClientFault):
    """Does not answer pings."""

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        return () if isinstance(arrival, Noise) and arrival.detail == "pong" else (arrival,)


@table.client(
    "closes-otherwise",
    "how-it-ends/client-done",
    "how-it-ends/client-binary",
    "how-it-ends/client-bad-text",
    "how-it-ends/client-bad-frame",
)
class _ClosesOtherwise(ClientFault):
    """Closes with 1011, whatever the reason is."""

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        return (Gone("closed with 1011", code=1011),) if isinstance(arrival, Gone) else (arrival,)


@table.client("any-subprotocol", "subprotocols/client-refuses-foreign")
class _Greets(ClientFault):
    """Goes on whatever was selected."""

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        if isinstance(arrival, Gone):
            return (Text(b'{"jsonrpc":"2.0","id":1,"method":"ping"}'), arrival)
        return (arrival,)


table.client("offers-nothing", "subprotocols/client-offers").does(
    "Offers no subprotocol.", without_header("sec-websocket-protocol")
)
table.client("needs-subprotocol", "subprotocols/client-tolerates-none").does(
    "Fails if no subprotocol is selected.",
    gives_up(lambda value, payload: isinstance(value, dict) and "result" in value),
)


table.client("whole-messages", "websocket/client-joins-fragments").does(
    "Takes no fragments.", gives_up(lambda value, payload: payload == b"between")
)


table.client("small-messages", "what-is-bounded/client-large").does(
    "Takes nothing over 64 KiB.", gives_up(lambda value, payload: len(payload) > 65536)
)
