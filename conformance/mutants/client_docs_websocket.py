"""Mutants of clients for this project's rules of WebSocket."""

from conformance.mutants.client_faults import arrives, gives_up, without_header
from conformance.mutants.edits import to
from conformance.mutants.model import Table
from mcpcore_conformance.kit.heard import Gone, Noise, Text

table = Table("docs/websocket")


table.client("binary", "text-frames").does(
    "Sends binary frames.", arrives(Gone, lambda gone: (Noise("a binary frame", b"{}"), gone))
)
table.client("no-pongs", "answers-pings").does(
    "Does not answer pings.",
    arrives(Noise, lambda noise: () if noise.detail == "pong" else (noise,)),
)
table.client("closes-otherwise", "done", "binary", "bad-text", "bad-frame").does(
    "Closes with 1011, whatever the reason is.",
    arrives(Gone, to((Gone("closed with 1011", code=1011),))),
)
table.client("any-subprotocol", "refuses-foreign").does(
    "Goes on whatever was selected.",
    arrives(Gone, lambda gone: (Text(b'{"jsonrpc":"2.0","id":1,"method":"ping"}'), gone)),
)
table.client("offers-nothing", "offers").does(
    "Offers no subprotocol.", without_header("sec-websocket-protocol")
)
table.client("needs-subprotocol", "tolerates-none").does(
    "Fails if no subprotocol is selected.",
    gives_up(lambda value, payload: isinstance(value, dict) and "result" in value),
)
table.client("whole-messages", "joins-fragments").does(
    "Takes no fragments.", gives_up(lambda value, payload: payload == b"between")
)
table.client("small-messages", "large").does(
    "Takes nothing over 64 KiB.", gives_up(lambda value, payload: len(payload) > 65536)
)
