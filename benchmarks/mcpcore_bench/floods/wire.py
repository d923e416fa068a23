"""What clients of a flood write and read, and the server that they write to."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mcpcore_bench.subjects import OURS, ROOT

MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}

_CALM = 0.04
"""The share of a CPU below which a server has nothing to do."""


def post(body: Mapping[str, Any], **headers: str) -> bytes:
    """A POST of a JSON-RPC message."""
    data = json.dumps(body).encode()
    lines = {
        "Host": "localhost",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Content-Length": str(len(data)),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + data


def modern(method: str, **params: Any) -> bytes:
    """A request of 2026-07-28."""
    meta = {**META, **params.pop("meta", {})}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    named = {"Mcp_Name": params["name"]} if "name" in params else {}
    return post(body, MCP_Protocol_Version=MODERN, Mcp_Method=method, **named)


def call(name: str, **meta: Any) -> bytes:
    """A call of a tool."""
    return modern("tools/call", name=name, arguments={}, meta=meta)


def legacy_call(session: str, number: int, name: str) -> bytes:
    """A call of a tool in a session."""
    params = {"name": name, "arguments": {}}
    body = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    return post(body, Mcp_Session_Id=session)


def bodiless(method: str, session: str) -> bytes:
    """The GET that opens a stream of a session, or the DELETE that ends it."""
    lines = f"Host: localhost\r\nAccept: text/event-stream\r\nMcp-Session-Id: {session}\r\n"
    return f"{method} /mcp HTTP/1.1\r\n{lines}\r\n".encode()


INITIALIZE = post(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "flood", "version": "1"},
        },
    }
)
QUICK = call("quick")
LISTEN = modern("subscriptions/listen", notifications={"toolsListChanged": True})
POUR = call("pour", **{"io.modelcontextprotocol/logLevel": "debug"})


def answer(connection: socket.socket) -> bytes:
    """Read one response with a Content-Length; what there was of it if the server closes."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return data
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        while len(body) < length:
            part = connection.recv(65536)
            if not part:
                return data
            body += part
    except (ConnectionError, TimeoutError):
        return data
    return head + b"\r\n\r\n" + body


def is_ok(response: bytes) -> bool:
    """Whether a response is a success."""
    return response.startswith(b"HTTP/1.1 200 ")


def is_busy(response: bytes) -> bool:
    """Whether a connection was refused, as there are too many."""
    return response.startswith(b"HTTP/1.1 503 ") and b"retry-after:" in response


def begin_session(connection: socket.socket) -> str:
    """Open a session, and return its id."""
    connection.sendall(INITIALIZE)
    head = answer(connection).partition(b"\r\n\r\n")[0]
    return head.partition(b"mcp-session-id: ")[2].partition(b"\r\n")[0].decode()


class Victim:
    """A server in a process of its own.  ``allocator``: what PYTHONMALLOC says."""

    def __init__(self, settings: Mapping[str, Any], allocator: str = "pymalloc") -> None:
        command = [OURS, "-m", "mcpcore_bench.floods.server", json.dumps(settings)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONMALLOC": allocator},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            raise SystemExit(f"the server did not start: {line!r}")
        self.port = int(line.split()[-1])
        self.sessions: set[str] = set()
        """Those whose calls go on when their clients leave, until they are deleted."""

    def connect(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def ask(self, request: bytes) -> bytes:
        """Have a request answered on a connection of its own."""
        with self.connect() as connection:
            connection.sendall(request)
            return answer(connection)

    @property
    def memory(self) -> float:
        """Resident, in kilobytes."""
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1000

    @property
    def blocks(self) -> int:
        """How much it has in use, in blocks, once what is garbage has been taken away."""
        body = self.ask(call("in_use")).partition(b"\r\n\r\n")[2]
        return int(json.loads(body)["result"]["content"][0]["text"])

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def busy_share(self, seconds: float) -> float:
        """The share of a CPU that it uses just now."""
        before = self.cpu
        time.sleep(seconds)
        return (self.cpu - before) / seconds

    def settle(self, patience: float = 60.0) -> None:
        """Wait until it has worked off what it was sent."""
        until, calm = time.monotonic() + patience, 0
        while calm < 3 and time.monotonic() < until:
            calm = calm + 1 if self.busy_share(0.5) <= _CALM else 0

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


@contextmanager
def victim(settings: Mapping[str, Any], allocator: str = "pymalloc") -> Iterator[Victim]:
    """Have a server for as long as the context lasts."""
    server = Victim(settings, allocator)
    try:
        yield server
    finally:
        server.close()
