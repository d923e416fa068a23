"""Requests of a gateway's clients whose rate limiter takes time, without I/O."""

from collections.abc import Awaitable

import anyio
import anyio.lowlevel
import pytest

from mcpcore import PeerError, RuntimeSettings, ServeSettings, connect
from mcpcore.engine import Config, Peer, Role
from mcpcore.engine.seal import Binding, Seal
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore_transports.gateway.gateway import Gateway
from mcpcore_transports.targets import MemoryTarget
from tests.clock import patience
from tests.engine.bench import rows
from tests.gateway.backend import backend
from tests.gateway.test_gateway import ERAS, text
from tests.transports.served import served

pytestmark = pytest.mark.anyio


class Slow:
    """Limiter that lets all requests through, once it is released."""

    def __init__(self) -> None:
        self.asked = 0
        self.release = anyio.Event()

    def admit(self, *_: object, **__: object) -> Awaitable[float]:
        async def later() -> float:
            self.asked += 1
            await self.release.wait()
            return 0.0

        return later()


@pytest.mark.parametrize("revision", ERAS)
@pytest.mark.parametrize("cancels", ["before", "after", ""])
async def test_a_request_that_is_cancelled_before_the_limiter_has_decided(
    revision: str, cancels: str
) -> None:
    """``cancels``: "after" if it has just decided, which its request has not heard."""
    limiter = Slow()
    route = Gateway({"only": MemoryTarget(backend(), RuntimeSettings())}).routes[None]
    settings = RuntimeSettings(limiter=limiter, revisions=rows(revision))
    front = Peer(Role.SERVER, route.config(settings))
    runtime = route.runtime(front, settings)
    info = Implementation(name="client", version="1")
    client = Peer(
        Role.CLIENT,
        Config(info=info, capabilities=ClientCapabilities(), revisions=rows(revision)),
    )

    def move() -> None:
        while (up := client.lines_to_send()) or (down := front.lines_to_send()):
            if up:
                front.receive_data(up, now=0.0)
            else:
                client.receive_data(down, now=0.0)
            while (event := front.next_event()) is not None:
                runtime.handle(event)
            while client.next_event() is not None:
                pass

    async def talk() -> None:
        client.start(now=0.0)
        move()
        id = client.request("tools/call", {"name": "echo"}, now=0.0)
        move()
        with patience():
            while not limiter.asked:
                await anyio.lowlevel.checkpoint()
        if cancels == "after":
            limiter.release.set()
        if cancels:
            client.cancel(id, now=0.0)
            move()
        limiter.release.set()
        with patience():
            while front.in_flight and not route.relay.held:
                await anyio.lowlevel.checkpoint()

    await runtime.run(talk)
    assert front.in_flight == (not cancels)
    assert len(route.relay.held) == (not cancels)  # the server is never begun


class Broken(Seal):
    """Seal of an application that fails."""

    def seal(self, payload: bytes, binding: Binding, *, wall: float) -> str:
        raise RuntimeError("a fault of the seal")

    def open(self, text: str, binding: Binding, *, wall: float) -> bytes:
        raise RuntimeError("a fault of the seal")


async def test_a_request_that_fails_after_the_limiter_has_decided_ends_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limiter = Slow()
    limiter.release.set()
    settings = RuntimeSettings(limiter=limiter, seal=Broken())
    made = Gateway({"only": MemoryTarget(backend())})
    async with (
        served(made, settings=ServeSettings(runtime=settings)) as front,
        connect(front.url, revision="2026-07-28") as client,
    ):
        params = {"name": "echo", "arguments": {"text": "hi"}}
        with pytest.raises(PeerError, match="the request cannot be passed on"):
            await client.request("tools/call", {**params, "requestState": "x"})
        assert "a fault of the seal" in caplog.text
        assert text(await client.call_tool("echo", {"text": "hi"})) == "backend: hi"
