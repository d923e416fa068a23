"""Servers hear what clients notify them of, answer methods of extensions, and ping.

The server is :func:`tests.transports.offers.listening`.
"""

import json
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore import Callbacks, Context, ListRoots, PeerError, RuntimeSettings, Server
from mcpcore.engine.inbound import _CONSUMED
from mcpcore.service.server import LISTENED
from mcpcore.spec.errors import INVALID_PARAMS, METHOD_NOT_FOUND, LocalProtocolError
from mcpcore.spec.methods import METHODS, MethodKind
from mcpcore.spec.revisions import REVISIONS
from mcpcore_transports.client.client import Client, connect
from tests.clock import PATIENCE, patience, until
from tests.transports.offers import TRANSPORTS, offered
from tests.transports.runtime_bench import bench

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]

LEGACY = [row.name for row in REVISIONS if row.handshake]
NAMES = [row.name for row in REVISIONS]
ROOTS_CHANGED = "notifications/roots/list_changed"


async def heard(client: Client, count: int) -> Any:
    result = await client.call_tool("heard", {"count": count}, timeout=PATIENCE)
    return json.loads(result.text)


@pytest.mark.requirement("client/roots/server-handles-changes")
@pytest.mark.turns("name")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", LEGACY)
async def test_roots_are_asked_for_when_they_change(transport: str, name: str) -> None:
    callbacks = Callbacks(roots=["file:///old"])
    async with (
        offered(transport, "listening") as target,
        connect(target, revision=name, callbacks=callbacks) as client,
    ):
        client.set_roots(["file:///new"])
        client.set_roots(["file:///newer"])
        told = str(await heard(client, 2))
    assert told.count(ROOTS_CHANGED) == 2
    assert "file:///newer" in told
    assert "file:///old" not in told


@pytest.mark.turns("name")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", NAMES)
async def test_notifications_of_extensions(transport: str, name: str) -> None:
    async with offered(transport, "listening") as target, connect(target, revision=name) as client:
        client.notify("notifications/acme/typing", {"speed": "fast"})  # ignored: where is missing
        assert client.notify("notifications/acme/unknown", {})
        assert client.notify("notifications/roots/list_changed") is False  # not declared
        assert client.notify("notifications/tasks/status", {}) is False  # the server's
        with pytest.raises(LocalProtocolError, match="sent by the engine"):
            client.notify("notifications/cancelled", {"requestId": 1})
        for place in ("left", "right"):
            client.notify("notifications/acme/typing", {"where": place, "else": None})
        client.notify("notifications/acme/slow", {"word": "late"})
        told = str(await heard(client, 3))
    assert client.notify("notifications/acme/unknown", {}) is False  # the connection has ended
    assert "fast" not in told
    for word in ("left", "right", "late"):
        assert told.count(word) == 1


@pytest.mark.turns("name")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", NAMES)
async def test_what_hears_may_tell_something_in_turn(transport: str, name: str) -> None:
    told: list[str] = []
    callbacks = Callbacks(notification=lambda method, params: told.append(method))
    async with (
        offered(transport, "listening") as target,
        connect(target, revision=name, callbacks=callbacks) as client,
    ):
        client.notify("notifications/acme/echo")
        answer = await heard(client, 1)
        legacy = client.revision.server_requests
        if legacy:
            await until(lambda: told)
    assert answer == [["echo", legacy, False]]
    assert told == (["notifications/acme/heard"] if legacy else [])


@pytest.mark.turns("name")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", NAMES)
async def test_methods_of_extensions(transport: str, name: str) -> None:
    async with offered(transport, "listening") as target, connect(target, revision=name) as client:
        found = await client.request("acme/add", {"a": 2, "c": 3}, dict[str, Any])
        assert (found["sum"], found["asked"], found["told"]) == (3, "acme/add", False)
        await client.request("acme/nothing")
        for method, params, code, message in (
            ("acme/add", {"a": "2"}, INVALID_PARAMS, "params.a: Expected int, got str"),
            ("acme/add", {}, INVALID_PARAMS, "params.a: Missing required field"),
            ("acme/other", {}, METHOD_NOT_FOUND, "acme/other"),
        ):
            with pytest.raises(PeerError) as caught:
                await client.request(method, params)
            assert caught.value.code == code
            assert message in str(caught.value)
        with pytest.raises(PeerError, match="Internal error"):
            await client.request("acme/wrong")


@pytest.mark.turns("name")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", NAMES)
async def test_ping_from_a_handler(transport: str, name: str) -> None:
    async with offered(transport, "listening") as target, connect(target, revision=name) as client:
        said = await client.call_tool("there")
    expected = "there" if name in LEGACY else f"{name} has no ping"
    assert said.text == expected


@pytest.mark.turns("name")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", NAMES)
async def test_ping_at_any_later_time(transport: str, name: str) -> None:
    async with offered(transport, "listening") as target, connect(target, revision=name) as client:
        await client.call_tool("watched")
        client.notify("notifications/acme/check")
        said = await heard(client, 1)
    assert said == ["alive" if name in LEGACY else f"{name} has no ping"]


def test_what_cannot_be_declared() -> None:
    server = Server("strict")
    with pytest.raises(ValueError, match="belongs to the specification"):
        server.method("tools/call")
    server.method("acme/x")(lambda: None)
    with pytest.raises(ValueError, match="declared already"):
        server.method("acme/x")

    for method in ("notifications/cancelled", "tools/call"):
        with pytest.raises(ValueError, match=f"{method} is no notification that a server listens"):
            server.notification(method)
    heard = {row.name for row in METHODS if row.kind is MethodKind.NOTIFICATION and row.client}
    assert heard - _CONSUMED.keys() == LISTENED

    def rest(**rest: Any) -> None:
        del rest

    with pytest.raises(TypeError, match="name the members"):
        server.notification("acme/y")(rest)


class Busy(Server):
    """Hears one notification after the other, the next when the test says so."""

    def __init__(self) -> None:
        super().__init__("busy")
        self.heard: list[int] = []
        self.go_on = anyio.Event()
        self.notification("notifications/acme/number")(self._hear)

    async def _hear(self, number: int) -> None:
        self.heard.append(number)
        await self.go_on.wait()


@pytest.mark.parametrize("limit", [1, 3])
async def test_notifications_that_wait_are_bounded(
    limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    busy = Busy()
    async with bench(busy, RuntimeSettings(notifications=limit)) as made:
        made.open_legacy()
        for number in range(10):
            params = {"number": number}
            made.send({"jsonrpc": "2.0", "method": "notifications/acme/number", "params": params})
            await until(lambda: busy.heard)  # the first is at work, and waits no more
        busy.go_on.set()
        await until(lambda: len(busy.heard) >= limit + 1)
        # What comes now is heard again.
        made.send({"jsonrpc": "2.0", "method": "notifications/acme/number", "params": params})
        await until(lambda: len(busy.heard) >= limit + 2)
    assert busy.heard == [*range(limit + 1), 9]
    assert caplog.text.count("is dropped") == 9 - limit


async def test_the_notifications_of_one_principal_keep_those_of_no_other_waiting() -> None:
    busy = Busy()
    async with bench(busy) as made:
        made.open_legacy()
        for number, who in enumerate(("ann", "ann", "ben")):
            made.principal = who
            params = {"number": number}
            made.send({"jsonrpc": "2.0", "method": "notifications/acme/number", "params": params})
        await until(lambda: len(busy.heard) == 2)
        assert sorted(busy.heard) == [0, 2]
        busy.go_on.set()


class Curious(Server):
    """Asks the client, and hears how far it is."""

    def __init__(self) -> None:
        super().__init__("curious")
        self.heard: list[float] = []
        self.go_on = anyio.Event()
        self.add_tool(self._ask, "ask")

    async def _ask(self, context: Context) -> str:
        async def hear(progress: float, total: float | None, message: str | None) -> None:
            self.heard.append(progress)
            await self.go_on.wait()

        await context.ask(ListRoots(), progress=hear)
        return "asked"


async def test_reports_that_wait_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    curious = Curious()
    async with bench(curious, RuntimeSettings(reports=2)) as made:
        made.open_legacy({"roots": {}})
        call = made.post("tools/call", {"name": "ask"}, revision="2025-11-25")
        with patience():
            while not (asked := [each for each in made.sent if each.get("method") == "roots/list"]):
                await anyio.lowlevel.checkpoint()
            token = asked[0]["params"]["_meta"]["progressToken"]
            for number in range(1, 9):
                params = {"progressToken": token, "progress": number}
                message = {"method": "notifications/progress", "params": params}
                made.send({"jsonrpc": "2.0", **message})
                await until(lambda: curious.heard)
            curious.go_on.set()
            await until(lambda: len(curious.heard) >= 3)
        made.send({"jsonrpc": "2.0", "id": asked[0]["id"], "result": {"roots": []}})
        assert "result" in await made.reply(call)
    assert curious.heard == [1, 2, 3]
    assert caplog.text.count("is dropped") == 5
