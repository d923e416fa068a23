"""What takes turns does so whichever connection asks: nothing comes again before its turn."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mcpcore_bench.load.http_calls import Caller, callers
from mcpcore_bench.load.http_wire import Place
from mcpcore_bench.load.jobs import Ask, Command, HttpCalls

REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b"
SESSION = re.compile(rb"Mcp-Session-Id: (\S*)\r\n")
SIZES = (20, 30, 40)
CONNECTIONS = 4


@pytest.fixture
def listener() -> Iterator[tuple[socket.socket, Place]]:
    with socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS) as listening:
        yield listening, Place("127.0.0.1", listening.getsockname()[1], "/mcp")


def asked(caller: Caller, peer: socket.socket) -> tuple[str, int, int]:
    """Have a request sent and answered: its session, its id, the length of its text."""
    caller.send()
    whole = peer.recv(1 << 16)
    body = json.loads(whole.partition(b"\r\n\r\n")[2])
    text = body["params"]["arguments"]["text"]
    result = {"content": [{"type": "text", "text": text}]}
    reply = json.dumps({"jsonrpc": "2.0", "id": body["id"], "result": result}).encode()
    peer.sendall(REPLY % (len(reply), reply))
    assert caller.receive()
    found = SESSION.search(whole)
    return "" if found is None else found[1].decode(), body["id"], len(text)


@pytest.mark.parametrize(
    ("sessions", "in_turn"), [([], False), ([], True), (["a"], True), (list("abcdefg"), True)]
)
def test_all_connections_take_from_one_row_of_requests(
    sessions: list[str], listener: tuple[socket.socket, Place], *, in_turn: bool
) -> None:
    listening, place = listener
    job = HttpCalls(
        server=Command(()),
        ask=Ask("echo", SIZES[0]),
        more=tuple(Ask("echo", size) for size in SIZES[1:]),
        era="legacy" if sessions else "modern",
        connections=CONNECTIONS,
        in_turn=in_turn,
    )
    with ExitStack() as stack, callers(place, job, sessions) as made:
        peers = [stack.enter_context(listening.accept()[0]) for _ in made]
        found = [
            asked(caller, peer) for _ in range(20) for caller, peer in zip(made, peers, strict=True)
        ]
    kinds = [(session, size) for session, _, size in found]
    turns = [(session, size) for session in sessions or [""] for size in SIZES]
    if in_turn:
        assert kinds == [turns[at % len(turns)] for at in range(len(found))]
    else:
        assert kinds[:CONNECTIONS] == [turns[0]] * CONNECTIONS
    assert len({id for _, id, _ in found}) == len(found)
