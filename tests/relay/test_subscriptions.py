"""Changes of servers of either era, told to clients of either era."""

from typing import Any

import pytest
from msgspec import json, structs

from mcpcore.engine import Limits, Peer
from mcpcore.engine.events import (
    ErrorReceived,
    NotificationReceived,
    RequestReceived,
    ResourceSubscribed,
    SubscriptionAcknowledged,
    SubscriptionClosed,
    SubscriptionNotification,
    SubscriptionOpened,
)
from mcpcore.relay.names import Naming
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.errors import INVALID_PARAMS, RESOURCE_NOT_FOUND, ErrorData
from tests.engine.bench import SERVER_ALL
from tests.relay.bench import CELLS, LEGACY, MODERN, Backend, Scene, relayed, tools

cells = pytest.mark.parametrize(("client", "server"), CELLS)
UPDATED, CHANGED = "notifications/resources/updated", "notifications/tools/list_changed"


def watch(scene: Scene, *uris: str, lists: bool = True) -> Any:
    """Ask for changes as the era of the client does; return the id of a listen stream."""
    if scene.client.revision is not None and scene.client.revision.modern:
        wanted = {"resourceSubscriptions": list(uris), "toolsListChanged": lists}
        return scene.ask("subscriptions/listen", {"notifications": wanted})
    for uri in uris:
        assert scene.result("resources/subscribe", {"uri": uri}) == {}
    return None


def changes(scene: Scene) -> list[tuple[str, Any]]:
    """What the client has heard, without ids of streams."""
    found = []
    for event in scene.told(NotificationReceived) + scene.told(SubscriptionNotification):
        params = json.decode(event.params)
        params.pop("_meta", None)
        found.append((event.method, params.get("uri")))
    return found


def tell(backend: Backend, method: str, params: Any = None) -> None:
    """Let a server announce a change in all of its conversations."""
    for _, _, far in backend.wires:
        far.notify(method, params)


@cells
def test_changes_that_were_asked_for(client: str, server: str) -> None:
    scene, backend = relayed(client, server)
    watch(scene, "x:1", "x:2")
    for uri in ("x:1", "x:3"):
        tell(backend, UPDATED, {"uri": uri})
    tell(backend, CHANGED)
    scene.move()
    assert changes(scene) == [(UPDATED, "x:1"), (CHANGED, None)]
    for event in scene.told(NotificationReceived):  # no id of a stream is the client's business
        assert "_meta" not in json.decode(event.params)


@cells
@pytest.mark.parametrize("naming", [Naming.ON_CONFLICT, Naming.NEVER])
def test_a_resource_that_only_lists_tell_of(client: str, server: str, naming: Naming) -> None:
    backends = [Backend(name, server, tools) for name in "ab"]
    scene = Scene(client, *backends, settings=RelaySettings(naming=naming))
    watch(scene, "file:///b", lists=False)
    tell(backends[1], UPDATED, {"uri": "file:///b"})
    scene.move()
    assert changes(scene) == [(UPDATED, "file:///b")]
    if client == MODERN:
        [event] = scene.told(SubscriptionAcknowledged)
        assert event.filter.resource_subscriptions == ["file:///b"]
    else:
        for method in ("resources/subscribe", "resources/unsubscribe"):
            assert scene.error(method, {"uri": "file:///c"}).code == RESOURCE_NOT_FOUND


@pytest.mark.parametrize("server", [LEGACY, MODERN])
def test_an_acknowledgement_tells_what_the_server_announces(server: str) -> None:
    capabilities = {**SERVER_ALL, "tools": {}}
    scene = Scene(MODERN, Backend("a", server, tools, **capabilities))
    watch(scene, "x:1")
    [event] = scene.told(SubscriptionAcknowledged)
    assert event.filter.resource_subscriptions == ["x:1"]
    assert not event.filter.tools_list_changed


@cells
def test_the_end_of_interest_is_told_to_the_server(client: str, server: str) -> None:
    scene, backend = relayed(client, server)
    id = watch(scene, "x:1")
    if client == MODERN:
        scene.client.cancel(id, now=0.0)
    else:
        scene.result("resources/unsubscribe", {"uri": "x:1"})
    scene.move()
    tell(backend, UPDATED, {"uri": "x:1"})
    scene.move()
    assert changes(scene) == []
    if server == LEGACY:
        ends = [event for event in backend.events if isinstance(event, ResourceSubscribed)]
        assert [event.active for event in ends] == [True, False]


def refuses(backend: Backend, peer: Peer, event: RequestReceived) -> None:
    raise AssertionError("the engine answers all requests of this test")


def test_a_session_s_stream_is_replaced_before_the_old_one_ends() -> None:
    scene, backend = relayed(LEGACY, MODERN, refuses)
    watch(scene, "x:1", "x:2")
    kinds = (SubscriptionOpened, SubscriptionClosed)
    found = [type(event).__name__ for event in backend.events if isinstance(event, kinds)]
    opened, closed = "SubscriptionOpened", "SubscriptionClosed"
    assert found == [opened, opened, closed, opened, closed]


@pytest.mark.parametrize("client", [LEGACY, MODERN])
def test_a_resource_that_no_server_has(client: str) -> None:
    backends = [Backend(name, LEGACY, tools) for name in ("a", "b")]
    scene = Scene(client, *backends)
    if client == LEGACY:
        end = scene.ask("resources/subscribe", {"uri": "c+x:1"})
        assert isinstance(end, ErrorReceived)
        assert end.error.code == -32002
        assert scene.error("resources/subscribe", {}).code == INVALID_PARAMS
    else:
        watch(scene, "c+x:1")
        [event] = scene.told(SubscriptionAcknowledged)
        assert event.filter.resource_subscriptions == []


@cells
def test_several_servers_are_watched_by_their_names(client: str, server: str) -> None:
    backends = [Backend(name, server, tools) for name in ("a", "b")]
    scene = Scene(client, *backends)
    watch(scene, "a+x:1", "b+x:2")
    for backend in backends:
        for uri in ("x:1", "x:2"):
            tell(backend, UPDATED, {"uri": uri})
    scene.move()
    assert sorted(changes(scene)) == [(UPDATED, "a+x:1"), (UPDATED, "b+x:2")]


@cells
def test_what_was_subscribed_to_at_a_lost_server_is_again(client: str, server: str) -> None:
    scene, backend = relayed(client, server, refuses)
    watch(scene, "x:1")
    scene.lose(backend)
    scene.wait(2)
    assert changes(scene).count((UPDATED, "x:1")) == 1  # it may have changed
    if server == MODERN:
        assert len(backend.wires) == 2
        assert (CHANGED, None) in changes(scene)
    tell(backend, UPDATED, {"uri": "x:1"})
    scene.move()
    assert changes(scene).count((UPDATED, "x:1")) == 2


def test_a_session_that_ends_leaves_what_others_of_its_conversation_have() -> None:
    ann, backend = relayed(LEGACY, LEGACY, refuses)
    ann.relay.targets["a"].shared = True
    bob = Scene(LEGACY, backend, beside=ann)
    for scene in (ann, bob):
        watch(scene, "x:1")
    bob.leave()
    tell(backend, UPDATED, {"uri": "x:1"})
    ann.move()
    assert changes(ann) == [(UPDATED, "x:1")]


@pytest.mark.parametrize("server", [LEGACY, MODERN])
def test_a_listen_stream_that_is_given_up_before_it_opens(server: str) -> None:
    scene, backend = relayed(MODERN, server, refuses)
    backend.down = True
    id = watch(scene, "x:1")
    assert scene.front.in_flight == 1
    scene.cancel(id)
    assert scene.front.in_flight == 0
    backend.down = False
    scene.move()
    kinds = [type(event) for event in backend.events]
    assert kinds.count(SubscriptionOpened) == kinds.count(SubscriptionClosed)
    assert not any(link.feed for link, _, _ in backend.wires)


def test_a_server_that_does_not_acknowledge_delays_a_stream_for_a_time_only() -> None:
    silent, quick = Backend("a", MODERN, refuses), Backend("b", LEGACY, refuses)
    scene = Scene(MODERN, silent, quick)
    silent.down = True
    watch(scene, "a+x:1", "b+x:1")
    assert scene.told(SubscriptionAcknowledged) == []
    scene.wait(11)
    [event] = scene.told(SubscriptionAcknowledged)
    assert event.filter.resource_subscriptions == ["b+x:1"]


@pytest.mark.parametrize("client", [LEGACY, MODERN])
def test_a_session_that_the_server_has_lost_is_set_up_again(client: str) -> None:
    """Over HTTP the conversation goes on, with a second Ready."""
    scene, backend = relayed(client, LEGACY)
    watch(scene, "x:1")
    link = backend.wires[-1][0]
    ready = scene.relay.targets["a"].greeting
    assert ready is not None
    scene.relay.from_server(link, ready, now=scene.now, wall=0.0)
    scene.move()
    asked = [event.uri for event in backend.events if isinstance(event, ResourceSubscribed)]
    assert asked == ["x:1", "x:1"]
    assert changes(scene).count((UPDATED, "x:1")) == 1


def test_a_session_that_has_subscribed_to_nothing_hears_of_lists_after_that() -> None:
    scene, backend = relayed(LEGACY, LEGACY)
    scene.call("echo")
    ready = scene.relay.targets["a"].greeting
    assert ready is not None
    scene.relay.from_server(backend.wires[-1][0], ready, now=scene.now, wall=0.0)
    scene.move()
    assert changes(scene).count((CHANGED, None)) == 1


@pytest.mark.parametrize("server", [LEGACY, MODERN])
def test_a_session_begins_no_conversation_with_a_legacy_server_to_hear_of_lists(
    server: str,
) -> None:
    scene, backend = relayed(LEGACY, server)
    scene.call("echo")
    before = len(backend.wires)
    other = Scene(LEGACY, backend, beside=scene)
    watcher = scene.relay.subscriptions.sessions[other.front, ""]
    assert list(watcher.streams) == ([] if server == LEGACY else ["a"])
    assert len(backend.wires) == before
    assert other.call("echo") == "a: {}"
    tell(backend, CHANGED)
    other.move()
    assert changes(other).count((CHANGED, None)) == 1


def test_a_stream_has_the_resources_that_a_legacy_server_lets_it_have() -> None:
    def choosy(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if json.decode(event.params)["uri"] == "x:1":
            peer.admit(event.key)
        else:
            peer.fail(event.key, ErrorData(-32002, "resource not found"))

    backend = Backend("a", LEGACY, choosy)
    backend.config = structs.replace(backend.config, asked_first=frozenset({"resources/subscribe"}))
    scene = Scene(MODERN, backend)
    watch(scene, "x:1", "x:2", lists=False)
    [opened] = scene.told(SubscriptionAcknowledged)
    assert opened.filter.resource_subscriptions == ["x:1"]


def asked(backend: Backend) -> list[str]:
    """URIs that were subscribed to at a legacy server."""
    found = [event for event in backend.events if isinstance(event, ResourceSubscribed)]
    return [event.uri for event in found if event.active]


def test_a_subscription_while_a_lost_server_is_awaited_is_kept_with_those_before() -> None:
    scene, backend = relayed(LEGACY, LEGACY, refuses)
    watch(scene, "x:1")
    scene.lose(backend)
    watch(scene, "x:2")
    scene.wait(2)
    assert asked(backend) == ["x:1", "x:2", "x:1"]
    tell(backend, UPDATED, {"uri": "x:1"})
    scene.move()
    assert changes(scene).count((UPDATED, "x:1")) == 2  # once as it may have changed


@pytest.mark.parametrize(("lost", "cancelled"), [(False, 0), (False, 1), (True, 0)])
@pytest.mark.parametrize("server", [LEGACY, MODERN])
def test_of_two_subscriptions_to_a_resource_one_that_is_cancelled_leaves_the_other(
    server: str, lost: bool, cancelled: int
) -> None:
    scene, backend = relayed(LEGACY, server, refuses)
    subscription = {"uri": "x:1"}
    if lost:
        watch(scene, "x:1")
        scene.lose(backend)
    backend.down = True
    if lost:
        scene.wait(2)
    count = 1 if lost else 2
    requests = [scene.ask("resources/subscribe", subscription) for _ in range(count)]
    scene.cancel(requests[cancelled])
    backend.down = False
    scene.move()
    before = changes(scene).count((UPDATED, "x:1"))
    tell(backend, UPDATED, subscription)
    scene.move()
    assert changes(scene).count((UPDATED, "x:1")) == before + 1


@pytest.mark.parametrize("server", [LEGACY, MODERN])
def test_subscriptions_to_one_resource_have_one_outcome(server: str) -> None:
    scene, backend = relayed(LEGACY, server, refuses)
    watch(scene)
    backend.down = True
    for seconds in (4, 4, 4, 40):  # the first waits longest
        scene.ask("resources/subscribe", {"uri": "x:1"})
        scene.wait(seconds)
    scene.lose(backend)
    assert len(scene.told(ErrorReceived)) == 4
    assert scene.relay.idle


def test_a_legacy_server_that_is_lost_before_it_answers_announces_nothing() -> None:
    scene, backend = relayed(MODERN, LEGACY, refuses)
    backend.down = True
    watch(scene, "x:1")
    assert scene.told(SubscriptionAcknowledged) == []
    scene.lose(backend)
    [event] = scene.told(SubscriptionAcknowledged)
    assert event.filter.resource_subscriptions == []


def test_a_legacy_server_is_tried_at_ever_longer_times() -> None:
    scene, backend = relayed(MODERN, LEGACY, refuses)
    watch(scene, "x:1")
    backend.down = True
    begun = len(backend.wires)
    for delay in (1, 2, 4):
        scene.lose(backend)
        scene.wait(delay - 0.1)
        assert len(backend.wires) == begun
        scene.wait(0.2)
        begun += 1
        assert len(backend.wires) == begun
    backend.down = False
    scene.move()
    assert changes(scene).count((UPDATED, "x:1")) == 1


def test_a_session_that_ends_before_a_shared_server_answers_holds_nothing_there() -> None:
    scene, backend = relayed(LEGACY, LEGACY, refuses)
    scene.relay.targets["a"].shared = True
    watch(scene)
    backend.down = True
    scene.ask("resources/subscribe", {"uri": "x:1"})
    scene.leave()
    backend.down = False
    scene.move()
    assert not any(link.feed for link, _, _ in backend.wires)


def test_sessions_that_share_a_legacy_server_each_end_their_own_subscription() -> None:
    scene, backend = relayed(LEGACY, LEGACY, refuses)
    scene.relay.targets["a"].shared = True
    other = Scene(LEGACY, backend, beside=scene)
    for each in (scene, other):
        watch(each, "x:1")
    assert scene.result("resources/unsubscribe", {"uri": "x:1"}) == {}
    tell(backend, UPDATED, {"uri": "x:1"})
    for each in (scene, other):
        each.move()
    assert (changes(scene), changes(other)) == ([], [(UPDATED, "x:1")])
    assert other.result("resources/unsubscribe", {"uri": "x:1"}) == {}
    ends = [event.active for event in backend.events if isinstance(event, ResourceSubscribed)]
    assert ends[-1] is False
    assert ends.count(False) == 1
    scene.wait(301)
    assert backend.wires[-1][0].ended  # nothing holds the conversation any more


@pytest.mark.parametrize("server", [LEGACY, MODERN])
def test_subscriptions_of_a_session_have_their_limit_before_the_server_is_asked(
    server: str,
) -> None:
    scene, backend = relayed(LEGACY, server)
    scene.front._state.config = structs.replace(
        scene.front._state.config, limits=Limits(subscriptions=3), max_uri=10
    )
    watch(scene, "x:1", "x:2", "x:3")
    assert "3 resources" in scene.error("resources/subscribe", {"uri": "x:4"}).message
    assert "longer" in scene.error("resources/unsubscribe", {"uri": "x" * 11}).message
    assert announced(backend, server) == ["x:1", "x:2", "x:3"]


@pytest.mark.parametrize("server", [LEGACY, MODERN])
def test_what_exceeds_the_limit_only_once_the_server_has_answered_is_undone(server: str) -> None:
    scene, backend = relayed(LEGACY, server)
    watch(scene, "x:1")
    scene.front._state.config = structs.replace(
        scene.front._state.config, limits=Limits(subscriptions=2)
    )
    for uri in ("x:2", "x:3", "x:1"):
        scene.client.request("resources/subscribe", {"uri": uri}, now=0.0)
    scene.move()
    assert len(scene.told(ErrorReceived)) == 1
    assert announced(backend, server) == ["x:1", "x:2"]


def test_a_listen_stream_beyond_the_limit_holds_nothing_at_the_server() -> None:
    scene, backend = relayed(MODERN, LEGACY)
    scene.front._state.config = structs.replace(
        scene.front._state.config, limits=Limits(listen_streams=1)
    )
    for uri in ("x:1", "x:2"):
        wanted = {"notifications": {"resourceSubscriptions": [uri]}}
        scene.client.request("subscriptions/listen", wanted, now=0.0)
    scene.move()
    watch(scene, "x:3")
    assert len(scene.told(ErrorReceived)) == 2
    assert announced(backend, LEGACY) == ["x:1"]
    assert len(scene.relay.subscriptions._streams) == 1


def announced(backend: Backend, revision: str) -> list[str]:
    """URIs that a server announces changes of, sorted."""
    if revision == LEGACY:
        events = [event for event in backend.events if isinstance(event, ResourceSubscribed)]
        active = {event.uri: event.active for event in events}
        return sorted(uri for uri in active if active[uri])
    opened = [event for event in backend.events if isinstance(event, SubscriptionOpened)]
    return sorted(opened[-1].filter.resource_subscriptions)
