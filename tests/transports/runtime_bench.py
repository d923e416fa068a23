"""A server's runtime on a bench: JSON in, JSON out, no transport between."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel

from mcpcore.engine.config import Role
from mcpcore.engine.peer import Peer
from mcpcore.service import Server
from mcpcore_transports.link import Link, clock
from mcpcore_transports.serve.serve import server_config
from mcpcore_transports.server.runtime import ServerRuntime
from mcpcore_transports.server.settings import RuntimeSettings
from tests.clock import patience

MODERN = "2026-07-28"
LEGACY = "2025-11-25"


class Bench(Link):
    """Turns by hand: :meth:`send` feeds a message in, ``sent`` holds what came out."""

    def __init__(self, server: Server, settings: RuntimeSettings) -> None:
        self.peer = Peer(Role.SERVER, server_config(server, settings))
        self.runtime = ServerRuntime(server, self.peer, settings)
        self.runtime.link = self
        self.sent: list[dict[str, Any]] = []
        self.stalled = False
        """The client takes nothing for the time being."""
        self.principal: str | None = None
        """Whose messages are fed in."""
        self._serial = 0

    def flush_soon(self) -> None:
        """Turn at once."""
        while True:
            while (event := self.peer.next_event()) is not None:
                self.runtime.handle(event)
            lines = b"" if self.stalled else self.peer.lines_to_send()
            if not lines:
                return
            self.sent += map(json.loads, lines.splitlines())

    async def aclose(self) -> None:
        """There is nothing to close."""

    def send(self, message: dict[str, Any]) -> None:
        """Feed one message in."""
        self.peer.principal = self.principal
        self.peer.receive_data(json.dumps(message).encode() + b"\n", now=clock())
        self.flush_soon()

    def post(
        self,
        method: str,
        params: dict[str, Any],
        *,
        capabilities: dict[str, Any] | None = None,
        revision: str = MODERN,
    ) -> int:
        """Send a request and return its id."""
        self._serial += 1
        if revision == MODERN:
            meta = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": capabilities or {},
            }
            params = {**params, "_meta": {**meta, **params.get("_meta", {})}}
        self.send({"jsonrpc": "2.0", "id": self._serial, "method": method, "params": params})
        return self._serial

    def cancel(self, id: int) -> None:
        """Take a request back."""
        params = {"requestId": id}
        self.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})

    async def reply(self, id: int) -> dict[str, Any]:
        """Wait for the answer to a request."""
        while True:
            for message in self.sent:
                if message.get("id") == id and "method" not in message:
                    return message
            await anyio.lowlevel.checkpoint()

    async def call(self, method: str, params: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        return await self.reply(self.post(method, params, **options))

    def open_legacy(self, capabilities: dict[str, Any] | None = None) -> None:
        """Carry out the handshake."""
        hello = {
            "protocolVersion": LEGACY,
            "capabilities": capabilities or {},
            "clientInfo": {"name": "bench", "version": "1"},
        }
        self.post("initialize", hello, revision=LEGACY)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})


@asynccontextmanager
async def bench(server: Server, settings: RuntimeSettings | None = None) -> AsyncIterator[Bench]:
    """Put a server on the bench for the time of the context."""
    made = Bench(server, settings or RuntimeSettings())
    begun, done = anyio.Event(), anyio.Event()

    async def run() -> None:
        begun.set()
        await done.wait()

    with patience():
        async with anyio.create_task_group() as group:
            group.start_soon(made.runtime.run, run)
            await begun.wait()
            yield made
            done.set()
