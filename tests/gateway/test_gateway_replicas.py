"""Replicas of a server behind a gateway: balanced over, lost and back, over real sockets."""

import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from threading import Thread
from typing import Any

import anyio
import pytest
from msgspec import Raw

from mcpcore import Client, PeerError, Replicas, Server, connect
from mcpcore.engine.events import EndReason, ErrorReceived, Event, RequestEnded, ResultReceived
from mcpcore.policy.balancing import Standing
from mcpcore.policy.health import HealthSettings
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData
from mcpcore.spec.revisions import BY_NAME
from mcpcore.spec.types.tools import ToolAnnotations
from mcpcore_transports.gateway.replicas import BalancedReplicas
from mcpcore_transports.gateway.settings import GatewaySettings
from tests.clock import patience, until
from tests.gateway.test_gateway import ERAS, LEGACY, MODERN, add, gateway, text
from tests.ports import free_port
from tests.transports.served import ANY_PORT, served

pytestmark = pytest.mark.anyio
QUICK = GatewaySettings(
    health=HealthSettings(interval=0.05, probe_time=10.0),
    relay=RelaySettings(listen_delay=0.01),
    first_delay=0.01,
    max_delay=0.05,
    breaker=None,
    retry=None,
)


class Replica:
    """A server behind a wire that can be cut, which ends all connections, and mended."""

    _listener: socket.socket

    def __init__(self, name: str, booked: list[str]) -> None:
        self.calls = 0
        self.server = server = Server("replicated")
        self._behind, self._port = 0, free_port()
        self._sockets: list[socket.socket] = []

        @server.tool(annotations=ToolAnnotations(idempotent_hint=True))
        async def look(number: str) -> str:
            self.calls += 1
            await anyio.sleep(0.001)
            return name

        @server.tool
        async def book(number: str) -> str:
            self.calls += 1
            booked.append(number)
            await anyio.sleep(0.001)
            return name

    @asynccontextmanager
    async def running(self, revision: str) -> AsyncIterator[str]:
        """Run the server; yields its URL."""
        async with served(self.server, http=ANY_PORT, revisions=[revision]) as behind:
            self._behind = behind.port
            self.mend()
            yield f"http://127.0.0.1:{self._port}/mcp"
            self.cut()

    def mend(self) -> None:
        """Take connections, at the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        Thread(target=self._accept, args=(self._listener,)).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                Thread(target=self._carry, args=listener.accept()[:1]).start()

    def _carry(self, near: socket.socket) -> None:
        with near, suppress(OSError), socket.create_connection(("127.0.0.1", self._behind)) as far:
            self._sockets += near, far
            if self._listener.fileno() < 0:
                self.cut()
            back = Thread(target=carry, args=(far, near))
            back.start()
            carry(near, far)
            back.join()

    def cut(self) -> None:
        """End all connections, and take no other."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()  # from here on a connection that was taken before ends itself
        for each in [*self._sockets]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def carry(source: socket.socket, sink: socket.socket) -> None:
    """Carry what comes from one side to the other, and the end to both."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class Scene:
    """Replicas behind a gateway."""

    def __init__(self, names: str) -> None:
        self.booked: list[str] = []
        self.replicas = {name: Replica(name, self.booked) for name in names}
        self.url = ""

    def connect(self, revision: str) -> Any:
        return connect(self.url, revision=revision)


@asynccontextmanager
async def scene(
    names: str, revision: str, settings: GatewaySettings = QUICK, **more: Any
) -> AsyncIterator[Scene]:
    made = Scene(names)
    async with AsyncExitStack() as stack:
        urls = [
            await stack.enter_async_context(each.running(revision))
            for each in made.replicas.values()
        ]
        spare = more.pop("spare", 0)
        targets = Replicas(
            targets=urls[: len(urls) - spare], fallback=urls[len(urls) - spare :], **more
        )
        front = await stack.enter_async_context(gateway({"only": targets}, settings, http=ANY_PORT))
        made.url = front.url
        yield made


async def look(client: Client, times: int = 1) -> Counter[str]:
    """Return who has answered."""
    answers = [await client.call_tool("look", {"number": str(each)}) for each in range(times)]
    return Counter(map(text, answers))


async def test_requests_of_the_modern_era_go_to_all_replicas_by_weight() -> None:
    async with scene("ab", MODERN, weights=(9, 1)) as made, made.connect(MODERN) as client:
        found = await look(client, 400)
    assert found["a"] > 2 * found["b"] > 22  # a tenth is 40


@pytest.mark.parametrize("client", ERAS)
async def test_a_legacy_conversation_stays_at_its_replica(client: str) -> None:
    met = Counter[str]()
    async with scene("ab", LEGACY) as made, AsyncExitStack() as stack:
        for _ in range(12):
            each = await stack.enter_async_context(made.connect(client))
            found = await look(each, 5)
            assert len(found) == 1
            met += found
    assert len(met) == (2 if client == LEGACY else 1)


@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("client", ERAS)
async def test_a_replica_that_is_lost_under_load_loses_nothing_that_may_be_repeated(
    client: str, server: str
) -> None:
    done, refused = Counter[str](), list[str]()
    async with scene("abc", server) as made:

        async def work(place: int) -> None:
            async with made.connect(client) as connected:
                await connected.tools()
                for number in range(30):
                    assert await look(connected)
                    done["looked"] += 1
                    try:
                        await connected.call_tool("book", {"number": f"{place} {number}"})
                    except PeerError as error:
                        refused.append(error.error.message)

        async with anyio.create_task_group() as group:
            for place in range(8):
                group.start_soon(work, place)
            await until(lambda: done["looked"] >= 60)
            max(made.replicas.values(), key=lambda each: each.calls).cut()
    assert done["looked"] == 8 * 30
    assert len(made.booked) == len(set(made.booked)) >= 8 * 30 - len(refused)
    assert all(each.startswith("only: ") for each in refused)
    assert len(refused) <= 8  # what was open there at that time


@pytest.mark.parametrize("server", ERAS)
async def test_a_replica_that_is_back_has_requests_again(server: str) -> None:
    async with scene("ab", server) as made:
        lost = made.replicas["a"]
        lost.cut()
        for _ in range(10):
            async with made.connect(LEGACY) as client:
                await client.tools()
                assert await look(client) == {"b": 1}
        lost.mend()
        met = Counter[str]()
        with patience():
            while not met["a"]:
                async with made.connect(LEGACY) as client:
                    met += await look(client)


@pytest.mark.parametrize("server", ERAS)
async def test_all_replicas_are_lost_and_one_comes_back(server: str) -> None:
    async with scene("ab", server) as made, made.connect(LEGACY) as client:
        await client.tools()
        for each in made.replicas.values():
            each.cut()
        with pytest.raises(PeerError, match=r"^only: "):
            await look(client)
        made.replicas["b"].mend()
        found = Counter[str]()
        with patience():
            while not found:
                with suppress(PeerError):
                    found = await look(client)
        assert found == {"b": 1}


async def test_the_fallback_is_used_while_no_other_is_left() -> None:
    async with scene("abc", MODERN, spare=1) as made, made.connect(MODERN) as client:
        await client.tools()
        assert (await look(client, 40))["c"] == 0
        made.replicas["a"].cut()
        assert set(await look(client, 40)) == {"b"}
        made.replicas["b"].cut()
        assert set(await look(client, 40)) == {"c"}


async def test_a_listen_stream_moves_to_another_replica() -> None:
    async with (
        scene("ab", MODERN) as made,
        made.connect(MODERN) as client,
        client.listen(tools=True) as changes,
    ):
        for each in made.replicas.values():  # one of them has the stream
            each.server.add_tool(add, "more")
        with patience():
            await anext(changes)
        made.replicas["a"].cut()
        made.replicas["a"].mend()
        made.replicas["b"].cut()
        with patience():
            await anext(changes)


LOST = RequestEnded(1, "tools/call", EndReason.CLOSED, "")
LEFT = RequestEnded(1, "tools/call", EndReason.CANCELLED, "")
WRONG = ErrorReceived(1, "tools/call", ErrorData(INTERNAL_ERROR, ""))
GOOD = ResultReceived(1, "tools/call", Raw(b"{}"), BY_NAME[MODERN])


def pair() -> BalancedReplicas:
    """Two replicas that are known."""
    targets = Replicas(targets=["tcp://a:1", "tcp://b:1"])
    made = BalancedReplicas("only", targets, GatewaySettings())
    made.greeted("tcp://a:1", BY_NAME[MODERN], 0.0)
    return made


@pytest.mark.parametrize(
    ("outcomes", "standing"),
    [
        ([(LOST, None)] * 3, Standing.DOWN),
        ([(LEFT, None)] * 9, Standing.USABLE),
        ([(LOST, None), (GOOD, None), (LOST, None), (LOST, None)], Standing.USABLE),
        ([(WRONG, "x")] * 9, Standing.USABLE),  # they may be its own fault
        ([(WRONG, "x"), (WRONG, "y")] * 2, Standing.DOWN),
        ([(WRONG, "x"), (WRONG, "y"), (GOOD, "x")] * 9, Standing.USABLE),
    ],
)
def test_what_counts_as_a_failure_of_a_replica(
    outcomes: list[tuple[Event, str | None]], standing: Standing
) -> None:
    replicas = pair()
    for event, caller in outcomes:
        replicas.begin("tcp://a:1")
        replicas.settle("tcp://a:1", event, 0.0, caller)
    assert dict(replicas.standings)["only tcp://a:1"] is standing
    assert replicas.choose(0.0, {"tcp://b:1"}) == "tcp://a:1"


def test_a_replica_is_probed_after_a_silence_but_not_while_it_has_to_wait() -> None:
    replicas = pair()
    replicas.ready_at["tcp://b:1"] = 40.0
    assert replicas.deadline(10.0) == 30.0
    assert replicas.due(29.0) == []
    assert replicas.due(30.0) == [("tcp://a:1", "server/discover")]
    assert replicas.deadline(30.0) == 40.0
    assert replicas.due(40.0) == [("tcp://b:1", "server/discover")]
