"""The least that can answer over HTTP+SSE of 2024-11-05: as `responder`, with ready bytes.

Requests are small: each comes whole.
"""

import socket
from itertools import count

from mcpcore_bench.programs.offer import FILLERS_FROM
from mcpcore_bench.programs.responder import ACCEPTED, ROOM, Replies, Shape, serve

_POST = b"POST /messages?session="
_SESSION = slice(len(_POST), len(_POST) + 7)
"""Where a request says whose it is."""
_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    b"event: endpoint\ndata: /messages?session=%b\n\n"
)


class Streams:
    """Takes what is posted, and answers on the streams."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self._room = bytearray(ROOM)
        self._shapes: dict[int, Shape] = {}
        self._numbers = count()
        self._streams: dict[bytes, socket.socket] = {}

    def serve(self, connection: socket.socket) -> bool:
        """Answer what has come; False at the end."""
        room = self._room
        size = connection.recv_into(room)
        if not size:
            return False
        if not room.startswith(_POST):
            session = b"%07d" % next(self._numbers)
            self._streams[session] = connection
            connection.sendall(_STREAM % session)
            return True
        shape = self._shapes.get(size)
        if shape is None:
            shape = self._shapes[size] = self._replies.event(bytes(room[:size]))
        connection.sendall(ACCEPTED)
        stream = self._streams[bytes(room[_SESSION])]
        for part in shape.answer(room):
            stream.sendall(part)
        return True


if __name__ == "__main__":
    serve("http://127.0.0.1:{}/sse", Streams(Replies(FILLERS_FROM)).serve)
