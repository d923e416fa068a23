"""The modules that docs/how-to/embedding.md shows bear what bindings have to bear."""

import importlib.util
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any

import anyio
import pytest
from msgspec import json

from mcpcore import (
    ClientCapabilities,
    Config,
    Implementation,
    Limits,
    Peer,
    Role,
    ServerCapabilities,
    events,
)
from mcpcore.spec.types.capabilities import ToolsCapability
from mcpcore_transports.client.client import connect
from tests.clock import PATIENCE
from tests.docs.test_embedding_docs import FILES

ME = Implementation(name="test", version="1")
SERVER = Config(info=ME, capabilities=ServerCapabilities(tools=ToolsCapability()))
CLIENT = Config(info=ME, capabilities=ClientCapabilities())


def load(name: str, folder: Path) -> ModuleType:
    path = folder / f"{name}.py"
    path.write_text(FILES[path.name])
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Threads


@pytest.fixture(scope="module")
def threaded(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load("threaded", tmp_path_factory.mktemp("page"))


class Client:
    """A client over pipes, whose outcomes are queued."""

    def __init__(self, threaded: ModuleType, read: int, write: int) -> None:
        self.outcomes: SimpleQueue[events.Event] = SimpleQueue()
        self.end = threaded.PipeEnd(Peer(Role.CLIENT, CLIENT), read, write, self._handle)
        self.end.start()
        with self.end.peer() as peer:
            peer.start(now=time.monotonic())

    def _handle(self, end: Any, event: events.Event) -> None:
        if isinstance(event, events.ResultReceived | events.ErrorReceived | events.RequestEnded):
            self.outcomes.put(event)

    def ask(self, text: str = "", timeout: float = PATIENCE) -> None:
        params = {"name": "echo", "arguments": {"text": text}}
        with self.end.peer() as peer:
            peer.request("tools/call", params, now=time.monotonic(), timeout=timeout)

    def outcome(self) -> events.Event:
        return self.outcomes.get(timeout=PATIENCE)


def echo(end: Any, event: events.Event) -> None:
    if isinstance(event, events.RequestReceived):
        text = json.decode(event.params)["arguments"]["text"]
        with end.peer() as peer:
            peer.respond(event.key, {"content": [{"type": "text", "text": text}]})


def silent(end: Any, event: events.Event) -> None:
    pass


@contextmanager
def piped(
    threaded: ModuleType, handle: Callable[[Any, events.Event], None]
) -> Iterator[tuple[Client, Any]]:
    """A client and a server; afterwards no thread and no descriptor is left."""
    threads, descriptors = set(threading.enumerate()), open_descriptors()
    to_server, from_client = os.pipe()
    to_client, from_server = os.pipe()
    server = threaded.PipeEnd(Peer(Role.SERVER, SERVER), to_server, from_server, handle)
    server.start()
    client = Client(threaded, to_client, from_client)
    try:
        yield client, server
    finally:
        client.end.close()
        server.close()
    assert not set(threading.enumerate()) - threads  # those of other tests may have ended
    assert open_descriptors() <= descriptors


def open_descriptors() -> int:
    if sys.platform != "linux":
        return 0
    return len(os.listdir("/proc/self/fd"))


def test_a_client_reads_however_much_it_has_to_write(threaded: ModuleType) -> None:
    """Else it and a server that waits for it to read would wait for each other."""
    to_server, from_client = os.pipe()
    to_client, from_server = os.pipe()
    server, client = Peer(Role.SERVER, SERVER), Client(threaded, to_client, from_client)
    client.ask()
    while client.outcomes.empty():
        if select.select([to_server], [], [], 0.01)[0]:
            server.receive_data(os.read(to_server, 65536), now=time.monotonic())
            while event := server.next_event():
                if isinstance(event, events.RequestReceived):
                    server.respond(event.key, {"content": []})
            os.write(from_server, server.lines_to_send())
    client.ask("x" * 1_000_000)
    with client.end.peer() as peer:
        assert client.end._changed.wait_for(lambda: not peer._endpoint.outbox.size, PATIENCE)
    client.ask("x" * 2_000_000)  # behind what its writer has in hand, which nobody reads
    rest = memoryview(b'{"jsonrpc":"2.0","method":"notifications/x"}\n' * 10_000)
    os.set_blocking(from_server, False)
    while rest and select.select([], [from_server], [], PATIENCE)[1]:
        rest = rest[os.write(from_server, rest) :]
    os.close(to_server)
    os.close(from_server)
    client.end.close()
    assert not rest


def test_large_messages_both_ways_at_once(threaded: ModuleType) -> None:
    """More than pipes hold, from both sides: nobody waits for the other."""
    text = "x" * 1_000_000
    with piped(threaded, echo) as (client, _):
        for _ in range(8):
            client.ask(text)
        for _ in range(8):
            outcome = client.outcome()
            assert isinstance(outcome, events.ResultReceived)
            assert json.decode(outcome.result)["content"][0]["text"] == text


def test_many_threads_ask_at_once(threaded: ModuleType) -> None:
    with piped(threaded, echo) as (client, _):
        threads = [threading.Thread(target=client.ask, args=(str(n),)) for n in range(20)]
        for thread in threads:
            thread.start()
        found = set()
        for _ in threads:
            outcome = client.outcome()
            assert isinstance(outcome, events.ResultReceived)
            found.add(json.decode(outcome.result)["content"][0]["text"])
        for thread in threads:
            thread.join()
    assert found == {str(n) for n in range(20)}


def test_a_deadline_passes_though_nothing_arrives(threaded: ModuleType) -> None:
    with piped(threaded, silent) as (client, _):
        client.ask(timeout=0.05)
        outcome = client.outcome()
    assert isinstance(outcome, events.RequestEnded)
    assert outcome.reason is outcome.reason.TIMED_OUT


def test_the_end_of_the_server_ends_what_waits(threaded: ModuleType) -> None:
    asked = threading.Event()

    def mark(end: Any, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            asked.set()

    with piped(threaded, mark) as (client, server):
        client.ask()
        client.ask()
        assert asked.wait(PATIENCE)
        closing = threading.Thread(target=server.close)
        closing.start()
        for _ in range(2):
            outcome = client.outcome()
            assert isinstance(outcome, events.RequestEnded)
            assert outcome.reason is outcome.reason.CLOSED
        client.end.close()
        closing.join()


def test_a_client_that_no_longer_reads_does_not_hold_up_the_end(threaded: ModuleType) -> None:
    """It breaks off with answers outstanding, of which the server can write none."""
    threads = set(threading.enumerate())
    to_server, from_client = os.pipe()
    to_client, from_server = os.pipe()
    os.close(to_client)
    server = threaded.PipeEnd(Peer(Role.SERVER, SERVER), to_server, from_server, echo)
    server.start()
    client = Peer(Role.CLIENT, CLIENT)
    client.start(now=0.0)
    os.write(from_client, client.lines_to_send())
    text = "y" * 300_000
    call = {"name": "echo", "arguments": {"text": text}}
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    for number in range(10):
        params = {**call, "_meta": meta}
        line = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        os.writev(from_client, [json.encode(line), b"\n"])
    os.close(from_client)
    server.close()
    assert not set(threading.enumerate()) - threads


# Selectors


@pytest.fixture(scope="module")
def selecting(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load("selecting", tmp_path_factory.mktemp("page"))


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "tools/list":
        return {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}
    if params["name"] == "fail":
        raise ValueError("on purpose")
    return {"content": [{"type": "text", "text": params["arguments"]["text"]}]}


@contextmanager
def selected(selecting: ModuleType, config: Config = SERVER) -> Iterator[int]:
    """The server in a thread; yields its port."""
    descriptors = open_descriptors()
    stop, stopped = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener, stop, stopped:
        thread = threading.Thread(target=selecting.serve, args=(listener, stopped, config, answer))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.send(b"!")
            thread.join(PATIENCE)
            assert not thread.is_alive()
    assert open_descriptors() <= descriptors


def ping(number: int) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"method":"ping"}\n' % number


def test_one_that_does_not_read_delays_no_other(selecting: ModuleType) -> None:
    with (
        selected(selecting) as port,
        socket.create_connection(("127.0.0.1", port), PATIENCE) as deaf,
        socket.create_connection(("127.0.0.1", port), PATIENCE) as other,
    ):
        deaf.setblocking(False)
        text = "z" * 500_000
        call = {"name": "echo", "arguments": {"text": text}}
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        params = {**call, "_meta": meta}
        request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        line = json.encode(request) + b"\n"
        sent, enough = 0, 100 * len(line)
        while sent < enough and select.select([], [deaf], [], 0.5)[1]:
            sent += deaf.send(line[sent % len(line) :])
        assert sent < enough  # the server has stopped reading
        other.sendall(ping(7))
        assert json.decode(other.makefile("rb").readline())["id"] == 7


def test_whoever_has_finished_writing_gets_the_answers(selecting: ModuleType) -> None:
    with (
        selected(selecting) as port,
        socket.create_connection(("127.0.0.1", port), PATIENCE) as client,
    ):
        client.sendall(ping(1) + ping(2) + ping(3))
        client.shutdown(socket.SHUT_WR)
        lines = client.makefile("rb").readlines()
    assert [json.decode(line)["id"] for line in lines] == [1, 2, 3]


def test_what_one_client_does_is_its_own_matter(selecting: ModuleType) -> None:
    limited = Config(info=ME, capabilities=SERVER.capabilities, limits=Limits(message_size=1000))
    with selected(selecting, limited) as port:
        for wrong in (b"nonsense\n", b"x" * 5000 + b"\n", b"\xff\n", b"{", b""):
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                client.sendall(wrong)
                linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)  # it ends with RST

        async def talk() -> None:
            async with connect(f"tcp://127.0.0.1:{port}") as client:
                result: Any = await client.call_tool("echo", {"text": "well"})
                assert result.content[0].text == "well"
                with pytest.raises(Exception, match="internal error"):
                    await client.call_tool("fail")

        anyio.run(talk)
