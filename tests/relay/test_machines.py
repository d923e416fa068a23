"""Clients of two machines before one relay: what is meant for one gets to that one."""

from typing import Any, cast

import pytest

from mcpcore.engine import Peer
from mcpcore.engine.events import (
    NotificationReceived,
    ProgressReceived,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
)
from mcpcore.http.client.call import Recovery, StreamInterrupted
from tests.relay.bench import CELLS, LEGACY, MODERN, WALL, Backend, Handler, Scene, relayed, tools
from tests.relay.test_cells import reports
from tests.relay.test_subscriptions import CHANGED, UPDATED, changes, tell, watch

cells = pytest.mark.parametrize(("client", "server"), CELLS)


def pair(client: str, server: str, handler: Handler = tools) -> tuple[Backend, Scene, Scene]:
    """Two clients of one relay, whose keys, ids and sessions are the same."""
    quiet, backend = relayed(client, server, handler, principal="bob")
    quiet.call("echo")
    quiet.relay.called.clear()
    quiet.events.clear()
    return backend, quiet, Scene(client, backend, beside=quiet)


def check_quiet(quiet: Scene) -> None:
    """Nothing has come to the client that asked for nothing."""
    quiet.move()
    assert quiet.events == []
    assert quiet.front not in quiet.relay.called


@cells
def test_requests_and_questions(client: str, server: str) -> None:
    _, quiet, scene = pair(client, server)
    assert scene.call("echo", x=1) == "a: {'x': 1}"
    assert scene.relay.idle
    assert scene.call("ask") == "Hello Ada"
    assert scene.relay.called == {scene.front}
    check_quiet(quiet)
    scene.wait(61)
    assert scene.relay.idle


@cells
def test_what_belongs_to_a_request(client: str, server: str) -> None:
    backend, quiet, scene = pair(client, server)
    backend.handler = reports
    level = {} if client == LEGACY else {"log_level": "info"}
    scene.result("tools/call", {"name": "x"}, progress=True, **level)
    assert [event.progress for event in scene.told(ProgressReceived)] == [1, 2.5]
    # Over one stream nothing tells that the message of a modern server is not about bob's call.
    assert len(scene.told(NotificationReceived)) == (server == LEGACY)
    backend.handler = tools
    id = scene.ask("tools/call", {"name": "wait"})
    scene.cancel(id)
    assert any(isinstance(event, RequestCancelled) for event in backend.events)
    assert scene.relay.idle
    assert [event.request for event in scene.told(RequestEnded)] == [id]
    check_quiet(quiet)


@cells
def test_what_belongs_to_no_request(client: str, server: str) -> None:
    backend, quiet, scene = pair(client, server)
    scene.call("echo")
    id = watch(scene, "x:1")
    tell(backend, UPDATED, {"uri": "x:1"})
    scene.move()
    assert changes(scene) == [(UPDATED, "x:1")]
    check_quiet(quiet)
    tell(backend, CHANGED)
    for each in (scene, quiet):
        each.move()
    assert changes(scene)[1:] == [(CHANGED, None)]
    assert changes(quiet) == [(CHANGED, None)] * (client == LEGACY)  # which hears of it unasked
    if client == MODERN:
        scene.client.cancel(id, now=0.0)
    else:
        scene.result("resources/unsubscribe", {"uri": "x:1"})
    scene.move()
    tell(backend, UPDATED, {"uri": "x:1"})
    scene.move()
    assert len(changes(scene)) == 2


def test_the_session_of_a_legacy_client() -> None:
    backend, quiet, scene = pair(LEGACY, LEGACY)
    scene.answers = None
    scene.call("echo")
    scene.result("logging/setLevel", {"level": "error"})
    link, _, far = backend.wires[-1]
    asked = far.request("roots/list", {}, now=0.0)
    far.log(None, "error", "broken", "logger")
    far.notify("notifications/acme", {"a": 1})
    scene.client.notify("notifications/acme/other", {"b": 2})
    scene.move()
    assert len(scene.told(RequestReceived)) == 1
    assert [each.method for each in scene.told(NotificationReceived)] == [
        "notifications/message",
        "notifications/acme",
    ]
    heard = [each for each in backend.events if isinstance(each, NotificationReceived)]
    assert [each.method for each in heard] == ["notifications/acme/other"]
    far.cancel(asked, now=0.0)
    scene.move()
    assert len(scene.told(RequestCancelled)) == 1
    check_quiet(quiet)
    scene.leave()
    assert link.ended
    assert quiet.call("echo") == "a: {}"
    assert len(backend.wires) == 3  # the first tells the era, each session has one


@cells
def test_a_machine_that_has_ended_is_told_nothing_more(client: str, server: str) -> None:
    backend, quiet, scene = pair(client, server)
    scene.ask("tools/call", {"name": "wait"})
    watch(scene, "x:1")
    peer, key = backend.waiting["call"]
    scene.front.receive_eof(now=0.0)
    scene.relay.called.clear()
    scene.move()
    if server == LEGACY:
        peer.notify("notifications/acme", {})
    peer.log(key, "error", "broken")
    tell(backend, UPDATED, {"uri": "x:1"})
    scene.relay.called.clear()
    scene.move()
    assert scene.relay.called == set()
    assert scene.front.lines_to_send() == b""
    assert quiet.call("echo") == "a: {}"


@pytest.mark.parametrize(("callers", "heard"), [(1, [1, 0]), (2, [0, 0])])
def test_connections_without_a_principal_do_not_hear_each_others_logs(
    callers: int, heard: list[int]
) -> None:
    ends: list[Peer] = []
    first, backend = relayed(
        MODERN, LEGACY, lambda _, peer, event: ends.append(peer), principal=None
    )
    other = Scene(MODERN, backend, beside=first, principal=None)
    for scene in (first, other)[:callers]:
        scene.ask("tools/call", {"name": "x"}, log_level="debug")
    ends[0].log(None, "error", "of a call")
    for scene in (first, other):
        scene.move()
    assert [len(scene.told(NotificationReceived)) for scene in (first, other)] == heard


def test_a_connection_hears_its_logs_after_calls_of_others_without_a_principal() -> None:
    ends: list[Peer] = []

    def act(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        ends.append(peer)
        if len(ends) == 1:
            tools(backend, peer, event)

    first, backend = relayed(MODERN, LEGACY, act, principal=None)
    other = Scene(MODERN, backend, beside=first, principal=None)
    first.call("echo")
    other.ask("tools/call", {"name": "x"}, log_level="debug")
    ends[1].log(None, "error", "of a call")
    for scene in (first, other):
        scene.move()
    assert [len(scene.told(NotificationReceived)) for scene in (first, other)] == [0, 1]


@pytest.mark.parametrize(
    ("levels", "heard"),
    [
        ((None,), [1]),
        (("debug",), [1]),
        (("critical",), [0]),
        (("debug", None), [1, 0]),
        ((None, None), [0, 0]),
        (("debug", "critical"), [1, 0]),
        (("critical", "debug"), [0, 1]),
    ],
)
def test_sessions_that_share_a_conversation_have_levels_of_their_own(
    levels: tuple[str | None, ...], heard: list[int]
) -> None:
    """Nothing tells whose the message is: those hear it that have asked for any."""
    first, backend = relayed(LEGACY, LEGACY)
    first.relay.targets["a"].shared = True
    scenes = [first, *(Scene(LEGACY, backend, beside=first) for _ in levels[1:])]
    for scene, level in zip(scenes, levels, strict=True):
        if level is not None:
            scene.result("logging/setLevel", {"level": level})
        scene.ask("tools/call", {"name": "wait"})
    peer, _ = backend.waiting["call"]
    peer.log(None, "error", "of a call")
    for scene in scenes:
        scene.move()
    assert [len(scene.told(NotificationReceived)) for scene in scenes] == heard


class StandIn:
    """Object that hands on the answers for a machine of clients."""

    def __init__(self, machine: Peer) -> None:
        self.machine = machine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.machine, name)


def test_a_connection_with_a_stand_in_does_not_poll() -> None:
    scene, backend = relayed(LEGACY, LEGACY)
    scene.relay.stand_ins[scene.front] = cast(Any, StandIn(scene.front))
    id = scene.ask("tools/call", {"name": "wait"})
    [link] = [each for each, _, _ in backend.wires if each.calls]
    polled = StreamInterrupted(
        request=next(iter(link.calls)),
        recovery=Recovery.RESUME,
        attempt=1,
        delay=1.0,
        reason="polling",
    )
    scene.relay.from_server(link, polled, now=0.0, wall=WALL)
    peer, key = backend.waiting["call"]
    peer.respond(key, {"content": []})
    scene.move()
    assert [event.request for event in scene.told(ResultReceived)][-1] == id
