"""Reasons for closing a WebSocket, as text that is safe for a log and for the peer."""

from wsproto.events import CloseConnection
from wsproto.frame_protocol import CloseReason

NOT_UTF_8 = "text that is not UTF-8"
_SAID = 120
"""Maximum characters of the peer's reason that are passed on."""


def what_is_wrong(event: CloseConnection) -> str:
    """Return the fault of a frame, without its content."""
    if event.code == CloseReason.INVALID_FRAME_PAYLOAD_DATA:
        return NOT_UTF_8
    return event.reason or "protocol error"


def what_was_said(event: CloseConnection) -> str:
    """Return the peer's close code and reason as one line for a log."""
    said = "".join(char if char.isprintable() else "?" for char in event.reason or "")
    return f"{int(event.code)}: {said[:_SAID]}" if said else f"{int(event.code)}"
