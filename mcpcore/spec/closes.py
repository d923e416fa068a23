"""WebSocket closes as a table: every code that this project sends, when, and with what reason.

Source: RFC 6455 section 7.4, and the section that each row names.  There is one close that is no
row: the answer to a close of the peer repeats its code (section 5.5.1).
"""

from msgspec import Struct, structs


class CloseRow(Struct, frozen=True):
    """Row on one close that this side sends."""

    code: int
    when: str
    clause: str
    reason: str = ""
    """Text that is sent with the code; names in braces stand for values."""

    def filled(self, **values: object) -> "CloseRow":
        """Return the row with these values in its reason."""
        return structs.replace(self, reason=self.reason.format(**values))


DONE = CloseRow(1000, "a client is done", "RFC 6455 section 7.4.1")
GOING_AWAY = CloseRow(1001, "a server shuts down, or ends a connection", "RFC 6455 section 7.4.1")
INVALID_FRAME = CloseRow(1002, "a frame is malformed", "RFC 6455 section 5.2", "{fault}")
INTERLEAVED = CloseRow(
    1002,
    "a message begins within another one",
    "RFC 6455 section 5.4",
    "a message before the last one ended",
)
NOT_BEGUN = CloseRow(
    1002,
    "a continuation belongs to no message",
    "RFC 6455 section 5.4",
    "a message that was never begun",
)
NOT_TEXT = CloseRow(
    1003, "a message is binary", "RFC 6455 section 7.4.1", "messages are text frames"
)
NOT_UTF_8 = CloseRow(
    1007,
    "text is not UTF-8, at the first byte that cannot be right",
    "RFC 6455 section 8.1",
    "text that is not UTF-8",
)
NOT_DEFLATED = CloseRow(
    1007,
    "compressed data is broken, cut off, or ends too often",
    "RFC 7692 section 7.2.2",
    "the compressed data {fault}",
)
TOO_MANY_FRAMES = CloseRow(
    1008,
    "a message comes in too many frames",
    "RFC 6455 section 10.4",
    "a message in more than {limit} frames",
)
NO_PONG = CloseRow(
    1008,
    "a ping was not answered",
    "RFC 6455 section 5.5.3",
    "no answer to a ping within {seconds} s",
)
OUTLIVED = CloseRow(
    1008,
    "the authorization of the client has ended",
    "RFC 6455 section 7.4.1",
    "the authorization has ended",
)
NOT_ADMITTED = CloseRow(
    1008,
    "the opening is refused, by an ASGI server that can send no status",
    "ASGI HTTP & WebSocket 2.5, `websocket.close`",
)
TOO_LONG = CloseRow(
    1009, "a message is too large", "RFC 6455 section 10.4", "longer than {limit} bytes"
)
TOO_DENSE = CloseRow(
    1009,
    "compressed data unfolds to too much",
    "RFC 6455 section 10.4",
    "unfolds to more than {ratio} times its size",
)
FAILED = CloseRow(1011, "the application failed", "RFC 6455 section 7.4.1", "{reason}")

CLOSES = tuple(row for row in vars().values() if isinstance(row, CloseRow))
"""All rows, by code."""
