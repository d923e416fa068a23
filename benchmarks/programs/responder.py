"""The least that can answer: a loop on epoll that finds an id and sends bytes made beforehand.

The load generator is measured against it, so that what it takes by itself is known.  It looks at
nothing but the length of a request and the id in it.  ``--binding http|stdio``.
"""

import os
import select
import socket
import sys

from benchmarks.programs.offer import arguments

_ID = b'"id":'
_TEXT = b'"text":"'
_BEFORE = b'{"jsonrpc":"2.0","id":'
_BETWEEN = b',"result":{"content":[{"type":"text","text":"'
_AFTER = b'"}],"resultType":"complete"}}'
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


def reply(request: bytes, at: int = 0) -> bytes:
    """Answer an ``echo``; ``at``: where its body begins."""
    start = request.find(_ID, at) + len(_ID)
    text = request.find(_TEXT, start) + len(_TEXT)
    end = request.find(b'"', text)
    number = request[start : request.find(b",", start)]
    return b"".join((_BEFORE, number, _BETWEEN, request[text:end], _AFTER))


def http() -> None:
    """Serve HTTP: each read is taken for a whole request if its end is there."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(
        f"listening on http://127.0.0.1:{listener.getsockname()[1]}/mcp",
        file=sys.stderr,
        flush=True,
    )
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    buffers: dict[int, bytes] = {}
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[connection.fileno()] = connection
                buffers[connection.fileno()] = b""
                poll.register(connection, select.EPOLLIN)
                continue
            connection = connections[fd]
            data = connection.recv(1 << 20)
            if not data:
                poll.unregister(fd)
                connections.pop(fd).close()
                continue
            request = buffers[fd] + data
            body = request.find(b"\r\n\r\n") + 4
            if body < 4 or not request.endswith(b"}}}"):
                buffers[fd] = request
                continue
            buffers[fd] = b""
            said = reply(request, body)
            connection.sendall(_HEAD % len(said) + said)


def stdio() -> None:
    """Serve lines."""
    rest = b""
    while data := os.read(0, 1 << 20):
        *lines, rest = (rest + data).split(b"\n")
        out = b"".join([reply(line) + b"\n" for line in lines])
        while out:
            out = out[os.write(1, out) :]


if __name__ == "__main__":
    stdio() if arguments().binding == "stdio" else http()
