"""Listen streams at a modern server, which watchers share."""

from typing import Any

import pytest
from msgspec import structs

from mcpcore.engine import Limits, Peer
from mcpcore.engine.events import (
    RequestReceived,
    SubscriptionAcknowledged,
    SubscriptionClosed,
    SubscriptionOpened,
)
from mcpcore.policy.breaker import BreakerSettings
from mcpcore.relay.settings import RelaySettings
from mcpcore_transports.gateway.guard import ServerGuard
from mcpcore_transports.gateway.settings import GatewaySettings
from tests.engine.bench import rows
from tests.relay.bench import LEGACY, MODERN, Backend, Scene, relayed
from tests.relay.test_subscriptions import CHANGED, UPDATED, changes, tell, watch

OTHER: dict[str, Any] = {"sampling": {}}
"""Capabilities of a client that are not those of the others."""


def refuses(backend: Backend, peer: Peer, event: RequestReceived) -> None:
    raise AssertionError("the engine answers all requests of this test")


def limited(subscriptions: int) -> Backend:
    """A server that allows few subjects on a stream."""
    backend = Backend("a", MODERN, refuses)
    backend.config = structs.replace(backend.config, limits=Limits(subscriptions=subscriptions))
    return backend


def beside(scene: Scene, revision: str = MODERN, **more: Any) -> Scene:
    return Scene(revision, *scene.backends, beside=scene, **more)


def streams(backend: Backend) -> list[list[str]]:
    """URIs of the listen streams that are open at a server, in order."""
    found: dict[Any, list[str]] = {}
    for event in backend.events:
        if isinstance(event, SubscriptionOpened):
            found[event.key] = event.filter.resource_subscriptions
        elif isinstance(event, SubscriptionClosed):
            del found[event.key]
    return list(found.values())


def most(backend: Backend) -> int:
    """Most listen streams that were open at a server at a time."""
    steps = [
        isinstance(event, SubscriptionOpened) - isinstance(event, SubscriptionClosed)
        for event in backend.events
    ]
    return max(sum(steps[: end + 1]) for end in range(len(steps)))


def granted(scene: Scene) -> list[str]:
    """URIs in the last acknowledgement of a client's stream."""
    return list(scene.told(SubscriptionAcknowledged)[-1].filter.resource_subscriptions)


def heard(*scenes: Scene) -> list[list[tuple[str, Any]]]:
    for scene in scenes:
        scene.move()
    return [changes(scene) for scene in scenes]


def test_sessions_and_clients_share_one_stream() -> None:
    first, backend = relayed(LEGACY, MODERN, refuses)
    scenes = [first, *(beside(first, LEGACY) for _ in range(3)), beside(first)]
    watch(scenes[-1])
    opened = [event for event in backend.events if isinstance(event, SubscriptionOpened)]
    assert len(opened) == 1
    tell(backend, CHANGED)
    assert heard(*scenes) == [[(CHANGED, None)]] * len(scenes)


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
def test_each_hears_of_what_it_wants_on_the_stream_of_all(revision: str) -> None:
    ann, backend = relayed(revision, MODERN, refuses)
    bob = beside(ann, revision, principal="bob")
    watch(ann, "x:1", "x:2", lists=False)
    watch(bob, "x:2", "x:3", lists=False)
    assert streams(backend) == [["x:1", "x:2", "x:3"]]
    for uri in ("x:1", "x:2", "x:3", "x:4"):
        tell(backend, UPDATED, {"uri": uri})
    assert heard(ann, bob) == [
        [(UPDATED, "x:1"), (UPDATED, "x:2")],
        [(UPDATED, "x:2"), (UPDATED, "x:3")],
    ]


def test_a_stream_carries_what_is_still_wanted_and_ends_with_its_last_watcher() -> None:
    ann, backend = relayed(MODERN, MODERN, refuses)
    bob = beside(ann, principal="bob")
    ids = watch(ann, "x:1", lists=False), watch(bob, "x:2", lists=False)
    ann.cancel(ids[0])
    assert streams(backend) == [["x:2"]]
    bob.leave()
    assert streams(backend) == []
    assert not any(link.listens for link, _, _ in backend.wires)
    assert not ann.relay.subscriptions.listens._feeds


def test_clients_that_declare_other_capabilities_or_have_other_tokens_share_none() -> None:
    ann, backend = relayed(MODERN, MODERN, refuses)
    watch(ann, "x:1", lists=False)
    watch(beside(ann, capabilities=OTHER), "x:1", lists=False)
    assert streams(backend) == [["x:1"], ["x:1"]]
    personal = Backend("a", MODERN, refuses)
    personal.personal = True
    ann = Scene(MODERN, personal)
    watch(ann, "x:1", lists=False)
    watch(beside(ann, principal="bob"), "x:2", lists=False)
    assert [len(link.listens) for link, _, _ in personal.wires] == [0, 1, 1]


def test_what_a_server_adds_to_no_stream_gets_one_of_its_own() -> None:
    backend = limited(2)
    ann = Scene(MODERN, backend)
    scenes = [ann, *(beside(ann) for _ in range(3))]
    for number, scene in enumerate(scenes):
        watch(scene, f"x:{number}", lists=False)
        assert granted(scene) == [f"x:{number}"]
    assert streams(backend) == [["x:0", "x:1"], ["x:2", "x:3"]]
    tell(backend, UPDATED, {"uri": "x:0"})
    tell(backend, UPDATED, {"uri": "x:3"})
    assert heard(*scenes) == [[(UPDATED, "x:0")], [], [], [(UPDATED, "x:3")]]


def test_a_stream_at_a_server_has_a_thousand_subjects_at_most() -> None:
    backend = limited(5000)
    ann = Scene(MODERN, backend)
    for watcher, count in ((ann, 600), (beside(ann), 600), (beside(ann), 400)):
        watch(watcher, *(f"x:{id(watcher)}:{number}" for number in range(count)), lists=False)
        assert len(granted(watcher)) == count
    assert [len(uris) for uris in streams(backend)] == [600, 1000]


def test_many_that_come_at_once_are_few_streams() -> None:
    backend = limited(4)
    ann = Scene(MODERN, backend)
    backend.down = True
    scenes = [ann, *(beside(ann) for _ in range(15))]
    for number, scene in enumerate(scenes):
        watch(scene, f"x:{number}", lists=False)
    backend.down = False
    for _ in range(3):
        heard(*scenes)
    assert [granted(scene) for scene in scenes] == [[f"x:{number}"] for number in range(16)]
    assert len(streams(backend)) <= 8


def test_what_a_server_refuses_by_itself_takes_no_room_from_others() -> None:
    backend = limited(3)
    ann = Scene(MODERN, backend)
    watch(ann, "x:1", lists=False)
    mallory = beside(ann, principal="mallory")
    watch(mallory, *(f"y:{number}" for number in range(4)), lists=False)
    assert granted(mallory) == []
    bob = beside(ann, principal="bob")
    watch(bob, "x:2", lists=False)
    assert streams(backend) == [["x:1", "x:2"]]


def test_a_stream_that_some_have_left_has_room_again() -> None:
    backend = limited(2)
    ann = Scene(MODERN, backend)
    scenes = [ann, *(beside(ann) for _ in range(2))]
    ids = [watch(scene, f"x:{number}", lists=False) for number, scene in enumerate(scenes)]
    ann.cancel(ids[0])
    watch(beside(ann), "x:3", lists=False)
    assert streams(backend) == [["x:2"], ["x:1", "x:3"]]


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
def test_a_stream_without_room_for_a_second_ends_before_it_is_replaced(revision: str) -> None:
    ann, backend = relayed(revision, MODERN, refuses)
    ann.relay.targets["a"].listens = 1
    bob = beside(ann, revision, principal="bob")
    watch(ann, "x:1", lists=False)
    watch(bob, "x:2", lists=False)
    assert (streams(backend), most(backend)) == ([["x:1", "x:2"]], 1)
    assert (UPDATED, "x:1") in heard(ann)[0]  # it may have changed meanwhile
    ann.events.clear()
    bob.events.clear()
    for uri in ("x:1", "x:2"):
        tell(backend, UPDATED, {"uri": uri})
    assert heard(ann, bob) == [[(UPDATED, "x:1")], [(UPDATED, "x:2")]]


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
def test_one_principal_leaves_room_for_others(revision: str) -> None:
    """Clients with other capabilities, or other subjects than fit on one, have other streams."""
    backend = limited(1)
    ann = Scene(MODERN, backend, settings=RelaySettings(listens_per_principal=2))
    id = watch(ann, "x:1", lists=False)
    watch(beside(ann), "x:2", lists=False)
    refused = beside(ann, revision, capabilities=OTHER)
    if revision == MODERN:
        watch(refused, "x:3", lists=False)
        assert granted(refused) == []
    else:
        error = refused.error("resources/subscribe", {"uri": "x:3"})
        assert error.message == "a: too many listen streams of one caller are open"
    assert streams(backend) == [["x:1"], ["x:2"]]
    for principal, uri in (("ann", "x:2"), ("bob", "x:3"), ("bob", "x:1")):
        other = beside(ann, principal=principal)
        watch(other, uri, lists=False)
        assert granted(other) == [uri]
    ann.cancel(id)
    later = beside(ann, capabilities=OTHER)
    watch(later, "x:4", lists=False)
    assert granted(later) == ["x:4"]


@pytest.mark.parametrize("shared", [True, False])
def test_streams_in_the_conversations_of_sessions_are_not_counted(shared: bool) -> None:
    ann, backend = relayed(LEGACY, MODERN, settings=RelaySettings(listens_per_principal=1))
    ann.relay.targets["a"].shared = shared
    sessions = [beside(ann, LEGACY, capabilities={"roots": {}}), beside(ann, LEGACY)]
    for session in sessions:
        session.call("echo")
    tell(backend, CHANGED)
    assert heard(*sessions) == [[(CHANGED, None)] * (not shared), [(CHANGED, None)]]


def test_listen_streams_have_a_limit_and_calls_go_on() -> None:
    ann, backend = relayed(MODERN, MODERN)
    ann.relay.targets["a"].listens = 1
    watch(ann, "x:1", lists=False)
    other = beside(ann, capabilities=OTHER)
    watch(other, "x:2", lists=False)
    assert granted(other) == []
    assert other.call("echo") == "a: {}"
    session = beside(ann, LEGACY, capabilities=OTHER)
    error = session.error("resources/subscribe", {"uri": "x:3"})
    assert error.message == "a: busy: 1 listen streams are open"
    assert most(backend) == 1


def test_all_watchers_of_a_lost_stream_are_on_the_next() -> None:
    ann, backend = relayed(LEGACY, MODERN, refuses)
    bob = beside(ann, principal="bob")
    watch(ann, "x:1")
    watch(bob, "x:2", lists=False)
    ann.lose(backend)
    backend.events.clear()
    ann.wait(2)
    assert streams(backend) == [["x:1", "x:2"]]
    assert (UPDATED, "x:1") in heard(ann)[0]
    assert heard(bob) == [[(UPDATED, "x:2")]]


def test_a_stream_that_ends_while_it_is_replaced_may_have_missed_changes() -> None:
    ann, backend = relayed(MODERN, MODERN, refuses)
    bob = beside(ann, principal="bob")
    watch(ann, "x:1", lists=False)
    backend.down = True
    watch(bob, "x:2", lists=False)
    [opened] = [event for event in backend.events if isinstance(event, SubscriptionOpened)]
    backend.wires[0][2].end_subscription(opened.key)
    backend.down = False
    assert heard(ann, bob) == [[(UPDATED, "x:1")], []]
    assert streams(backend) == [["x:1", "x:2"]]


@pytest.mark.parametrize("listens", [3, 2], ids=["replaced", "refused"])
def test_what_the_next_stream_leaves_out_is_not_acknowledged_before_it_is_back(
    listens: int,
) -> None:
    backend = Backend("a", MODERN, refuses)
    backend.config = structs.replace(backend.config, limits=Limits(listen_streams=listens))
    ann = Scene(MODERN, backend)
    bob, eve = beside(ann, principal="bob"), beside(ann, principal="eve")
    watch(ann, "x:1", lists=False)
    id = watch(bob, "x:2", lists=False)
    watch(beside(ann, capabilities=OTHER), "x:9", lists=False)
    backend.down = True
    bob.client.cancel(id, now=0.0)
    bob.move()  # the gateway asks for a stream without x:2
    watch(eve, "x:2", lists=False)
    assert eve.told(SubscriptionAcknowledged) == []
    backend.down = False
    eve.move()
    assert ["x:1", "x:2"] in streams(backend)
    assert granted(eve) == ["x:2"]
    tell(backend, UPDATED, {"uri": "x:2"})
    assert heard(eve) == [[(UPDATED, "x:2")]]


def test_a_stream_that_was_open_is_opened_again_without_the_delay_of_earlier_losses() -> None:
    scene, backend = relayed(LEGACY, MODERN, refuses)
    for _ in range(3):
        scene.lose(backend)
        backend.events.clear()
        scene.wait(1.1)
        assert streams(backend) == [[]]


def test_the_only_stream_that_there_is_room_for_is_not_replaced_by_a_smaller_one() -> None:
    ann, backend = relayed(MODERN, MODERN, refuses)
    ann.relay.targets["a"].listens = 1
    bob = beside(ann, principal="bob")
    watch(ann, "x:1", lists=False)
    id = watch(bob, "x:2", lists=False)
    ann.move()
    ann.events.clear()
    bob.cancel(id)
    assert streams(backend) == [["x:1", "x:2"]]
    assert heard(ann) == [[]]


def test_attempts_to_open_a_lost_stream_are_made_at_growing_intervals() -> None:
    scene, backend = relayed(LEGACY, MODERN, refuses)
    scene.relay.targets["a"].listens = 0
    scene.lose(backend)
    backend.events.clear()
    for _ in range(8):  # attempts after 1, 3 and 7 seconds
        scene.wait(1.0)
    scene.relay.targets["a"].listens = 5
    scene.wait(6.0)
    assert streams(backend) == []
    scene.wait(2.0)
    assert streams(backend) == [[]]


def test_a_lost_stream_is_not_opened_earlier_for_those_who_leave() -> None:
    ann, backend = relayed(LEGACY, MODERN, refuses)
    bob = beside(ann, LEGACY, principal="bob")
    watch(bob, "x:2")
    ann.lose(backend)
    backend.events.clear()
    bob.leave()
    assert streams(backend) == []
    ann.wait(1.1)
    assert streams(backend) == [[]]


def test_a_lost_stream_has_one_next_attempt_whoever_comes_meanwhile() -> None:
    ann, backend = relayed(LEGACY, MODERN, refuses)
    ann.lose(backend)
    ann.relay.targets["a"].listens = 0
    for _ in range(5):
        watch(beside(ann), "x:1")
    assert len(ann.relay.subscriptions.listens._feeds) == 1
    ann.relay.targets["a"].listens = 5
    ann.wait(200)
    opened = [event for event in backend.events if isinstance(event, SubscriptionOpened)]
    assert len(opened) == 2


def test_a_session_that_began_while_a_server_was_away_hears_its_changes() -> None:
    backend = Backend("a", MODERN, refuses)
    backend.down = True
    scene = Scene(LEGACY, backend)
    scene.lose(backend)
    backend.down = False
    backend.wires.clear()
    later = beside(scene, LEGACY)  # makes the next attempt
    scene.wait(1)
    later.move()
    for each in (scene, later):
        each.events.clear()
    tell(backend, CHANGED)
    assert heard(scene, later) == [[(CHANGED, None)]] * 2


def test_sessions_that_ended_while_a_server_was_away_are_forgotten() -> None:
    backend = Backend("a", MODERN, refuses)
    backend.down = True
    scene = Scene(LEGACY, backend)
    for _ in range(5):
        other = beside(scene, LEGACY)
        other.leave()
        scene.lose(backend)
        backend.wires.clear()
    assert len(scene.relay.targets["a"].waiting) <= 2


@pytest.mark.parametrize("reason", ["breaker", "conversations", "silence", "listens"])
def test_a_session_without_a_stream_gets_one_later(reason: str) -> None:
    backend = Backend("a", MODERN, refuses)
    settings = RelaySettings(links=1) if reason == "conversations" else None
    first = Scene(MODERN, backend, settings=settings)
    target = first.relay.targets["a"]
    if reason == "breaker":
        settings_of = GatewaySettings(retry=None, breaker=BreakerSettings(consecutive=1))
        target.guard = ServerGuard("a", settings_of)
        backend.down = True
        first.ask("tools/call", {"name": "x"})
        first.lose(backend)
        backend.wires.clear()
    elif reason == "conversations":
        target.shared = False
    elif reason == "listens":
        target.listens = 0
    backend.down = reason == "silence"
    session = beside(first, LEGACY)
    assert streams(backend) == []
    session.wait(11.0)
    target.listens, backend.down = 5, False
    first.relay.settings = RelaySettings()
    for _ in range(40):
        session.wait(1.0)
    assert streams(backend) == [[]]
    tell(backend, CHANGED)
    assert heard(session)[0][-1] == (CHANGED, None)


@pytest.mark.parametrize("client", [LEGACY, MODERN])
def test_a_server_that_comes_back_in_the_legacy_era(client: str) -> None:
    scene, backend = relayed(client, MODERN, refuses)
    watch(scene, "x:1", "x:2")
    if client == LEGACY:
        assert scene.result("resources/unsubscribe", {"uri": "x:2"}) == {}
    backend.config = structs.replace(backend.config, revisions=rows(LEGACY))
    scene.lose(backend)
    for _ in range(30):
        scene.wait(1)
    scene.events.clear()
    for uri in ("x:1", "x:2"):
        tell(backend, UPDATED, {"uri": uri})
    expected = ["x:1"] if client == LEGACY else ["x:1", "x:2"]
    assert heard(scene) == [[(UPDATED, uri) for uri in expected]]


def test_connections_without_a_principal_are_on_listen_streams_of_their_own() -> None:
    backend = limited(1)
    settings = RelaySettings(listens_per_principal=1)
    first = Scene(MODERN, backend, settings=settings, principal=None)
    other = Scene(MODERN, backend, beside=first, principal=None)
    for scene, uri in ((first, "x:1"), (other, "x:2")):
        watch(scene, uri, lists=False)
        assert granted(scene) == [uri]
