"""Merged lists that are kept: for how long, for whom, and while a server is away."""

from functools import partial
from typing import Any

import pytest
from msgspec import Raw, json

from mcpcore.engine import Peer
from mcpcore.engine.events import (
    ErrorReceived,
    NotificationReceived,
    RequestReceived,
    ResultReceived,
    SubscriptionAcknowledged,
    SubscriptionNotification,
)
from mcpcore.engine.seal import Binding, Seal
from mcpcore.policy.retrying import RetrySettings
from mcpcore.relay.link import UpstreamLink
from mcpcore.relay.lists import UNAVAILABLE, merged_capabilities
from mcpcore.relay.names import Naming
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData
from mcpcore.spec.revisions import BY_NAME
from mcpcore.spec.types.capabilities import ServerCapabilities
from mcpcore_transports.gateway.guard import ServerGuard
from mcpcore_transports.gateway.settings import GatewaySettings
from tests.engine.bench import CLIENT_ALL
from tests.relay.bench import CELLS, LEGACY, MODERN, WALL, Backend, Scene, relayed, tools
from tests.relay.test_subscriptions import CHANGED, changes, tell, watch
from tests.steps import steps_of

MIRRORED = {"type": "object", "properties": {"r": {"type": "string", "x-mcp-header": "Region"}}}

cells = pytest.mark.parametrize(("client", "server"), CELLS)
clients = pytest.mark.parametrize("client", [LEGACY, MODERN])


def lists(ttl: int | None = 0, scope: str | None = "private", **more: Any) -> Any:
    """A server whose list tells how often it was asked."""

    def answer(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if event.method != "tools/list":
            tools(backend, peer, event)
            return
        hints = {"ttlMs": ttl, "cacheScope": scope} if event.revision.modern else {}
        name = f"t{len(backend.requests('tools/list'))}"
        tool = {"name": name, "inputSchema": {"type": "object"}}
        peer.respond(event.key, {"tools": [tool], **hints, **more})

    return answer


def names(scene: Scene) -> list[str]:
    """The names of the tools that the client is told of."""
    return [tool["name"] for tool in scene.result("tools/list")["tools"]]


@clients
def test_a_list_is_kept_for_as_long_as_its_server_allows(client: str) -> None:
    scene = Scene(client, Backend("a", MODERN, lists(5000)), Backend("b", MODERN, lists(0)))
    assert names(scene) == ["a__t1", "b__t1"]
    scene.wait(4.9)
    assert names(scene) == ["a__t1", "b__t2"]
    scene.wait(0.2)
    assert names(scene) == ["a__t2", "b__t3"]


@clients
def test_hints_of_a_list_that_are_null_are_absent(client: str) -> None:
    nulls = lists(None, None, nextCursor=None)
    scene = Scene(client, Backend("a", MODERN, nulls), Backend("b", MODERN, lists()))
    assert [names(scene), names(scene)] == [["a__t1", "b__t1"], ["a__t2", "b__t2"]]


@clients
@pytest.mark.parametrize(("ttl", "listed"), [(0.0, "t2"), (5.0, "t1")])
def test_a_list_of_a_legacy_server_is_kept_if_the_settings_say_so(
    client: str, ttl: float, listed: str
) -> None:
    backends = [Backend("a", LEGACY, lists()), Backend("b", LEGACY, lists())]
    scene = Scene(client, *backends, settings=RelaySettings(list_ttl=ttl))
    names(scene)
    assert names(scene) == [f"a__{listed}", f"b__{listed}"]
    if client == MODERN:
        assert scene.result("tools/list")["ttlMs"] == ttl * 1000
        scene.wait(2)
        assert scene.result("tools/list")["ttlMs"] == max(ttl - 2, 0) * 1000
    only = Scene(MODERN, Backend("a", LEGACY, lists()), settings=RelaySettings(list_ttl=ttl))
    hints = only.result("tools/list")
    assert (hints["ttlMs"], hints["cacheScope"]) == (ttl * 1000, "private")
    assert only.result("resources/read", {"uri": "x:1"})["ttlMs"] == 0
    assert "ttlMs" not in only.result("tools/call", {"name": "echo"})


@cells
def test_a_list_that_has_changed_is_not_kept(client: str, server: str) -> None:
    backends = [Backend("a", server, lists(60_000)), Backend("b", server, lists(60_000))]
    scene = Scene(client, *backends, settings=RelaySettings(list_ttl=60.0))
    watch(scene)
    for listed in ("t1", "t1"):
        assert names(scene) == [f"a__{listed}", f"b__{listed}"]
    tell(backends[0], "notifications/prompts/list_changed")
    tell(backends[1], CHANGED)
    scene.move()
    assert names(scene) == ["a__t1", "b__t2"]


def test_an_answer_that_was_under_way_when_the_list_changed_is_not_kept() -> None:
    def late(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.notify(CHANGED)
        lists()(backend, peer, event)

    scene = Scene(
        LEGACY,
        *(Backend("a", LEGACY, late), Backend("b", LEGACY, lists())),
        settings=RelaySettings(list_ttl=60.0),
    )
    assert names(scene) == ["a__t1", "b__t1"]
    assert names(scene) == ["a__t2", "b__t1"], "what another server has is not of before"


@pytest.mark.parametrize(("scope", "listed"), [("public", "t1"), ("private", "t2")])
def test_a_private_list_is_kept_for_one_principal(scope: str, listed: str) -> None:
    backends = [Backend("a", MODERN, lists(5000, scope)), Backend("b", MODERN, lists(9000, scope))]
    scene = Scene(MODERN, *backends)
    assert names(scene) == ["a__t1", "b__t1"]
    scene.front.principal = "bob"
    assert names(scene) == [f"a__{listed}", f"b__{listed}"]
    scene.front.principal = "ann"
    page = scene.result("tools/list")
    assert [tool["name"] for tool in page["tools"]] == ["a__t1", "b__t1"]
    assert (page["ttlMs"], page["cacheScope"]) == (5000, scope)


@pytest.mark.parametrize("scope", ["public", "private"])
@pytest.mark.parametrize(
    ("meta", "declared", "listed"),
    [
        ({"a/b": 1, "a/c": [2]}, CLIENT_ALL, "t1"),
        ({"a/b": 1, "a/c": [2], "traceparent": "00-1-2-00"}, CLIENT_ALL, "t1"),
        ({"a/b": 1, "a/c": [2], "baggage": "tenant=1"}, CLIENT_ALL, "t2"),
        ({"a/b": 1}, CLIENT_ALL, "t2"),
        (None, CLIENT_ALL, "t2"),
        ({"a/b": 1, "a/c": [2]}, {}, "t2"),
    ],
    ids=["the same in another order", "a trace", "baggage", "less", "none", "other capabilities"],
)
def test_a_list_is_kept_for_requests_with_the_same_metadata(
    scope: str, meta: Any, declared: dict[str, Any], listed: str
) -> None:
    """Caching page, "Cache Key": a request whose params differ gets no result of another one."""
    backends = [Backend(name, MODERN, lists(5000, scope)) for name in "ab"]
    scene = Scene(MODERN, *backends)
    scene.result("tools/list", meta={"a/c": [2], "a/b": 1})
    other = Scene(MODERN, *backends, beside=scene, capabilities=declared)
    page = other.result("tools/list", meta=meta)
    assert [tool["name"] for tool in page["tools"]] == [f"a__{listed}", f"b__{listed}"]


@pytest.mark.parametrize("ttl", [90_000_000, 10**308])
def test_a_list_is_kept_for_a_day_at_most(ttl: int) -> None:
    scene = Scene(MODERN, *(Backend(name, MODERN, lists(ttl)) for name in "ab"))
    assert scene.result("tools/list")["ttlMs"] == 86_400_000
    scene.wait(86_401.0)
    assert names(scene) == ["a__t2", "b__t2"]


def test_a_page_is_public_if_all_its_parts_are() -> None:
    backends = [Backend("a", MODERN, lists(5000, "public")), Backend("b", MODERN, lists(9000))]
    page = Scene(MODERN, *backends).result("tools/list")
    assert (page["ttlMs"], page["cacheScope"]) == (5000, "private")


@pytest.mark.requirement("server/utilities/caching/scope-same")
@pytest.mark.parametrize(
    ("other", "fails_at", "scopes"),
    [
        ("public", None, ["public"] * 3),
        ("private", None, ["private"] * 3),
        ("public", 1, ["private"] * 3),
        ("public", 2, ["public"] * 3),
    ],
    ids=["all public", "one private", "one is missing first", "one is missing later"],
)
def test_all_pages_of_a_list_have_the_scope_of_the_first(
    other: str, fails_at: int | None, scopes: list[str]
) -> None:
    """Whichever servers they are from: one has a third page, the other has two."""

    def paged(most: int, scope: str, fails_at: int | None = None) -> Any:
        def answer(backend: Backend, peer: Peer, event: RequestReceived) -> None:
            page = int(json.decode(event.params).get("cursor", "1"))
            if len(backend.requests("tools/list")) == fails_at:
                peer.fail(event.key, ErrorData(INTERNAL_ERROR, "no"))
                return
            more = {"nextCursor": str(page + 1)} if page < most else {}
            peer.respond(event.key, {"tools": [], "ttlMs": 5000, "cacheScope": scope, **more})

        return answer

    backends = [
        Backend("a", MODERN, paged(3, "public")),
        Backend("b", MODERN, paged(2, other, fails_at)),
    ]
    scene, found = Scene(MODERN, *backends), list[str]()
    params: dict[str, Any] = {}
    for _ in scopes:
        page = scene.result("tools/list", params)
        found.append(page["cacheScope"])
        params = {"cursor": page.get("nextCursor")}
    assert found == scopes


@pytest.mark.parametrize(("server", "declared"), [(LEGACY, CLIENT_ALL), (MODERN, {})])
def test_a_list_is_kept_for_one_session_or_the_clients_that_declare_the_same(
    server: str, declared: dict[str, Any]
) -> None:
    backends = [Backend(name, server, lists(5000)) for name in "ab"]
    ann = Scene(server, *backends, settings=RelaySettings(list_ttl=5.0))
    again = Scene(server, *backends, beside=ann, capabilities=declared)
    for scene, page in ((ann, "t1"), (again, "t2"), (ann, "t1"), (again, "t2")):
        assert names(scene) == [f"a__{page}", f"b__{page}"]


@cells
def test_a_server_that_refuses_its_list_is_missing_though_it_gave_one_before(
    client: str, server: str
) -> None:
    def once(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if len(backend.requests("tools/list")) > 1:
            peer.fail(event.key, ErrorData(INTERNAL_ERROR, "no"))
        else:
            lists()(backend, peer, event)

    scene = Scene(client, Backend("a", server, once), Backend("b", server, lists()))
    assert names(scene) == ["a__t1", "b__t1"]
    page = scene.result("tools/list")
    assert [tool["name"] for tool in page["tools"]] == ["b__t2"]
    assert page["_meta"][UNAVAILABLE] == ["a"]


def test_a_page_from_which_a_server_is_missing_is_kept_by_nobody() -> None:
    def refuses(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.fail(event.key, ErrorData(INTERNAL_ERROR, "no"))

    backends = [Backend("a", MODERN, lists(5000, "public")), Backend("b", MODERN, refuses)]
    page = Scene(MODERN, *backends).result("tools/list")
    assert (page["ttlMs"], page["cacheScope"]) == (0, "private")


def test_a_tool_that_may_be_repeated_no_longer_is_not() -> None:
    def once(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        first = len(backend.requests("tools/list")) == 1
        tool = {"name": "t", "inputSchema": {}, "annotations": {"readOnlyHint": first}}
        peer.respond(event.key, {"tools": [tool]})

    scene = Scene(LEGACY, Backend("a", LEGACY, once))
    for known in ({"t"}, set[str]()):
        scene.result("tools/list")
        assert scene.relay.targets["a"].repeatable == known


def test_a_tool_loses_its_mirrored_arguments_by_whichever_name_it_has() -> None:
    """It has a prefix only while the list of the server before it is not known."""
    known: dict[str, Any] = {"a": False, "schema": MIRRORED}

    def first(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if known["a"]:
            peer.respond(event.key, {"tools": []})
        else:
            peer.fail(event.key, ErrorData(INTERNAL_ERROR, "busy"))

    def second(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.respond(event.key, {"tools": [{"name": "x", "inputSchema": known["schema"]}]})

    backends = [Backend("a", LEGACY, first), Backend("b", LEGACY, second)]
    scene = Scene(MODERN, *backends, settings=RelaySettings(naming=Naming.ON_CONFLICT))
    mirrored = scene.relay.header_params
    for known["a"], known["schema"], listed, mirrors in (
        (False, MIRRORED, "b__x", {"b__x"}),
        (True, MIRRORED, "x", {"b__x", "x"}),
        (True, {"type": "object"}, "x", set()),
    ):
        assert (names(scene), set(mirrored)) == ([listed], mirrors)


@pytest.mark.parametrize(
    ("naming", "tool", "mirrors"),
    [
        (Naming.ALWAYS, "x", {"b__x"}),
        (Naming.ON_CONFLICT, "x", {"b__x", "x"}),
        (Naming.ON_CONFLICT, "b__x", {"b__b__x", "b__x"}),
        (Naming.ON_CONFLICT, "echo", {"b__echo"}),
        (Naming.NEVER, "x", {"x"}),
        (Naming.NEVER, "echo", set()),
    ],
)
def test_arguments_are_mirrored_by_every_name_of_a_tool(
    naming: Naming, tool: str, mirrors: set[str]
) -> None:
    def second(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.respond(event.key, {"tools": [{"name": tool, "inputSchema": MIRRORED}]})

    backends = [Backend("a", LEGACY, tools), Backend("b", LEGACY, second)]
    scene = Scene(MODERN, *backends, settings=RelaySettings(naming=naming))
    scene.result("tools/list")
    assert set(scene.relay.header_params) == mirrors


def test_tools_without_end_are_not_noted_without_end() -> None:
    def fresh(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        schema, hints = {"type": "array"}, {"readOnlyHint": True}
        tool = {"inputSchema": MIRRORED, "outputSchema": schema, "annotations": hints}
        number = len(backend.requests("tools/list"))
        peer.respond(event.key, {"tools": [{"name": f"t{number}", **tool}, {"name": "u", **tool}]})

    scene, _ = relayed(LEGACY, MODERN, fresh, settings=RelaySettings(names=3))
    for _ in range(5):
        scene.result("tools/list")
    target, known = scene.relay.targets["a"], {"t1", "u", "t2"}
    assert target.repeatable == target.wrapped == set(target.header_params) == known
    assert set(scene.relay.header_params) == known


class Unsealing(Seal):
    """A seal whose keys are gone."""

    def seal(self, payload: bytes, binding: Binding, *, wall: float) -> str:
        raise RuntimeError("no keys")

    def open(self, text: str, binding: Binding, *, wall: float) -> bytes:
        raise RuntimeError("no keys")


@pytest.mark.parametrize(
    ("method", "params"), [("tools/list", None), ("tools/call", {"name": "a__ask"})]
)
def test_a_request_ends_though_what_is_done_for_it_raises(method: str, params: Any) -> None:
    backends = [Backend(name, MODERN, lists(nextCursor="2")) for name in "ab"]
    scene = Scene(MODERN, *backends)
    scene.relay.seal = Unsealing()
    with pytest.raises(RuntimeError):
        scene.ask(method, params)
    scene.move()
    assert [event.error.code for event in scene.told(ErrorReceived)] == [INTERNAL_ERROR]
    assert scene.relay.idle


class _Full(Backend):
    """A server with which no more conversations than so many can be opened."""

    most = 1

    def connect(self, scene: Scene, link: UpstreamLink) -> Peer:
        if len(self.wires) >= self.most:
            raise RuntimeError("no files left")
        return super().connect(scene, link)


def test_a_call_ends_though_what_is_done_to_send_it_again_raises() -> None:
    backend = _Full("a", LEGACY, tools)
    backend.most = 2
    scene = Scene(LEGACY, backend)
    settings = GatewaySettings(retry=RetrySettings(first_delay=0.1))
    scene.result("tools/list")
    target = scene.relay.targets["a"]
    target.guard, target.repeatable = ServerGuard("a", settings), {"wait"}
    scene.ask("tools/call", {"name": "wait"})
    scene.lose(backend)
    with pytest.raises(RuntimeError):
        scene.wait(1.0)
    scene.move()
    assert [event.error.code for event in scene.told(ErrorReceived)] == [INTERNAL_ERROR]
    assert scene.relay.idle


def test_all_requests_that_wait_for_a_server_end_though_what_is_done_for_them_raises() -> None:
    backend = _Full("a", LEGACY, tools)
    backend.down = True
    scene = Scene(LEGACY, backend)
    for _ in range(3):
        scene.ask("tools/call", {"name": "echo"})
    backend.down = False
    with pytest.raises(RuntimeError):
        scene.move()
    scene.move()
    assert [event.error.code for event in scene.told(ErrorReceived)] == [INTERNAL_ERROR] * 3
    assert scene.relay.idle


def test_a_server_that_has_no_such_list_is_missing_nowhere() -> None:
    backends = [Backend("a", MODERN, lists(5000)), Backend("b", MODERN, lists(0), prompts={})]
    page = Scene(MODERN, *backends).result("tools/list")
    assert [tool["name"] for tool in page["tools"]] == ["a__t1"]
    assert UNAVAILABLE not in page["_meta"]
    assert page["ttlMs"] == 5000
    assert not backends[1].requests("tools/list")


@cells
@pytest.mark.parametrize(("most", "pages"), [(1 << 24, 3), (1300, 2)])
def test_a_merged_list_is_kept_whole_if_there_is_room(
    client: str, server: str, most: int, pages: int
) -> None:
    settings = RelaySettings(list_ttl=5.0, list_bytes=most)
    scene = Scene(client, *(Backend(name, server, lists(5000)) for name in "ab"), settings=settings)
    first, kept = scene.result("tools/list"), dict(scene.relay.lists._kept)
    again = scene.result("tools/list")
    assert first == again
    assert len(kept) == pages
    assert scene.relay.lists._kept == kept
    scene.wait(5.0)
    assert names(scene) == ["a__t2", "b__t2"]


def test_a_server_that_offers_a_list_from_now_on_is_in_a_list_that_was_kept() -> None:
    backends = [Backend("a", MODERN, lists(60_000, "public"))]
    backends.append(Backend("b", MODERN, lists(60_000, "public"), prompts={}))
    backends[1].personal = True
    scene = Scene(MODERN, *backends)
    assert [names(scene), names(scene)] == [["a__t1"], ["a__t1"]]
    backends[1].config = backends[0].config
    scene.front.principal = "bob"  # whose conversation is another one
    scene.result("prompts/get", {"name": "b__p"})
    assert names(scene) == ["a__t1", "b__t1"]


def test_a_page_of_a_merged_list_is_not_kept_as_all_of_it() -> None:
    def paged(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        second = b"cursor" in bytes(event.params)
        tool = {"name": f"t{1 + second}", "inputSchema": {"type": "object"}}
        more = {} if second else {"nextCursor": "2"}
        hints = {"ttlMs": 5000, "cacheScope": "public"}
        peer.respond(event.key, {"tools": [tool], **hints, **more})

    scene = Scene(MODERN, *(Backend(name, MODERN, paged) for name in "ab"))
    for _ in range(3):
        first = scene.result("tools/list")
        assert [tool["name"] for tool in first["tools"]] == ["a__t1", "b__t1"]
        second = scene.result("tools/list", {"cursor": first["nextCursor"]})
        assert [tool["name"] for tool in second["tools"]] == ["a__t2", "b__t2"]
        assert "nextCursor" not in second


def test_lists_that_are_kept_have_a_limit() -> None:
    backends = [Backend("a", MODERN, lists(5000, x=" " * 500)), Backend("b", MODERN, lists(5000))]
    scene = Scene(MODERN, *backends, settings=RelaySettings(list_bytes=1200))
    names(scene)
    assert names(scene) == ["a__t2", "b__t1"]


def test_capabilities_of_clients_are_within_the_limit() -> None:
    backends = [Backend(name, MODERN, lists()) for name in "ab"]
    scene = Scene(MODERN, *backends, settings=RelaySettings(list_bytes=20_000))
    for n in range(10):
        capabilities = {"experimental": {f"x{n}": {"y": "z" * 10_000}}}
        names(Scene(MODERN, *backends, beside=scene, capabilities=capabilities))
    kept = scene.relay.lists._kept
    assert len(kept) == 20
    assert sum(len(repr(key)) for key in kept) < 20_000


@pytest.mark.parametrize("shared", [False, True])
def test_lists_of_a_session_that_has_ended_are_kept_no_longer(shared: bool) -> None:
    """With a conversation that is shared, an answer may come when the session has ended."""

    def late(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if backend.waiting.pop("leave", False):
            other.leave()
        lists()(backend, peer, event)

    backends = [Backend(name, LEGACY, late) for name in "ab"]
    scene = Scene(LEGACY, *backends)
    for target in scene.relay.targets.values():
        target.shared = shared
    names(scene)
    other = Scene(LEGACY, *backends, beside=scene)
    names(other)
    assert len(scene.relay.lists._kept) == 4
    backends[1].waiting["leave"] = shared
    other.ask("tools/list")
    other.leave()
    assert len(scene.relay.lists._kept) == 2
    assert {key[-1][2] for key in scene.relay.lists._kept} == {(scene.front, "")}


@pytest.mark.parametrize("result", [{"tools": 5}, {"tools": {}}, {"tools": [], "nextCursor": 5}])
def test_a_page_that_is_none_is_left_out(result: Any) -> None:
    def broken(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.respond(event.key, result)

    scene = Scene(LEGACY, Backend("a", LEGACY, broken), Backend("b", LEGACY, lists()))
    page = scene.result("tools/list")
    assert [tool["name"] for tool in page["tools"]] == ["b__t1"]
    assert page["_meta"] == {"mcpcore/unavailable": ["a"]}


@clients
def test_a_server_that_has_not_told_its_era_is_waited_for_as_long_as_for_a_list(
    client: str,
) -> None:
    late = Backend("b", LEGACY, tools)
    late.down = True
    scene = Scene(client, Backend("a", LEGACY, tools), late)
    page = scene.ask("tools/list")
    if client == MODERN:
        scene.client.request(
            "subscriptions/listen", {"notifications": {"toolsListChanged": True}}, now=0.0
        )
    else:
        scene.client.request("resources/subscribe", {"uri": "b+file:///x"}, now=0.0)
    scene.move()
    scene.wait(9.9)
    assert not scene.told(ResultReceived)
    scene.wait(0.2)
    [listed] = scene.told(ResultReceived)
    assert (listed.request, b"a__echo" in bytes(listed.result)) == (page, True)
    if client == MODERN:
        assert scene.told(SubscriptionAcknowledged)
    else:
        assert "cannot be reached" in scene.told(ErrorReceived)[0].error.message
    assert scene.result("tools/list")["_meta"][UNAVAILABLE] == ["b"]  # nobody waits again
    heard = changes(scene)
    late.down = False
    scene.move()
    assert not late.requests()
    assert (CHANGED, None) in changes(scene)[len(heard) :]
    assert scene.result("tools/list")["tools"][1]["name"] == "b__echo"


@pytest.mark.parametrize("back", ["at once", "by that list", "by a call", "with another list"])
@cells
def test_a_server_that_hangs_delays_one_list(client: str, server: str, back: str) -> None:
    backends = [Backend(name, server, lists()) for name in "ab"]
    scene = Scene(client, *backends, settings=RelaySettings(grace=30.0))
    watch(scene)
    assert names(scene) == ["a__t1", "b__t1"]
    backends[1].down = True
    scene.ask("tools/list")
    before = len(scene.told(ResultReceived))
    scene.wait(9.9)
    assert len(scene.told(ResultReceived)) == before
    scene.wait(0.2)
    assert len(scene.told(ResultReceived)) == before + 1
    heard = changes(scene)
    if back != "at once":
        assert names(scene) == ["a__t3", "b__t1"]
        scene.wait(31.0)
        assert names(scene) == ["a__t4"]
        assert (CHANGED, None) in changes(scene)[len(heard) :]
        heard = changes(scene)
    if back == "by a call":
        scene.client.request("tools/call", {"name": "b__echo", "arguments": {}}, now=scene.now)
    elif back == "with another list":
        tell(backends[1], CHANGED)
    backends[1].down = False
    scene.wait(0.2)
    assert (CHANGED, None) in changes(scene)[len(heard) :]
    assert len(backends[1].requests("tools/list")) == 3
    if back != "with another list":
        assert names(scene)[1:] == ["b__t3"]  # the answer that was late
        scene.wait(11.0)
    assert names(scene)[1:] == ["b__t4"]


# Servers that are away


def cut(scene: Scene, backend: Backend) -> None:
    """End all conversations with a server, which answers no more."""
    backend.down = True
    scene.lose(backend)


def listed_while_away(scene: Scene, backend: Backend) -> list[str]:
    """The names of a list for which the server is asked in vain."""
    id = scene.client.request("tools/list", None, now=scene.now)
    scene.move()
    cut(scene, backend)
    [event] = [each for each in scene.events if getattr(each, "request", None) == id]
    return [tool["name"] for tool in json.decode(event.result)["tools"]]  # type: ignore[attr-defined]


@cells
def test_a_server_that_is_away_stays_in_lists_for_a_time(client: str, server: str) -> None:
    backends = [Backend("a", server, lists()), Backend("b", server, lists())]
    scene = Scene(client, *backends, settings=RelaySettings(grace=30.0))
    watch(scene)
    assert names(scene) == ["a__t1", "b__t1"]
    cut(scene, backends[0])
    heard = len(changes(scene))
    assert listed_while_away(scene, backends[0]) == ["a__t1", "b__t2"]
    scene.wait(29)
    assert listed_while_away(scene, backends[0]) == ["a__t1", "b__t3"]
    assert len(changes(scene)) == heard
    scene.wait(2)
    assert listed_while_away(scene, backends[0]) == ["b__t4"]
    assert (CHANGED, None) in changes(scene)[heard:]
    heard = len(changes(scene))
    backends[0].down = False
    scene.wait(200)
    assert names(scene) == ["a__t2", "b__t5"]
    assert (CHANGED, None) in changes(scene)[heard:]


# Notices


@cells
def test_changes_of_a_list_are_told_a_moment_apart(client: str, server: str) -> None:
    scene, backend = relayed(client, server)
    scene.call("echo")
    watch(scene)
    for number in range(5):
        tell(backend, CHANGED, {"_meta": {"n": number}})
        tell(backend, "notifications/prompts/list_changed")
        scene.move()
    assert changes(scene).count((CHANGED, None)) == 1
    scene.wait(0.09)
    assert changes(scene).count((CHANGED, None)) == 1
    scene.wait(0.02)
    assert changes(scene).count((CHANGED, None)) == 2
    told = scene.told(NotificationReceived) + scene.told(SubscriptionNotification)
    told = [json.decode(each.params)["_meta"]["n"] for each in told if each.method == CHANGED]
    assert told == [0, 4]
    scene.wait(0.2)
    assert changes(scene).count((CHANGED, None)) == 2


@pytest.mark.parametrize("what", ["announced", "gone and back"])
def test_many_changes_cost_the_same_for_many_sessions(what: str) -> None:
    steps = list[int]()
    for sessions in (1, 10):
        backends = [Backend("a", MODERN, tools), Backend("b", LEGACY, tools)]
        first = Scene(LEGACY, *backends, settings=RelaySettings(list_ttl=100.0))
        for number in range(sessions):
            other = Scene(LEGACY, *backends, beside=first, principal=f"p{number}")
            other.result("tools/list")  # pages of the neighbour are kept for each
        link, _, _ = backends[0].wires[0]
        [listen] = link.listens
        change = SubscriptionNotification(listen, CHANGED, Raw(b"{}"))
        announce = partial(first.relay.from_server, link, change, now=0.0, wall=WALL)
        if what != "announced":
            announce = partial(first.relay.conversations.came_back, link)
        announce()
        steps.append(steps_of(announce, "/relay/"))
    assert steps[0] == steps[1]


@pytest.mark.parametrize("server", [LEGACY, MODERN])
def test_changes_that_the_server_did_not_declare_are_told_to_nobody(server: str) -> None:
    backends = [Backend("a", server, tools, tools={}), Backend("b", server, tools)]
    scene = Scene(LEGACY, *backends)
    scene.result("tools/call", {"name": "a__echo"})
    for _, near, _ in backends[0].wires:
        near.receive(json.encode({"jsonrpc": "2.0", "method": CHANGED}), now=0.0)
    scene.move()
    assert changes(scene) == []


def test_a_stream_without_resources_hears_of_changed_lists() -> None:
    """The conversation with a legacy server begins for it."""
    scene, backend = relayed(MODERN, LEGACY)
    watch(scene)
    tell(backend, CHANGED)
    scene.move()
    assert changes(scene) == [(CHANGED, None)]


def test_no_servers_declare_nothing() -> None:
    assert merged_capabilities([]) == ServerCapabilities()


def test_line_breaks_of_a_server_end_no_line_of_the_client() -> None:
    """Over HTTP a server may send them anywhere between tokens."""
    silent = Backend("a", MODERN, lambda backend, peer, event: None)
    settings = RelaySettings(naming=Naming.NEVER)  # no name is written anew
    scene = Scene(MODERN, silent, Backend("b", MODERN, lists(0)), settings=settings)
    scene.ask("tools/list")
    [(link, _, _)] = silent.wires
    [request] = link.pending
    page = Raw(b'{"tools":[\n{"name":"t",\r\n"inputSchema":{}}\n]}')
    event = ResultReceived(
        request=request, method="tools/list", result=page, revision=BY_NAME[MODERN]
    )
    scene.relay.from_server(link, event, now=scene.now, wall=WALL)
    line = scene.front.lines_to_send()
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    assert b'"name":"t",' in line


def test_skills_are_offered_where_names_have_no_prefix() -> None:
    skilled: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/skills": {}, "x/y": {}}}
    for naming, offered in ((Naming.ALWAYS, {"x/y"}), (None, set(skilled["extensions"]))):
        only = Backend("a", MODERN, tools, **skilled)
        relay = Scene(MODERN, only, settings=RelaySettings(naming=naming)).relay
        assert set(relay.capabilities().extensions or ()) == offered


def test_a_result_without_tools_is_an_empty_list() -> None:
    def none(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.respond(event.key, {"note": "of outputSchema"})

    page = Scene(MODERN, Backend("a", MODERN, none), Backend("b", MODERN, none)).result(
        "tools/list"
    )
    assert page["tools"] == []
    assert UNAVAILABLE not in page["_meta"]
