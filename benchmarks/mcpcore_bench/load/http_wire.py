"""HTTP as the load generator speaks it: ready requests, and replies cut out of what arrives."""

import socket
import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from mcpcore_bench.load.asks import (
    HOLE,
    INITIALIZED,
    LEGACY,
    MODERN,
    Question,
    WrongReply,
    initialize,
    opened,
)
from mcpcore_bench.load.room import Room

ACCEPTS = {
    "json": "application/json",
    "sse": "text/event-stream",
    "any": "application/json, text/event-stream",
}
_END = b"0\r\n\r\n"
_HEADS = 256


def connected(address: tuple[str, int], *, tls: bool = False) -> socket.socket:
    """Open a connection; ``tls``: over TLS.

    It has no timeout, which would be one more system call for each other: whoever runs the load
    generator has patience for all of it.
    """
    connection = socket.create_connection(address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return secure(connection) if tls else connection


def secure(connection: socket.socket) -> ssl.SSLSocket:
    """Speak TLS on it, with anybody: the server is one that we have started."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection)


class Place(NamedTuple):
    """Where a server is."""

    host: str
    port: int
    path: str
    tls: bool = False

    @classmethod
    def of(cls, url: str) -> "Place":
        """Read a URL."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        return cls(parts.hostname, parts.port, parts.path, parts.scheme in ("https", "wss"))

    def connect(self) -> socket.socket:
        """Open a connection."""
        return connected((self.host, self.port), tls=self.tls)


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
    place: Place,
    question: Question,
    accept: str,
    session: str | None,
    *,
    vary: bool = False,
    bearer: str = "",
) -> bytes:
    """A POST with a hole for the id; ``vary``: in a header, too; ``bearer``: with a token."""
    headers = {}
    if question.era == "modern":
        headers = {"MCP_Protocol_Version": MODERN, "Mcp_Method": question.method}
        if question.name is not None:
            headers["Mcp_Name"] = question.name
    else:
        headers = {"MCP_Protocol_Version": LEGACY, "Mcp_Session_Id": session or ""}
    if vary:
        headers["X_Request"] = HOLE.decode()
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    whole = post(place, question.body(int(_FILLER)), accept, **headers)
    return whole.replace(_FILLER, HOLE)


_FILLER = b"9999999"


class Replies:
    """Cuts the responses out of what one connection receives, one at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._room = Room.of(connection)
        self._heads: dict[bytes, tuple[int, int, bool]] = {}
        self._known = b""
        self._meaning = (0, 0, False)
        """Status, length (-1: chunked) and whether it is an event stream, of the known head."""
        self._total = 0
        """The length of the response under way, 0 if it is not known."""
        self.head = b""
        """Of the last response that had another head than those before it."""

    def receive(self) -> bytes | memoryview | None:
        """Read once; return the body of a response if it is complete: good until the next call.

        Of an event stream it is the data of its last event.  Raises WrongReply for any status but
        200 and 202, for more than one response, and at the end of the connection.
        """
        self._room.more()
        return self._cut()

    def wait(self) -> bytes | memoryview:
        """Read until a response is complete: what is known to be missing of it in one go."""
        self._room.more()
        while (body := self._cut()) is None:
            self._room.more(self._total)
        return body

    def _cut(self) -> bytes | memoryview | None:
        room, known = self._room, self._known
        data, have = room.data, room.have
        end = len(known)
        if not known or have < end or not data.startswith(known):
            end = data.find(b"\r\n\r\n", 0, have) + 4
            if end < 4:
                room.widen()
                return None
            head = self._known = bytes(room.view[:end])
            self._meaning = self._heads.get(head) or self._learn(head)
        status, length, events = self._meaning
        body: bytes | memoryview
        if length >= 0:
            total = end + length
            if have < total:
                self._total = total
                room.fit(total)
                return None
            if have > total:
                raise WrongReply(f"more than one response: {bytes(room.view[total:have])[:200]!r}")
            body = room.view[end:total]
            self._total = 0
        else:
            whole = None
            if data.endswith(_END, end, have):
                whole = dechunked(data, end, have)
            if whole is None:
                room.widen()
                return None
            body = whole
        room.have = 0
        if status not in (200, 202):
            raise WrongReply(f"status {status}: {bytes(body[:300])!r}")
        return last_event(bytes(body)) if events else body

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


def dechunked(data: bytes | bytearray, at: int, end: int | None = None) -> bytes | None:
    """Join the chunks that begin there; None if the last one is not there yet, before ``end``."""
    parts: list[bytes | bytearray] = []
    end = len(data) if end is None else end
    while True:
        line = data.find(b"\r\n", at, end)
        if line < 0:
            return None
        size = int(data[at:line], 16)
        if size == 0:
            return b"".join(parts)
        at = line + 2 + size
        if end < at + 2:
            return None
        parts.append(data[line + 2 : at])
        at += 2


def last_event(body: bytes) -> bytes:
    """The data of the last event that has any."""
    at = body.rfind(b"data: ")
    if at < 0:
        raise WrongReply(f"an event stream without data: {body[:200]!r}")
    return body[at + 6 :].partition(b"\n")[0].rstrip(b"\r")


def open_session(place: Place, connection: socket.socket, replies: Replies) -> str:
    """Open a legacy session; returns its id.  Raises WrongReply."""
    connection.sendall(post(place, initialize(1)))
    opened(1, bytes(replies.wait()))
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
