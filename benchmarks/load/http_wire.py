"""HTTP as the load generator speaks it: ready requests, and replies cut out of what arrives."""

import socket
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.load.asks import HOLE, INITIALIZED, LEGACY, MODERN, Question, WrongReply, initialize

ACCEPTS = {
    "json": "application/json",
    "sse": "text/event-stream",
    "any": "application/json, text/event-stream",
}
_END = b"0\r\n\r\n"
_ROOM = 1 << 16
_LARGE = 1 << 20
_HEADS = 256


class Place(NamedTuple):
    """Where a server is."""

    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> "Place":
        """Read a URL."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        return cls(parts.hostname, parts.port, parts.path)

    def connect(self) -> socket.socket:
        """Open a connection."""
        connection = socket.create_connection((self.host, self.port), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def request(place: Place, method: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Encode a request."""
    lines = [f"{method} {place.path} HTTP/1.1", f"Host: {place.host}:{place.port}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def post(place: Place, body: bytes, accept: str = "any", **headers: str) -> bytes:
    """Encode a POST of a JSON-RPC message."""
    known = {"Content-Type": "application/json", "Accept": ACCEPTS[accept]}
    known |= {name.replace("_", "-"): value for name, value in headers.items()}
    return request(place, "POST", body, known)


def asking(
    place: Place, question: Question, accept: str, session: str | None, *, vary: bool = False
) -> bytes:
    """A POST with a hole for the id; ``vary``: in a header, too."""
    headers = {}
    if question.era == "modern":
        headers = {"MCP_Protocol_Version": MODERN, "Mcp_Method": question.method}
        if question.name is not None:
            headers["Mcp_Name"] = question.name
    else:
        headers = {"MCP_Protocol_Version": LEGACY, "Mcp_Session_Id": session or ""}
    if vary:
        headers["X_Request"] = HOLE.decode()
    whole = post(place, question.body(int(_FILLER)), accept, **headers)
    return whole.replace(_FILLER, HOLE)


_FILLER = b"9999999"


class Replies:
    """Cuts the responses out of what one connection receives, one at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray()
        self._heads: dict[bytes, tuple[int, int, bool]] = {}
        self.head = b""
        """Of the last response that had another head than those before it."""

    def receive(self) -> bytes | None:
        """Read once; return the body of a response if it is complete.

        Of an event stream it is the data of its last event.  Raises WrongReply for any status but
        200 and 202, and at the end of the connection.
        """
        buffer = self._buffer
        data = self._socket.recv(_LARGE if len(buffer) > _ROOM else _ROOM)
        if not data:
            raise WrongReply(f"the connection has ended after {bytes(buffer[:200])!r}")
        buffer += data
        end = buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return None
        head = bytes(buffer[:end])
        status, length, events = self._heads.get(head) or self._learn(head)
        if length >= 0:
            if len(buffer) < end + length:
                return None
            body = bytes(buffer[end : end + length])
            del buffer[: end + length]
        else:
            if not buffer.endswith(_END):
                return None
            whole = dechunked(buffer, end)
            if whole is None:
                return None
            body = whole
            buffer.clear()
        if status not in (200, 202):
            raise WrongReply(f"status {status}: {body[:300]!r}")
        return last_event(body) if events else body

    def wait(self) -> bytes:
        """Read until a response is complete."""
        while (body := self.receive()) is None:
            pass
        return body

    def _learn(self, head: bytes) -> tuple[int, int, bool]:
        if len(self._heads) >= _HEADS:
            self._heads.clear()
        self.head = head
        lower = head.lower()
        length = -1
        if b"\r\ncontent-length:" in lower:
            length = int(field(head, b"content-length"))
        elif b"transfer-encoding: chunked" not in lower:
            length = 0
        found = (int(head[9:12]), length, b"text/event-stream" in lower)
        self._heads[head] = found
        return found


def field(head: bytes, name: bytes) -> bytes:
    """The value of a header of a head, empty if it is not there; ``name`` in lower case."""
    at = head.lower().find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    return head[at + len(name) + 3 :].partition(b"\r\n")[0].strip()


def dechunked(buffer: bytearray, at: int) -> bytes | None:
    """Join the chunks that begin there; None if the last one is not there yet."""
    parts: list[bytes] = []
    while True:
        end = buffer.find(b"\r\n", at)
        if end < 0:
            return None
        size = int(bytes(buffer[at:end]), 16)
        if size == 0:
            return b"".join(parts)
        if len(buffer) < end + 4 + size:
            return None
        parts.append(bytes(buffer[end + 2 : end + 2 + size]))
        at = end + 4 + size


def last_event(body: bytes) -> bytes:
    """The data of the last event that has any."""
    at = body.rfind(b"data: ")
    if at < 0:
        raise WrongReply(f"an event stream without data: {body[:200]!r}")
    return body[at + 6 :].partition(b"\n")[0].rstrip(b"\r")


def open_session(place: Place, connection: socket.socket, replies: Replies) -> str:
    """Open a legacy session; returns its id.  Raises WrongReply."""
    connection.sendall(post(place, initialize(1)))
    reply = replies.wait()
    if b'"protocolVersion"' not in reply:
        raise WrongReply(f"initialize was answered with {reply[:200]!r}")
    session = field(replies.head, b"mcp-session-id").decode()
    if not session:
        raise WrongReply("initialize was answered without a session")
    connection.sendall(
        post(place, INITIALIZED, MCP_Protocol_Version=LEGACY, Mcp_Session_Id=session)
    )
    replies.wait()
    return session


def get_stream(place: Place, session: str, last: str | None = None) -> bytes:
    """Encode the GET that opens a stream of a session, or picks one up."""
    headers = {
        "Accept": "text/event-stream",
        "Mcp-Session-Id": session,
        "MCP-Protocol-Version": LEGACY,
    }
    if last is not None:
        headers["Last-Event-ID"] = last
    return request(place, "GET", b"", headers)
