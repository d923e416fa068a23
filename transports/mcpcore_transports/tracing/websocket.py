"""Recording of WebSocket frames that are no messages.

A module of its own, as the rest is imported only where a trace is written.
"""

from typing import TYPE_CHECKING

from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong
from wsproto.frame_protocol import CloseReason

if TYPE_CHECKING:
    from mcpcore.trace.format import Kind
    from mcpcore_transports.tracing.tracing import ConnectionTrace


def record_frame(trace: "ConnectionTrace", event: Event, *, incoming: bool = True) -> None:
    """Record a control or binary frame; text frames are recorded as the messages they carry."""
    if isinstance(event, CloseConnection):
        reason = (event.reason or "").encode()
        trace.frame("close", reason, incoming=incoming, status=int(event.code))
    elif isinstance(event, Ping | Pong):
        trace.frame(
            "ping" if isinstance(event, Ping) else "pong", bytes(event.payload), incoming=incoming
        )
    elif isinstance(event, BytesMessage):
        trace.frame("binary", bytes(event.data), incoming=incoming)


def record_refused(trace: "ConnectionTrace", event: Event, data: bytes, why: str) -> None:
    """Record input that is refused before its end: ``data`` as received, masked or compressed.

    Secrets cannot be found in it, so it is kept only where they need not be hidden.
    """
    assert isinstance(event, CloseConnection)  # noqa: S101 - as wsproto reports an error
    kind: Kind = "binary" if event.code == CloseReason.UNSUPPORTED_DATA else "invalid"
    said = data if trace.secrets else f"{len(data)} bytes: {why}".encode()
    trace.frame(kind, said, incoming=True)


def record_head(trace: "ConnectionTrace", raw: bytes) -> None:
    """Record the head of a request or a response from its bytes."""
    start, *lines = raw.strip(b"\r\n").split(b"\r\n")
    fields = [line.partition(b":") for line in lines]
    headers = [(name.lower(), value.strip(b" \t")) for name, _, value in fields]
    first, _, rest = start.partition(b" ")
    middle = rest.partition(b" ")[0].decode("latin-1")
    if first.startswith(b"HTTP/"):
        trace.response_head(int(middle) if middle.isdigit() else 0, headers)
    else:
        trace.request_head(first.decode("latin-1"), middle, headers)
