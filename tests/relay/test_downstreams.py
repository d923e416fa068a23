"""Clients of several machines before one relay: what is meant for one gets to that one."""

import pytest

from mcpcore.engine.events import (
    NotificationReceived,
    ProgressReceived,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
)
from mcpcore.spec.errors import LocalProtocolError
from tests.relay.bench import CELLS, LEGACY, MODERN, Backend, Scene, tools
from tests.relay.test_cells import reports
from tests.relay.test_subscriptions import CHANGED, UPDATED, changes, tell, watch

cells = pytest.mark.parametrize(("client", "server"), CELLS)
places = pytest.mark.parametrize(("place", "prefix"), [(0, None), (1, None), (2, "p-"), (0, "p-")])


@cells
@places
def test_requests_and_questions(client: str, server: str, place: int, prefix: str | None) -> None:
    scene = Scene(client, Backend("a", server, tools), place=place, prefix=prefix)
    assert scene.call("echo") == "a: {}"
    assert scene.call("ask") == "Hello Ada"
    assert scene.machines.used == {place}
    scene.wait(61)
    assert scene.relay.idle


@cells
@places
def test_what_belongs_to_a_request(
    client: str, server: str, place: int, prefix: str | None
) -> None:
    backend = Backend("a", server, reports)
    scene = Scene(client, backend, place=place, prefix=prefix)
    level = {} if client == LEGACY else {"log_level": "info"}
    scene.result("tools/call", {"name": "x"}, progress=True, **level)
    assert [event.progress for event in scene.told(ProgressReceived)] == [1, 2.5]
    assert len(scene.told(NotificationReceived)) == 1
    backend.handler = tools
    id = scene.ask("tools/call", {"name": "wait"})
    scene.client.cancel(id, now=0.0)
    scene.move()
    assert any(isinstance(event, RequestCancelled) for event in backend.events)
    assert scene.relay.idle
    assert [event.request for event in scene.told(RequestEnded)] == [id]


@cells
@places
def test_what_belongs_to_no_request(
    client: str, server: str, place: int, prefix: str | None
) -> None:
    backend = Backend("a", server, tools)
    scene = Scene(client, backend, place=place, prefix=prefix)
    scene.call("echo")
    id = watch(scene, "x:1")
    tell(backend, UPDATED, {"uri": "x:1"})
    tell(backend, CHANGED)
    scene.move()
    assert changes(scene) == [(UPDATED, "x:1"), (CHANGED, None)]
    if client == MODERN:
        scene.client.cancel(id, now=0.0)
    else:
        scene.result("resources/unsubscribe", {"uri": "x:1"})
    scene.move()
    tell(backend, UPDATED, {"uri": "x:1"})
    scene.move()
    assert len(changes(scene)) == 2


@places
def test_the_session_of_a_legacy_client(place: int, prefix: str | None) -> None:
    backend = Backend("a", LEGACY, tools)
    scene = Scene(LEGACY, backend, place=place, prefix=prefix)
    scene.answers = None
    scene.call("echo")
    scene.result("logging/setLevel", {"level": "error"})
    link, _, far = backend.wires[-1]
    asked = far.request("roots/list", {}, now=0.0)
    far.log(None, "error", "broken", "logger")
    far.notify("notifications/acme", {"a": 1})
    scene.client.notify("notifications/acme/other", {"b": 2})
    scene.move()
    [question] = scene.told(RequestReceived)
    assert isinstance(question.id, int) is (prefix is None)
    assert [each.method for each in scene.told(NotificationReceived)] == [
        "notifications/message",
        "notifications/acme",
    ]
    assert any(isinstance(each, NotificationReceived) for each in backend.events)
    far.cancel(asked, now=0.0)
    scene.move()
    assert len(scene.told(RequestCancelled)) == 1
    scene.front.receive_eof(now=0.0)
    scene.move()
    assert link.ended
    assert link.audience.session == ("" if place == 0 else f"/{place}/")


@cells
def test_a_machine_that_is_gone_is_called_no_more(client: str, server: str) -> None:
    backend = Backend("a", server, tools)
    scene = Scene(client, backend, place=1)
    scene.ask("tools/call", {"name": "wait"})
    watch(scene, "x:1")
    scene.front.lines_to_send()
    scene.machines.remove(1)
    assert scene.machines.used == set()
    peer, key = backend.waiting["call"]
    if server == LEGACY:
        peer.request("roots/list", {}, now=0.0, parent=key)
        peer.notify("notifications/acme", {})
    peer.log(key, "error", "broken")
    peer.progress(key, 1)
    tell(backend, UPDATED, {"uri": "x:1"})
    peer.respond(key, {"content": []})
    scene.move()
    assert scene.machines.used == set()
    assert scene.front.lines_to_send() == b""
    with pytest.raises(LocalProtocolError, match="has ended"):
        scene.machines.request("roots/list", now=0.0, session="/1/")
    assert scene.machines.add(scene.front) == 2


def test_a_machine_without_streams_to_close() -> None:
    scene = Scene(LEGACY, Backend("a", LEGACY, tools), place=1)
    scene.ask("tools/call", {"name": "wait"})
    assert scene.machines.close_stream(1 << 48, now=0.0) is False
