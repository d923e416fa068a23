"""Requests that a server's guard lets through, and what their outcomes tell it."""

from typing import Any

import pytest

from mcpcore.engine import Peer
from mcpcore.engine.events import (
    ErrorReceived,
    Fault,
    FaultKind,
    NegotiationFailed,
    RequestReceived,
    ResultReceived,
)
from mcpcore.policy.breaker import BreakerSettings, Circuit, Permit
from mcpcore.relay.link import ListsUnread, Outcome, void
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData
from mcpcore_transports.gateway.guard import ServerGuard
from mcpcore_transports.gateway.settings import GatewaySettings
from tests.relay.bench import ANSWER, LEGACY, MODERN, Backend, Scene, relayed, tools
from tests.relay.test_http import Web
from tests.relay.test_subscriptions import changes, watch


def guard(scene: Scene | Web, name: str, **breaker: Any) -> ServerGuard:
    """Give a server a guard with a circuit breaker, and no retries."""
    settings = GatewaySettings(retry=None, breaker=BreakerSettings(**breaker))
    made = scene.relay.targets[name].guard = ServerGuard(name, settings)
    return made


def circuit(made: ServerGuard) -> Circuit:
    assert made.breaker is not None
    return made.breaker.state


def crash(scene: Scene, backend: Backend) -> None:
    """End a server's conversations in the middle of a call."""
    scene.ask("tools/call", {"name": "wait"})
    scene.lose(backend, reason="crashed")


def test_a_session_that_ends_its_own_conversations_keeps_no_other_from_the_server() -> None:
    ann, backend = relayed(LEGACY, LEGACY)
    bob = Scene(LEGACY, backend, beside=ann, principal="bob")
    made = guard(ann, "a", consecutive=3)
    for _ in range(3):
        crash(ann, backend)
    assert circuit(made) is Circuit.CLOSED
    crash(bob, backend)
    assert circuit(made) is Circuit.OPEN


@pytest.mark.parametrize("personal", [True, False])
def test_a_server_that_opens_no_conversation_for_one_principal(personal: bool) -> None:
    """Where it gets the credentials of each, they may be the reason."""
    backend = Backend("a", LEGACY, tools)
    backend.personal = personal
    ann = Scene(MODERN, backend)
    bob = Scene(MODERN, backend, beside=ann, principal="bob")
    made = guard(ann, "a", consecutive=2)
    backend.down, states = True, list[Circuit]()
    for scene in (ann, ann, bob):
        scene.ask("tools/call", {"name": "echo"})
        failed = NegotiationFailed("status 503", fault=Fault(FaultKind.STATUS, status=503))
        scene.relay.from_server(backend.wires[-1][0], failed, now=scene.now, wall=0.0)
        states.append(circuit(made))
    assert states == [Circuit.CLOSED, Circuit.CLOSED if personal else Circuit.OPEN, Circuit.OPEN]


def slow_lists(backend: Backend, peer: Peer, event: RequestReceived) -> None:
    if event.method != "tools/list":
        tools(backend, peer, event)


def test_clients_that_leave_say_nothing_of_the_server() -> None:
    backends = [Backend(name, LEGACY, slow_lists) for name in "ab"]
    scene = Scene(LEGACY, *backends)
    made = guard(scene, "a", consecutive=2)
    for _ in range(3):
        other = Scene(LEGACY, *backends, beside=scene, principal="mallory")
        other.ask("tools/list")
        other.leave()
    assert circuit(made) is Circuit.CLOSED
    assert scene.call("a__echo") == "a: {}"


def test_a_listen_stream_that_opens_is_a_probe_that_succeeded() -> None:
    scene, backend = relayed(LEGACY, MODERN)
    made = guard(scene, "a", consecutive=1, open_time=10.0)
    crash(scene, backend)
    assert circuit(made) is Circuit.OPEN
    while circuit(made) is Circuit.OPEN and scene.now < 60:
        scene.wait(2.0)
    assert circuit(made) is Circuit.CLOSED
    assert isinstance(scene.ask("tools/call", {"name": "echo"}), ResultReceived)


def test_a_probe_that_cannot_be_sent_leaves_room_for_the_next() -> None:
    scene, backend = relayed(MODERN, LEGACY)
    made = guard(scene, "a", consecutive=1, open_time=10.0)
    crash(scene, backend)
    scene.wait(10.0)
    target = scene.relay.targets["a"]
    link = scene.relay.conversations.link(target, backend.wires[-1][0].audience)
    refused: list[Outcome] = []
    assert scene.relay.ask(link, "tools/list", {"cursor": object()}, refused.append) is None
    assert len(refused) == 1
    assert circuit(made) is Circuit.HALF_OPEN


@pytest.mark.parametrize("request_of", ["client", "relay"])
def test_errors_that_one_client_gets_do_not_keep_others_from_a_server(request_of: str) -> None:
    def broken(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.fail(event.key, ErrorData(INTERNAL_ERROR, "this cannot be read"))

    scene = Scene(MODERN, *(Backend(name, LEGACY, broken) for name in "ab"))
    made = guard(scene, "a", consecutive=2)
    for _ in range(3):
        if request_of == "client":
            assert "cannot be read" in scene.error("resources/read", {"uri": "a+x:1"}).message
        else:  # which merges lists
            assert "a" in scene.result("tools/list")["_meta"]["mcpcore/unavailable"]
    assert circuit(made) is Circuit.CLOSED


def erring(backend: Backend, peer: Peer, event: RequestReceived) -> None:
    """Answer calls of the tool ``x`` with an error that blames the server."""
    if b'"x"' not in bytes(event.params):
        tools(backend, peer, event)
    else:
        peer.fail(event.key, ErrorData(INTERNAL_ERROR, "out of order"))


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
@pytest.mark.parametrize("callers", ["principals", "connections"])
def test_a_server_that_answers_every_caller_with_errors(revision: str, callers: str) -> None:
    backend = Backend("a", LEGACY, erring)
    names = ("ann", "bob") if callers == "principals" else (None, None)
    first = Scene(revision, backend, principal=names[0])
    other = Scene(revision, backend, beside=first, principal=names[1])
    made = guard(first, "a", consecutive=4, open_time=10.0)
    for scene in (first, first, first, first, other):
        assert circuit(made) is Circuit.CLOSED
        assert scene.error("tools/call", {"name": "x"}).message == "out of order"
    assert circuit(made) is Circuit.OPEN
    assert "a: the server keeps failing" in first.error("tools/call", {"name": "echo"}).message
    first.now = other.now = 10.0
    before = len(backend.requests())
    first.client.request("tools/call", {"name": "wait"}, now=first.now)
    first.move()
    assert "circuit breaker" in other.error("tools/call", {"name": "echo"}).message
    assert len(backend.requests()) == before + 1


@pytest.mark.parametrize(
    ("other", "state"),
    [
        ("192.0.2.1:2", Circuit.CLOSED),  # another connection
        ("[::ffff:192.0.2.1]:2", Circuit.CLOSED),
        ("192.0.2.2:1", Circuit.OPEN),
    ],
)
def test_clients_without_sign_in_or_session_are_told_apart_by_address(
    other: str, state: Circuit
) -> None:
    web = Web(MODERN, MODERN, Backend("a", MODERN, erring))
    made = guard(web, "a", consecutive=2)
    for web.front.peer in ("192.0.2.1:1", "192.0.2.1:1", other):
        assert web.ask("tools/call", {"name": "x"}) is None
    assert circuit(made) is state


@pytest.mark.parametrize("probe_of", ["ann", "eve", "relay"])
def test_an_error_of_a_probe_opens_the_breaker_for_longer(probe_of: str) -> None:
    """Anybody's result closes it."""
    backends = [Backend("a", LEGACY, erring), Backend("b", LEGACY, tools)]
    ann = Scene(MODERN, *backends)
    bob, eve = (Scene(MODERN, *backends, beside=ann, principal=name) for name in ("bob", "eve"))
    made = guard(ann, "a", consecutive=2, open_time=10.0, growth=3.0)
    for scene in (ann, bob):
        scene.ask("tools/call", {"name": "a__x"})
    ann.now = bob.now = eve.now = 10.0
    if probe_of == "relay":  # which reads the lists of all servers
        target = ann.relay.targets["a"]
        link = ann.relay.conversations.link(target, backends[0].wires[-1][0].audience)
        ann.relay.now = 10.0
        ann.relay.ask(link, "tools/call", {"name": "x"}, void)
        ann.move()
    else:
        {"ann": ann, "eve": eve}[probe_of].ask("tools/call", {"name": "a__x"})
    assert circuit(made) is Circuit.OPEN
    ann.now = bob.now = 39.0
    if probe_of == "eve":  # who waits longer alone
        assert bob.call("a__echo") == "a: {}"
    else:
        assert "circuit breaker" in ann.error("tools/call", {"name": "a__echo"}).message
        ann.now = 40.0
        assert ann.call("a__echo") == "a: {}"
    assert circuit(made) is Circuit.CLOSED


def test_the_retry_of_an_input_round_passes_the_breaker() -> None:
    scene = Scene(LEGACY, Backend("a", MODERN, tools))
    made = guard(scene, "a", consecutive=1)
    scene.answers = None
    scene.ask("tools/call", {"name": "ask"})
    [question] = scene.told(RequestReceived)
    assert made.breaker is not None
    made.breaker.record(Permit(0), failed=True, now=0.0)
    scene.client.respond(question.key, ANSWER)
    scene.move()
    [refused] = scene.told(ErrorReceived)
    assert "circuit breaker" in refused.error.message


def test_clients_hear_of_a_server_whose_breaker_has_closed() -> None:
    backends = [Backend(name, MODERN, erring) for name in "ab"]
    scene = Scene(MODERN, *backends)
    made = guard(scene, "a", consecutive=2, open_time=10.0)
    other = Scene(MODERN, *backends, beside=scene, principal="bob")
    watch(scene)
    tools_before = scene.result("tools/list")["tools"]
    for each in (scene, other):
        each.error("tools/call", {"name": "a__x"})
    assert circuit(made) is Circuit.OPEN
    assert scene.result("tools/list")["tools"] == tools_before  # for the grace time
    scene.wait(10.0)
    told = len(changes(scene))
    assert scene.call("a__echo") == "a: {}"
    scene.wait(1.0)
    assert len(changes(scene)) > told


@pytest.mark.parametrize(("seconds", "attempts"), [(50.0, 2), (59.999999, 1)])
def test_all_attempts_of_a_call_have_its_time_together(seconds: float, attempts: int) -> None:
    """None is made for which no time is left."""
    scene, backend = relayed(
        MODERN, LEGACY, lambda *_: None, settings=RelaySettings(call_timeout=60.0)
    )
    scene.relay.targets["a"].guard = ServerGuard("a", GatewaySettings(breaker=None))
    scene.ask("resources/read", {"uri": "x:1"}, timeout=None)
    scene.wait(seconds)
    scene.lose(backend, reason="crashed")
    if attempts == 2:
        scene.wait(1.0)
        assert scene.told(ErrorReceived) == []
        scene.wait(9.0)
    assert len(backend.requests("resources/read")) == attempts
    assert len(scene.told(ErrorReceived)) == 1


def test_a_method_makes_no_lines_of_its_own_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mcpcore.gateway")
    scene, backend = relayed(LEGACY, LEGACY, lambda *_: None)
    scene.relay.targets["a"].guard = ServerGuard("a", GatewaySettings())
    scene.ask("acme/x\nforged: a line")
    scene.lose(backend, reason="crashed")
    [told] = [each.getMessage() for each in caplog.records]
    assert told.startswith("a: acme/x?forged: a line: RetryDenied(")


@pytest.mark.parametrize("outcome", ["compared", "not listed", "cancelled"])
@pytest.mark.parametrize("server", [LEGACY, MODERN])
def test_a_list_is_read_before_a_call_that_its_guard_has_not_compared(
    server: str, outcome: str
) -> None:
    class Comparing:
        """A guard that admits calls once a list was read that has their tools."""

        open = False
        compared = False

        def admit(self, now: float, method: str, params: Any, caller: Any = None) -> None:
            if method == "tools/call" and not self.compared:
                raise ListsUnread("list it first", ["tools/list"])

        def settle(self, permit: Any, event: Any, now: float, caller: Any = None) -> None:
            self.compared |= event.method == "tools/list" and outcome != "not listed"

        def again(self, call: Any, event: Any, now: float) -> None:
            return None

    lists: list[tuple[Peer, RequestReceived]] = []

    def listed(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if event.method == "tools/list":
            lists.append((peer, event))
        else:
            tools(backend, peer, event)

    scene, backend = relayed(MODERN, server, listed)
    scene.relay.targets["a"].guard = Comparing()
    call = scene.client.request("tools/call", {"name": "echo"}, now=scene.now)
    scene.move()
    [(peer, event)] = lists  # read once for a call, whatever it has
    if outcome == "cancelled":
        scene.cancel(call)
    tools(backend, peer, event)
    scene.move()
    assert len(lists) == 1
    assert scene.relay.idle
    assert len(backend.requests("tools/call")) == (outcome == "compared")
    assert len(scene.told(ResultReceived)) == (outcome == "compared")
    errors = [each.error.message for each in scene.told(ErrorReceived)]
    assert errors == (["a: list it first"] if outcome == "not listed" else [])
