"""Mutants of clients for this project's rules of WebSocket."""

from collections.abc import Iterable

from conformance.mutants.client_faults import (
    ClientFault,
    gives_up,
    without_header,
)
from conformance.mutants.model import Table
from mcpcore_conformance.kit.client_wire import Arrival
from mcpcore_conformance.kit.heard import Gone, Noise, Text

table = Table("docs/websocket")


class Binary(ClientFault):
    """Sends its messages in binary frames as well."""

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        """See ClientFault."""
        if isinstance(arrival, Gone):
            return (Noise("a binary frame", b"{}"), arrival)
        return (arrival,)


class NoPongs(ClientFault):
    """Does not answer pings."""

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        """See ClientFault."""
        return () if isinstance(arrival, Noise) and arrival.detail == "pong" else (arrival,)


class ClosesOtherwise(ClientFault):
    """Closes with another code."""

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        """See ClientFault."""
        return (Gone("closed with 1011", code=1011),) if isinstance(arrival, Gone) else (arrival,)


class Greets(ClientFault):
    """Says something as soon as it is connected, whatever was selected."""

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        """See ClientFault."""
        if isinstance(arrival, Gone):
            return (Text(b'{"jsonrpc":"2.0","id":1,"method":"ping"}'), arrival)
        return (arrival,)


table.client(
    "offers-nothing",
    "subprotocols/client-offers",
    "Offers no subprotocol.",
    without_header("sec-websocket-protocol"),
)
table.client(
    "needs-subprotocol",
    "subprotocols/client-tolerates-none",
    "Fails if no subprotocol is selected.",
    gives_up(lambda value, payload: isinstance(value, dict) and "result" in value),
)
table.client(
    "any-subprotocol",
    "subprotocols/client-refuses-foreign",
    "Goes on whatever was selected.",
    Greets,
)
table.client("binary", "websocket/client-text-frames", "Sends binary frames.", Binary)
table.client(
    "whole-messages",
    "websocket/client-joins-fragments",
    "Takes no fragments.",
    gives_up(lambda value, payload: payload == b"between"),
)
table.client("no-pongs", "websocket/client-answers-pings", "Does not answer pings.", NoPongs)
table.client(
    "closes-otherwise",
    (
        "how-it-ends/client-done",
        "how-it-ends/client-binary",
        "how-it-ends/client-bad-text",
        "how-it-ends/client-bad-frame",
    ),
    "Closes with 1011, whatever the reason is.",
    ClosesOtherwise,
)
table.client(
    "small-messages",
    "what-is-bounded/client-large",
    "Takes nothing over 64 KiB.",
    gives_up(lambda value, payload: len(payload) > 65536),
)
