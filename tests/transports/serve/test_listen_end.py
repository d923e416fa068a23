"""A server that ends says so on its listen streams: cancelled, result, end, on every transport."""

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcpcore import Server, StdioTarget, parse_target, run
from mcpcore.spec.revisions import LATEST
from tests.bindings.frames import Closed
from tests.bindings.talk import Talk
from tests.bindings.wires import LOST, calling
from tests.clock import patience, until
from tests.transports.served import ANY_PORT, served

pytestmark = pytest.mark.anyio

PROGRAM = "from tests.transports.serve.test_listen_end import library, run; run(library())"


def library() -> Server:
    server = Server("s")
    server.add_tool(lambda: str(os.getpid()), "pid")
    return server


@asynccontextmanager
async def talking(binding: str) -> AsyncIterator[tuple[Talk, Callable[[], object]]]:
    """A client by hand, and what has its server end."""
    if binding == "stdio":
        target = StdioTarget([sys.executable, "-c", PROGRAM])
        async with calling(binding, target, None) as wire:
            talk = Talk(wire, LATEST)
            pid = int(await talk.text(await talk.call("pid")))
            yield talk, lambda: os.kill(pid, signal.SIGTERM)
        return
    place: dict[str, Any] = {binding: ANY_PORT}
    async with (
        served(library(), **place) as site,
        calling(binding, parse_target(site.url), LATEST.name) as wire,
    ):
        yield Talk(wire, LATEST), site.stop.set


@pytest.mark.requirement("basic/patterns/subscriptions/server-ends")
@pytest.mark.parametrize("binding", ["stdio", "http", "ws", "tcp"])
async def test_a_listen_stream_ends_with_word_and_answer(binding: str) -> None:
    with patience():
        async with talking(binding) as (talk, stop):
            id = await talk.ask(
                "subscriptions/listen", {"notifications": {"toolsListChanged": True}}
            )
            meta = {"io.modelcontextprotocol/subscriptionId": id}
            assert await talk.wire.receive() == {
                "jsonrpc": "2.0",
                "method": "notifications/subscriptions/acknowledged",
                "params": {"notifications": {"toolsListChanged": True}, "_meta": meta},
            }
            stop()
            assert await talk.wire.receive() == {
                "jsonrpc": "2.0",
                "method": "notifications/cancelled",
                "params": {"requestId": id, "_meta": meta},
            }
            answer = await talk.wire.receive()
            assert answer["id"] == id
            result = answer["result"]
            assert result["resultType"] == "complete"
            assert result["_meta"].items() >= meta.items()
            assert result.keys() == {"resultType", "_meta"}
            if binding == "http":
                wire: Any = talk.wire
                await until(lambda: not wire._open)
                return
            with pytest.raises(LOST) as ended:
                await talk.wire.receive()
            assert isinstance(ended.value, Closed) is (binding == "ws")
            assert getattr(ended.value, "code", 1001) == 1001


__all__ = ["library", "run"]
