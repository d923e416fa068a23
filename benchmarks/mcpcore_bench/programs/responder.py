"""The least that can answer: it looks for nothing in a request but the id, and that at one place.

The load generator is measured against it, so that what it takes by itself is known: no server that
is measured may do with less, which every run looks at.  The first request of each length is read,
and its reply made; those that follow are taken to differ in the id alone, which is put into that
reply.  Lines that have come together are answered together, and of a large body most is thrown away
unseen.

What opens a legacy session gets one as well, always the same.

``--binding http|tcp|unix|stdio``, WebSocket on the port of HTTP; ``--path``: of the Unix socket;
``--tools``: the length of the list.
"""

import hashlib
import os
import re
import select
import socket
import sys
from base64 import b64encode
from collections.abc import Callable

from mcpcore_bench.programs.offer import arguments
from mcpcore_bench.programs.raw_codec import tools_listed
from mcpcore_bench.programs.raw_http import chunk

ROOM = 1 << 16
"""Of what comes on a connection of HTTP: a head, and little of a large body."""
_LINES = 1 << 20
"""Of lines that may have come together."""
DIGITS = 7
"""Of an id."""
_ID = re.compile(rb'"id":(\d{7})\b')
_TEXT = re.compile(rb'"text":"([^"]*)"')
_EVENTS = re.compile(rb'"count":(\d+),"together":(true|false)')
_TOKEN = re.compile(rb'"progressToken":(\d+)')
_ACCEPT = re.compile(rb"accept: (.*)\r\n", re.IGNORECASE)
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_KEY = re.compile(rb"sec-websocket-key: (\S+)", re.IGNORECASE)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
_END = b"0\r\n\r\n"
_INITIALIZE = b'"method":"initialize"'
_NOTIFICATION = b'"method":"notifications/'
_OPENED = (
    b'{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"serverInfo":{"name":"ready","version":"1"}}}'
)
"""What answers the ``initialize`` of the load generator, which has the id 1."""
_SESSION = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: ready\r\n"
    b"content-length: %d\r\n\r\n%b"
)
ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
_UPGRADE = (
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-protocol: mcp\r\nsec-websocket-accept: %b\r\n\r\n"
)
_STEP = (
    b'{"jsonrpc":"2.0","method":"notifications/progress",'
    b'"params":{"progressToken":%b,"progress":%d,"total":%d}}'
)


class Shape:
    """Requests of one length, and what answers them."""

    def __init__(self, at: int, id: bytes, parts: list[bytes], mask: int = 0) -> None:
        """``at``: where the id stands; ``parts``: of the reply, each of them written by itself.

        ``mask``: what the id is masked with.
        """
        self._at, self._mask = at, mask
        self._parts = [bytearray(part) for part in parts]
        self._holes = [
            (part, slice(*found.span())) for part in self._parts for found in re.finditer(id, part)
        ]
        self._many = bytearray()

    def answer(self, request: bytearray) -> list[bytearray]:
        """The parts of the reply."""
        id = request[self._at : self._at + DIGITS]
        if self._mask:
            id = bytearray((int.from_bytes(id) ^ self._mask).to_bytes(DIGITS))
        for part, hole in self._holes:
            part[hole] = id
        return self._parts

    def answers(self, requests: bytearray, size: int, count: int) -> memoryview:
        """The replies to so many requests of one part, which follow one another."""
        length = len(self._parts[0])
        if len(self._many) < count * length:
            self._many = self._parts[0] * count
        for digit in range(DIGITS):
            # The first digits of all ids in one step, then the second ones, and so on.
            column = requests[self._at + digit : count * size : size]
            for _, hole in self._holes:
                self._many[hole.start + digit : count * length : length] = column
        return memoryview(self._many)[: count * length]


def _ready(*parts: bytes) -> Shape:
    """Parts that are the same for each request."""
    return Shape(0, b"\0", list(parts))


class Replies:
    """What is replied to a message that nobody understands."""

    def __init__(self, tools: int) -> None:
        self._tools = tools_listed(tools)

    def reply(self, message: bytes) -> bytes:
        """The whole reply."""
        if b'"method":"tools/list"' in message:
            result = self._tools
        else:
            text = _TEXT.search(message)
            said = text[1] if text is not None else b"told"
            result = b'{"content":[{"type":"text","text":"%b"}],"resultType":"complete"}' % said
        return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (_identity(message), result)

    def line(self, whole: bytes) -> Shape:
        """For a line."""
        id = _identity(whole)
        return Shape(whole.index(id), id, [self.reply(whole) + b"\n"])

    def post(self, whole: bytes) -> Shape:
        """For an HTTP request."""
        body = whole.index(b"\r\n\r\n") + 4
        message = whole[body:]
        if _INITIALIZE in message:
            return _ready(_SESSION % (len(_OPENED), _OPENED))
        if _NOTIFICATION in message:
            return _ready(ACCEPTED)
        reply, id, accept = self.reply(message), _identity(message), _ACCEPT.search(whole)
        events, token = _EVENTS.search(message), _TOKEN.search(message)
        if events is not None and token is not None:
            count = int(events[1])
            steps = [_event(_STEP % (token[1], step, count)) for step in range(1, count + 1)]
            parts = [_STREAM, *map(chunk, steps), chunk(_event(reply)) + _END]
            if events[2] == b"true":
                parts = [_STREAM + chunk(b"".join(steps)) + parts[-1]]
        elif accept is not None and b"application/json" not in accept[1]:
            parts = [_STREAM + chunk(_event(reply)) + _END]
        else:
            parts = [_JSON % (len(reply), reply)]
        return Shape(body + message.index(id), id, parts)

    def event(self, whole: bytes) -> Shape:
        """For an HTTP request that is answered by an event on another connection."""
        body = whole.index(b"\r\n\r\n") + 4
        message = whole[body:]
        if _INITIALIZE in message:
            return _ready(_event(_OPENED))
        if _NOTIFICATION in message:
            return _ready()
        id = _identity(message)
        return Shape(body + message.index(id), id, [_event(self.reply(message))])

    def frame(self, whole: bytes) -> Shape:
        """For a masked text frame."""
        begin = {126: 8, 127: 14}.get(whole[1] & 0x7F, 6)
        size = len(whole) - begin
        mask = (whole[begin - 4 : begin] * (size // 4 + 1))[:size]
        message = (int.from_bytes(whole[begin:]) ^ int.from_bytes(mask)).to_bytes(size)
        reply, id = self.reply(message), _identity(message)
        at = message.index(id)
        if len(reply) < 126:
            head = bytes((0x81, len(reply)))
        elif len(reply) < 1 << 16:
            head = b"\x81\x7e" + len(reply).to_bytes(2)
        else:
            head = b"\x81\x7f" + len(reply).to_bytes(8)
        return Shape(begin + at, id, [head + reply], int.from_bytes(mask[at : at + DIGITS]))


def _identity(message: bytes) -> bytes:
    found = _ID.search(message)
    assert found is not None
    return found[1]


def _event(data: bytes) -> bytes:
    return b"data: %b\n\n" % data


class Site:
    """Answers on connections of HTTP and WebSocket, on each one request after the other."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self._room = bytearray(ROOM)
        self._rest = bytearray()
        self._shapes: dict[int, Shape] = {}
        self._talking: set[socket.socket] = set()
        """Those that have changed to WebSocket."""

    def serve(self, connection: socket.socket) -> bool:
        """Answer what has come; False at the end."""
        room = self._room
        count = connection.recv_into(room)
        shape = self._shapes.get(count) or self._met(connection, count)
        if shape is not None:
            for part in shape.answer(room):
                connection.sendall(part)
        return count > 0

    def _met(self, connection: socket.socket, count: int) -> Shape | None:
        """Something that is no whole request of a length that is known."""
        begun = bytes(self._room[:count])
        if not begun:
            self._talking.discard(connection)
            return None
        if connection in self._talking:
            shape = self._shapes[count] = self._replies.frame(begun)
            return shape
        if key := _KEY.search(begun):
            self._talking.add(connection)
            accept = b64encode(hashlib.sha1(key[1] + _GUID, usedforsecurity=False).digest())
            connection.sendall(_UPGRADE % accept)
            return None
        length = _LENGTH.search(begun)
        assert length is not None
        total = begun.index(b"\r\n\r\n") + 4 + int(length[1])
        known = self._shapes.get(total)
        missing = total - count
        if len(self._rest) < missing:
            self._rest = bytearray(missing)
        if missing:
            # What is truncated is not even copied.
            flags = socket.MSG_WAITALL | (socket.MSG_TRUNC if known else 0)
            connection.recv_into(self._rest, missing, flags)
        if known is None:
            known = self._shapes[total] = self._replies.post(begun + self._rest[:missing])
        return known


def http(replies: Replies) -> None:
    """Serve HTTP and WebSocket."""
    serve("http://127.0.0.1:{}/mcp", Site(replies).serve)


def serve(url: str, answer: Callable[[socket.socket], bool]) -> None:
    """Have connections answered when something has come on them; ``url``: what to announce."""
    listener, connections = _listen(url), dict[int, socket.socket]()
    with select.epoll() as poll:
        poll.register(listener, select.EPOLLIN)
        while True:
            for fd, _ in poll.poll():
                connection = connections.get(fd)
                if connection is None:
                    connection, _ = listener.accept()
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connections[connection.fileno()] = connection
                    poll.register(connection, select.EPOLLIN)
                elif not answer(connection):
                    connections.pop(fd).close()


def tcp(replies: Replies) -> None:
    """Serve lines, on one connection after the other."""
    listener = _listen("tcp://127.0.0.1:{}")
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            lines(replies, connection.fileno(), connection.fileno())


def unix(replies: Replies, path: str) -> None:
    """Serve lines on a Unix socket, on one connection after the other."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print(f"listening on unix://{path}", file=sys.stderr, flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                lines(replies, connection.fileno(), connection.fileno())


def stdio(replies: Replies) -> None:
    """Serve lines."""
    lines(replies, 0, 1)


def lines(replies: Replies, source: int, sink: int) -> None:
    """Answer lines of one length, as many at once as have come, until there are no more."""
    room = bytearray(_LINES)
    view, have, size = memoryview(room), 0, 0
    shape: Shape | None = None
    while got := os.readv(source, (view[have:],)):
        have += got
        if shape is None:
            size = room.find(b"\n", 0, have) + 1
            if not size:
                continue
            shape = replies.line(bytes(room[:size]))
        count = have // size
        out = memoryview(shape.answer(room)[0]) if count == 1 else shape.answers(room, size, count)
        while out:
            out = out[os.write(sink, out) :]
        done = count * size
        if rest := have - done:
            room[:rest] = room[done:have]
        have = rest


def _listen(url: str) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(f"listening on {url.format(listener.getsockname()[1])}", file=sys.stderr, flush=True)
    return listener


BINDINGS: dict[str, Callable[[Replies], None]] = {"http": http, "tcp": tcp, "stdio": stdio}


def main() -> None:
    """Serve as the command line says."""
    chosen = arguments()
    replies = Replies(chosen.tools)
    if chosen.binding == "unix":
        unix(replies, chosen.path)
    else:
        BINDINGS[chosen.binding](replies)


if __name__ == "__main__":
    main()
