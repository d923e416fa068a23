"""A server of both eras: each client is served in its own, at the same time."""

from typing import Any

import pytest
from msgspec import json, structs

from mcpcore.engine import Peer, Role
from mcpcore.engine.events import (
    ErrorReceived,
    Fault,
    FaultKind,
    InputRequired,
    NegotiationFailed,
    RequestReceived,
    ResourceSubscribed,
    ResultReceived,
)
from mcpcore.relay.names import Naming
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.capabilities import TASKS_EXTENSION
from mcpcore.spec.errors import INVALID_PARAMS
from tests.engine.bench import rows
from tests.relay.bench import ANSWER, BOTH, LEGACY, MODERN, WALL, Backend, Scene, relayed, tools
from tests.relay.test_lists import MIRRORED
from tests.relay.test_subscriptions import CHANGED, UPDATED, changes, tell, watch

OLD = "2025-06-18"
MODERN_ONLY: dict[str, Any] = {"extensions": {TASKS_EXTENSION: {}}}


def pair(backend: Backend, **more: Any) -> tuple[Scene, Scene]:
    """A legacy and a modern client of one relay."""
    legacy = Scene(LEGACY, backend, **more)
    return legacy, Scene(MODERN, backend, beside=legacy)


def spoken(backend: Backend) -> list[str]:
    """Revisions of the calls that a server has got."""
    return [each.revision.name for each in backend.requests("tools/call")]


def test_each_client_is_served_in_its_own_era() -> None:
    backend = Backend("a", BOTH, tools)
    for scene in (both := pair(backend)):
        assert scene.call("echo") == "a: {}"
        assert scene.call("ask") == "Hello Ada"
    assert spoken(backend) == [LEGACY, LEGACY, MODERN, MODERN, MODERN]  # and a retry
    assert [len(scene.told(InputRequired)) for scene in both] == [0, 1]
    assert len(backend.wires) == 3  # one tells each era, and the session has one
    assert backend.wires[-1][0].audience.capabilities == both[0].client.config.capabilities
    both[0].leave()
    assert [link.ended for link, *_ in backend.wires] == [False, False, True]
    assert both[1].call("echo") == "a: {}"


@pytest.mark.parametrize(
    ("client", "listed", "used"),
    [
        (OLD, f"{OLD} {BOTH}", OLD),
        (OLD, BOTH, LEGACY),
        (LEGACY, f"{OLD} {MODERN}", OLD),
        (OLD, MODERN, MODERN),
        (OLD, f"{OLD} {LEGACY}", LEGACY),
    ],
)
def test_the_revision_of_the_client_where_the_server_lists_it(
    client: str, listed: str, used: str
) -> None:
    """A legacy server lists nothing, and is asked for the newest."""
    scene, backend = relayed(client, listed)
    assert scene.call("echo") == "a: {}"
    assert spoken(backend) == [used]


@pytest.mark.parametrize(
    ("handshakes", "used"), [((), MODERN), ((LEGACY,), LEGACY), ((OLD, LEGACY), OLD)]
)
def test_revisions_that_may_be_spoken_with_legacy_clients(
    handshakes: tuple[str, ...], used: str
) -> None:
    backend = Backend("a", f"{OLD} {BOTH}", tools)
    scene = Scene(MODERN, backend)
    target = scene.relay.targets["a"]
    target.handshakes = rows(*handshakes)
    scene.relay.conversations.negotiate_again(target)
    scene.move()
    assert Scene(OLD, backend, beside=scene).call("echo") == "a: {}"
    assert spoken(backend) == [used]


class Refusing(Backend):
    """A server that lists both eras and refuses the handshake."""

    def connect(self, scene: Scene, link: Any) -> Peer:
        peer = super().connect(scene, link)
        if not link.audience.revision.modern:
            modern = structs.replace(self.config, revisions=rows(MODERN))
            self.wires[-1] = link, peer, Peer(Role.SERVER, modern)
        return peer


def test_a_server_that_lists_a_revision_whose_handshake_it_refuses() -> None:
    backend = Refusing("a", BOTH, tools)
    for scene in pair(backend):
        assert scene.call("echo") == "a: {}"
    assert spoken(backend) == [MODERN, MODERN]
    assert len(backend.wires) == 2  # nobody tries it again
    assert scene.relay.targets["a"].known


FAULTS = [
    (None, True),
    (Fault(FaultKind.STATUS, 400), True),
    (Fault(FaultKind.STATUS, 500), True),
    (Fault(FaultKind.STATUS, 503), False),
    (Fault(FaultKind.STATUS, 401), False),
    (Fault(FaultKind.CONNECT), False),
    (Fault(FaultKind.AUTHORIZATION, 400), False),
]


@pytest.mark.parametrize(("fault", "refuses"), FAULTS)
@pytest.mark.parametrize("begun", [True, False])
def test_a_handshake_that_fails_on_the_way_is_tried_again(
    fault: Fault | None, refuses: bool, begun: bool
) -> None:
    scene, backend = relayed(MODERN, BOTH)
    target, relay = scene.relay.targets["a"], scene.relay
    target.handshake, (link, _, _) = None, backend.wires[-1]
    link.greeted, link.refused = False, not begun
    failed = NegotiationFailed(message="refused", fault=fault)
    relay.from_server(link, failed, now=0.0, wall=WALL)
    assert (target.legacy == ()) is (refuses and begun)
    assert scene.call("echo") == "a: {}"
    assert Scene(LEGACY, backend, beside=scene).call("echo") == "a: {}"
    assert spoken(backend) == [MODERN, MODERN if refuses and begun else LEGACY]


class Late(Backend):
    """A server of both eras whose end of a handshake hears nothing yet."""

    def connect(self, scene: Scene, link: Any) -> Peer:
        peer = super().connect(scene, link)
        if not link.audience.revision.modern and "late" not in self.waiting:
            self.waiting["late"] = self.wires.pop()
        return peer


@pytest.mark.parametrize(("ends", "used"), [(False, LEGACY), (True, MODERN)])
def test_requests_of_legacy_clients_wait_for_the_handshake(ends: bool, used: str) -> None:
    """Those of modern clients do not; a server that ends it and stays refuses it."""
    backend = Late("a", BOTH, tools)
    legacy, modern = pair(backend)
    legacy.ask("tools/call", {"name": "echo"})
    assert modern.call("echo") == "a: {}"
    assert legacy.told(ResultReceived) == []
    if ends:
        backend.waiting["late"][1].receive_eof(now=0.0)
    backend.wires.append(backend.waiting["late"])
    legacy.move()
    assert len(legacy.told(ResultReceived)) == 1
    assert spoken(backend) == [MODERN, used]


def test_a_name_means_the_same_in_both_eras() -> None:
    backends = [Backend(name, BOTH, tools) for name in "ab"]
    settings = RelaySettings(naming=Naming.ON_CONFLICT)
    legacy = Scene(LEGACY, *backends, settings=settings)
    modern = Scene(MODERN, *backends, beside=legacy)
    for scene in (legacy, modern):
        listed = [tool["name"] for tool in scene.result("tools/list")["tools"]]
        assert listed == ["echo", "b__echo"]
        assert [scene.call(name) for name in listed] == ["a: {}", "b: {}"]


def test_pages_of_two_lists_are_not_taken_for_those_of_one() -> None:
    """Names that are never prefixed are known once the list of one era was read to its end."""

    def pages(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        cursor = json.decode(event.params).get("cursor", f"{event.revision.name} 0")
        era, number = cursor.rsplit(" ", 1)
        assert era == event.revision.name
        tool = {"name": f"t{number}", "inputSchema": {"type": "object"}}
        more = {"nextCursor": f"{era} {int(number) + 1}"} if number != "2" else {}
        peer.respond(event.key, {"tools": [tool], **more})

    backends = [Backend(name, BOTH, pages, tools={}) for name in "ab"]
    legacy = Scene(LEGACY, *backends, settings=RelaySettings(naming=Naming.NEVER))
    for scene in (legacy, Scene(MODERN, *backends, beside=legacy)):
        assert [each["name"] for each in scene.result("tools/list")["tools"]] == ["t0"]
        legacy.relay.names.read.clear()


def test_what_only_one_of_the_two_lists_tells() -> None:
    """Legacy lists wrap schemas, and tell nothing of headers."""

    def list_tools(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        tool: dict[str, Any] = {"name": "t", "annotations": {"readOnlyHint": True}}
        schema = MIRRORED if event.revision.modern else {"type": "object"}
        output = {"type": "integer"} if event.revision.modern else {"type": "object"}
        peer.respond(
            event.key, {"tools": [{**tool, "inputSchema": schema, "outputSchema": output}]}
        )

    backend = Backend("a", BOTH, list_tools)
    legacy, modern = pair(backend)
    target = legacy.relay.targets["a"]
    assert legacy.result("tools/list")["tools"][0]["outputSchema"] == {"type": "object"}
    assert (target.repeatable, target.wrapped, target.header_params) == ({"t"}, set(), {})
    for scene in (modern, legacy):
        schema = scene.result("tools/list")["tools"][0]["outputSchema"]
        assert schema["type"] == ("object" if scene is legacy else "integer")
        assert target.wrapped == {"t"}
        assert target.header_params.keys() == legacy.relay.header_params.keys() == {"t"}


def test_what_a_server_declares_in_either_era() -> None:
    backend = Backend("a", BOTH, tools, tools={}, tasks={"list": {}}, **MODERN_ONLY)
    scene = Scene(LEGACY, backend)
    declared = scene.relay.capabilities()
    assert declared == backend.config.capabilities
    assert scene.relay.targets["a"].tasks


def test_changes_are_told_in_both_eras() -> None:
    backend = Backend("a", BOTH, tools)
    scenes = pair(backend)
    scenes[0].call("echo")
    for scene in scenes:
        watch(scene, "x:1")
    assert len([each for each in backend.events if isinstance(each, ResourceSubscribed)]) == 1
    tell(backend, UPDATED, {"uri": "x:1"})
    tell(backend, CHANGED)
    for scene in scenes:
        scene.move()
    assert [changes(scene) for scene in scenes] == [[(UPDATED, "x:1"), (CHANGED, None)]] * 2


@pytest.mark.parametrize("shared", [None, True, False])
def test_who_shares_a_conversation(shared: bool | None) -> None:
    first, backend = relayed(LEGACY, BOTH)
    first.relay.targets["a"].shared = shared
    first.call("echo")
    for client in (LEGACY, MODERN):
        Scene(client, backend, beside=first).call("echo")
    kinds = [link.audience for link, *_ in backend.wires[2:] if not link.modern]
    assert len(kinds) == (1 if shared else 2)
    assert all((each.session is None) is bool(shared) for each in kinds)
    assert sum(link.modern for link, *_ in backend.wires) == (2 if shared is False else 1)


def test_a_state_of_a_modern_server_is_no_call_of_the_legacy_one_in_its_place() -> None:
    scene, backend = relayed(MODERN, MODERN)
    scene.answers = None
    id = scene.ask("tools/call", {"name": "ask"})
    backend.config = structs.replace(backend.config, revisions=rows(LEGACY))
    target = scene.relay.targets["a"]
    scene.relay.conversations.negotiate_again(target)
    scene.move()
    backend.events.clear()
    scene.client.retry(id, {"who": ANSWER}, now=scene.now)
    scene.move()
    [refused] = scene.told(ErrorReceived)
    assert refused.error.code == INVALID_PARAMS
    assert "requestState: its server has changed" in refused.error.message
    assert backend.requests("tools/call") == []


RETURNS = [(BOTH, LEGACY), (BOTH, MODERN), (BOTH, BOTH), (LEGACY, BOTH), (MODERN, BOTH)]


@pytest.mark.parametrize(("before", "after"), RETURNS)
def test_a_server_that_comes_back_with_other_eras(before: str, after: str) -> None:
    backend = Backend("a", before, tools)
    scenes = pair(backend)
    for scene in scenes:
        watch(scene, "x:1")
    backend.config = structs.replace(backend.config, revisions=rows(*after.split()))
    if before == BOTH:
        for _, near, far in backend.wires:
            near.receive_eof(now=0.0)
            far.receive_eof(now=0.0)
    else:  # which goes on in its only era otherwise
        scenes[0].relay.conversations.negotiate_again(scenes[0].relay.targets["a"])
    for scene in scenes:
        scene.ask("tools/call", {"name": "echo"})  # shows what has changed
    for _ in range(4):
        scenes[0].wait(1.0)
    backend.events.clear()
    for scene in scenes:
        assert scene.call("echo") == "a: {}"
    assert spoken(backend) == ([LEGACY, MODERN] if after == BOTH else [after] * 2)
    backend.wires = [each for each in backend.wires if not each[0].ended]
    told = [changes(scene).count((UPDATED, "x:1")) for scene in scenes]
    assert all(told)  # it may have changed
    tell(backend, UPDATED, {"uri": "x:1"})
    for scene, before_that in zip(scenes, told, strict=True):
        scene.move()
        assert changes(scene).count((UPDATED, "x:1")) == before_that + 1
