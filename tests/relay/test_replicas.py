"""Replicas of a server behind a relay: which of them a request goes to."""

from collections.abc import Collection, Hashable
from itertools import cycle
from typing import Any

import pytest

from mcpcore.engine import Peer
from mcpcore.engine.events import (
    Event,
    NotificationReceived,
    RequestReceived,
    ResultReceived,
)
from mcpcore.relay.settings import RelaySettings
from tests.relay.bench import CELLS, LEGACY, MODERN, Backend, Scene, tools

ERAS = (LEGACY, MODERN)


class Turns:
    """Replicas that take turns."""

    names = ("x", "y", "z")

    def __init__(self) -> None:
        self._turns = cycle("yzx")
        self.open: list[str] = []
        """Replicas of the requests that have no outcome."""

    def choose(self, now: float, without: Collection[str]) -> str:
        return next(name for name in self._turns if name not in without)

    def begin(self, name: str) -> None:
        self.open.append(name)

    def settle(self, name: str, event: Event, now: float, caller: Hashable) -> None:
        self.open.remove(name)


class Elsewhere:
    """Guard that sends a call whose replica cannot be reached to another one, once."""

    open = False

    def admit(self, *given: Any) -> object:
        return self

    def settle(self, *given: Any) -> None:
        """Nothing is counted."""

    def again(self, call: Any, event: Event, now: float) -> float | None:
        again = not call.tried and call.link.replica in call.link.target.gone
        call.tried.add(call.link.replica)
        return 0.0 if again else None


class Replicated(Backend):
    """A server with three replicas."""

    def __init__(self, revision: str) -> None:
        super().__init__("a", revision, tools)
        self.replicas = self.turns = Turns()
        self.called: list[str] = []
        """Replicas that have got calls, in their order."""
        self.deaf: set[str] = set()
        """Replicas that answer no request for a list."""
        self.listed: list[str] = []
        """Replicas that have got requests for lists, in their order."""

    def take(self, peer: Peer, event: Event) -> None:
        if isinstance(event, RequestReceived) and event.method == "tools/call":
            self.called.append(self.of(peer))
        if isinstance(event, RequestReceived) and event.method == "tools/list":
            self.listed.append(self.of(peer))
            if self.of(peer) in self.deaf:
                return
        super().take(peer, event)

    def of(self, peer: Peer) -> str:
        """Return the replica at the far end of a conversation."""
        return next(link.replica for link, _, far in self.wires if far is peer)

    def open(self) -> list[str]:
        """Replicas of the conversations that have not ended."""
        return [link.replica for link, *_ in self.wires if not link.ended]

    def lose(self, scene: Scene, *names: str) -> None:
        """End the conversations with some replicas."""
        for link, near, _ in list(self.wires):
            if link.replica in names and not link.ended:
                near.receive_eof(now=scene.now)
        scene.move()


def guarded(client: str, server: str, **more: Any) -> tuple[Scene, Replicated]:
    backend = Replicated(server)
    scene = Scene(client, backend, **more)
    scene.relay.targets["a"].guard = Elsewhere()
    return scene, backend


@pytest.mark.parametrize(("client", "server"), CELLS)
def test_requests_are_spread_in_the_modern_era_and_stay_in_the_legacy_one(
    client: str, server: str
) -> None:
    scene, backend = guarded(client, server)
    for _ in range(6):
        scene.call("echo")
    assert len(backend.called) == 6
    assert len(set(backend.called)) == (3 if server == MODERN else 1)
    assert backend.turns.open == []


@pytest.mark.parametrize(("client", "server"), CELLS)
def test_a_call_goes_on_at_another_replica_where_that_is_allowed(client: str, server: str) -> None:
    scene, backend = guarded(client, server)
    id = scene.ask("tools/call", {"name": "wait", "arguments": {}})
    [first] = backend.called
    backend.lose(scene, first)
    scene.wait(0.0)
    assert [first, *set(backend.called[1:])] == backend.called
    assert first != backend.called[1]
    peer, key = backend.waiting["call"]
    peer.respond(key, {"content": []})
    scene.move()
    assert [event.request for event in scene.told(ResultReceived)] == [id]
    assert backend.turns.open == []


@pytest.mark.parametrize(("client", "server"), CELLS)
def test_a_merged_list_is_asked_of_another_replica(client: str, server: str) -> None:
    backend = Replicated(server)
    backend.deaf = {*Turns.names}
    scene = Scene(client, backend, Backend("b", server, tools))
    id = scene.ask("tools/list")
    [first] = backend.listed
    backend.deaf = {first}
    backend.lose(scene, first)
    assert [first, *set(backend.listed[1:])] == backend.listed
    assert first != backend.listed[1]
    [answer] = [event for event in scene.told(ResultReceived) if event.request == id]
    assert b'"a__echo"' in bytes(answer.result)


@pytest.mark.parametrize("server", ERAS)
def test_a_server_is_away_once_all_its_replicas_are(server: str) -> None:
    scene, backend = guarded(LEGACY, server)
    target = scene.relay.targets["a"]
    for _ in range(3):
        scene.call("echo")
    backend.down = True  # what is opened from now on is not answered
    first, *others = sorted({*backend.open()})
    backend.lose(scene, first)
    assert (target.gone, target.away) == ({first}, None)
    backend.lose(scene, *others)
    for _ in Turns.names:
        scene.ask("tools/list")
        backend.lose(scene, *Turns.names)
    assert (target.gone, target.away) == ({*Turns.names}, 0.0)
    assert scene.told(NotificationReceived) == []  # for the grace time its lists stay


def test_a_request_waits_for_another_replica_while_the_era_is_not_known() -> None:
    backend = Replicated(MODERN)
    backend.down = True
    scene = Scene(LEGACY, backend)
    id = scene.ask("tools/call", {"name": "echo", "arguments": {}})
    backend.lose(scene, "y")
    backend.down = False
    scene.move()
    [answer] = [event for event in scene.told(ResultReceived) if event.request == id]
    assert b"a: {}" in bytes(answer.result)
    assert backend.called == ["x"]


def test_requests_avoid_a_replica_that_was_lost() -> None:
    scene, backend = guarded(LEGACY, MODERN)
    backend.lose(scene, "x")
    for _ in range(6):
        scene.call("echo")
    assert set(backend.called) == {"y", "z"}


@pytest.mark.parametrize(("client", "server"), CELLS)
def test_a_probe_moves_no_conversation_of_a_client(client: str, server: str) -> None:
    """... not even if it declares as little as a probe does."""
    scene, backend = guarded(client, server, principal=None, capabilities={})
    for _ in range(2):
        scene.call("echo")
    home, method = backend.called[-1], "server/discover" if server == MODERN else "ping"
    for name in (*Turns.names, *Turns.names):
        scene.relay.probe(scene.relay.targets["a"], name, method, now=scene.now)
        scene.move()
    assert set(backend.open()) == {*Turns.names}
    assert backend.turns.open == []
    for _ in range(3):
        scene.call("echo")
    assert set(backend.called) == ({*Turns.names} if server == MODERN else {home})


@pytest.mark.parametrize(
    ("server", "method", "limits"),
    [(LEGACY, "ping", {"links_per_principal": 1}), (MODERN, "server/discover", {"links": 1})],
)
def test_there_is_room_for_probes_beside_the_conversations_of_clients(
    server: str, method: str, limits: dict[str, Any]
) -> None:
    backend = Replicated(server)
    backend.personal = server == MODERN
    settings = RelaySettings(**limits)
    scene = Scene(MODERN, backend, principal=None, capabilities={}, settings=settings)
    scene.ask("tools/call", {"name": "wait"})
    for name in Turns.names:
        scene.relay.probe(scene.relay.targets["a"], name, method, now=scene.now)
    scene.move()
    assert set(backend.open()) == {*Turns.names}


@pytest.mark.parametrize(("server", "method"), [(LEGACY, "ping"), (MODERN, "server/discover")])
def test_a_personal_server_is_probed_in_the_name_of_the_relay(server: str, method: str) -> None:
    """A client that is not authenticated, whom "" stands for, would have no token there."""
    backend = Replicated(server)
    backend.personal = True
    scene = Scene(MODERN, backend)
    scene.call("echo")
    for name in Turns.names:
        scene.relay.probe(scene.relay.targets["a"], name, method, now=scene.now)
    scene.move()
    assert {link.audience.principal for link, *_ in backend.wires} == {None, "ann"}
    assert {*backend.open()} == {*Turns.names}
    assert backend.turns.open == []
