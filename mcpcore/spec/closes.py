"""WebSocket closes as a table: every code that this project sends, when, and with what reason.

Source: RFC 6455 section 7.4, and the section that each row names.  There is one close that is no
row: the answer to a close of the peer repeats its code (section 5.5.1).
"""

from msgspec import Struct, structs


class CloseRow(Struct, frozen=True, kw_only=True):
    """Row on one close that this side sends."""

    code: int
    when: str
    reason: str = ""
    """Text that is sent with the code; names in braces stand for values."""
    clause: str

    def filled(self, **values: object) -> "CloseRow":
        """Return the row with these values in its reason."""
        return structs.replace(self, reason=self.reason.format(**values))


DONE = CloseRow(code=1000, when="a client is done", clause="RFC 6455 section 7.4.1")
GOING_AWAY = CloseRow(
    code=1001, when="a server shuts down, or ends a connection", clause="RFC 6455 section 7.4.1"
)
INVALID_FRAME = CloseRow(
    code=1002, when="a frame is malformed", reason="{fault}", clause="RFC 6455 section 5.2"
)
INTERLEAVED = CloseRow(
    code=1002,
    when="a message begins within another one",
    reason="a message before the last one ended",
    clause="RFC 6455 section 5.4",
)
NOT_BEGUN = CloseRow(
    code=1002,
    when="a continuation belongs to no message",
    reason="a message that was never begun",
    clause="RFC 6455 section 5.4",
)
NOT_TEXT = CloseRow(
    code=1003,
    when="a message is binary",
    reason="messages are text frames",
    clause="RFC 6455 section 7.4.1",
)
NOT_UTF_8 = CloseRow(
    code=1007,
    when="text is not UTF-8, at the first byte that cannot be right",
    reason="text that is not UTF-8",
    clause="RFC 6455 section 8.1",
)
NOT_DEFLATED = CloseRow(
    code=1007,
    when="compressed data is broken, cut off, or ends too often",
    reason="the compressed data {fault}",
    clause="RFC 7692 section 7.2.2",
)
TOO_MANY_FRAMES = CloseRow(
    code=1008,
    when="a message comes in too many frames",
    reason="a message in more than {limit} frames",
    clause="RFC 6455 section 10.4",
)
NO_PONG = CloseRow(
    code=1008,
    when="a ping was not answered",
    reason="no answer to a ping within {seconds} s",
    clause="RFC 6455 section 5.5.3",
)
NOT_ADMITTED = CloseRow(
    code=1008,
    when="the opening is refused, by an ASGI server that can send no status",
    clause="ASGI HTTP & WebSocket 2.5, `websocket.close`",
)
TOO_LONG = CloseRow(
    code=1009,
    when="a message is too large",
    reason="longer than {limit} bytes",
    clause="RFC 6455 section 10.4",
)
TOO_DENSE = CloseRow(
    code=1009,
    when="compressed data unfolds to too much",
    reason="unfolds to more than {ratio} times its size",
    clause="RFC 6455 section 10.4",
)
FAILED = CloseRow(
    code=1011, when="the application failed", reason="{reason}", clause="RFC 6455 section 7.4.1"
)

CLOSES = (
    DONE,
    GOING_AWAY,
    INVALID_FRAME,
    INTERLEAVED,
    NOT_BEGUN,
    NOT_TEXT,
    NOT_UTF_8,
    NOT_DEFLATED,
    TOO_MANY_FRAMES,
    NO_PONG,
    NOT_ADMITTED,
    TOO_LONG,
    TOO_DENSE,
    FAILED,
)
"""All rows, by code."""
