"""Several servers in one: names, lists, cursors, and bodies that stay as they are."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, json

from mcpcore.engine import Peer
from mcpcore.engine.events import (
    ErrorReceived,
    InputRequired,
    NotificationReceived,
    RequestReceived,
    ResultReceived,
    SubscriptionOpened,
)
from mcpcore.relay.names import ListCut, NameConflict, NameKind, Names, Naming
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.errors import METHOD_NOT_FOUND, ErrorData
from tests.relay.bench import CELLS, LEGACY, MODERN, Backend, Scene, text, tools

cells = pytest.mark.parametrize(("client", "server"), CELLS)
T, P, U = NameKind.TOOL, NameKind.PROMPT, NameKind.URI


def several(client: str, naming: Naming | None = None, **handlers: Any) -> Scene:
    """A client before two servers, the second of the other era than the first."""
    backends = [
        Backend(name, era, handlers.get(name, tools))
        for name, era in (("a", LEGACY), ("b", MODERN))
    ]
    return Scene(client, *backends, settings=RelaySettings(naming=naming))


# Names


@pytest.mark.parametrize(
    ("kind", "name", "outer"),
    [
        (T, "add", "a__add"),
        (T, "b__add", "a__b__add"),
        (P, "greet", "a__greet"),
        (U, "file:///x", "a+file:///x"),
        (U, "git+https://x", "a+git+https://x"),
        (U, "ui://host/x", "ui://a+host/x"),
        (U, "x:{y}", "a+x:{y}"),
    ],
)
def test_a_name_leads_back_to_its_server(kind: NameKind, name: str, outer: str) -> None:
    names = Names(["a", "b"], Naming.ALWAYS, 10)
    assert names.outward(kind, "a", name) == outer
    assert names.inward(kind, outer) == ("a", name)
    assert Names(["b"], Naming.ALWAYS, 10).inward(kind, outer) is None


@given(st.text(min_size=1, max_size=200), st.sampled_from(Naming), st.sampled_from(NameKind))
def test_any_name_leads_back_or_is_reported(name: str, naming: Naming, kind: NameKind) -> None:
    names = Names(["a", "b"], naming, 10)
    for server in ("a", "b"):
        outer = names.outward(kind, server, name)
        if outer is None:
            assert names.conflicts == [NameConflict(kind, name, server, "a")]
        else:
            assert names.inward(kind, outer) == (server, name)
            assert names.outward(kind, server, name) == outer  # for good
            if naming is Naming.ALWAYS and kind is not U:
                assert len(outer) <= 64


@pytest.mark.parametrize(
    ("server", "tool", "uri"),
    [
        ("my_server", "my_server___x", "my.server+x:1"),
        ("claude.ai", "claude_ai___x", "claude.ai+x:1"),
        ("GitHub-2", "GitHub-2___x", "github-2+x:1"),
        ("a_b.c-d", "a_b_c-d___x", "a.b.c-d+x:1"),
        ("a" * 33, "a" * 32 + "___x", "a" * 32 + "+x:1"),
        ("a" * 31 + "_b", "a" * 31 + "___x", "a" * 31 + "+x:1"),
        ("Brave Search", "Brave_Search___x", "brave.search+x:1"),
        ("@acme/files (beta)", "acme_files_beta___x", "acme.files.beta+x:1"),
        ("b__.c", "b_c___x", "b.c+x:1"),
        ("-_ü-7zip-", "s7zip-___x", "s7zip-+x:1"),
    ],
)
def test_names_of_servers_in_names_of_tools_and_in_uris(server: str, tool: str, uri: str) -> None:
    names = Names([server, "a"], Naming.ALWAYS, 10)
    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", tool)
    for kind, name, outer in ((T, "_x", tool), (U, "x:1", uri)):
        assert names.outward(kind, server, name) == outer
        assert names.inward(kind, outer) == (server, name)
    assert names.inward(U, uri.upper()) == (server, "X:1")  # schemes are the same in any case
    assert names.inward(T, tool.swapcase()) is None


@pytest.mark.parametrize(
    ("servers", "text"),
    [
        (["", "b"], "'' cannot name a server"),
        (["天気"], "'天気' cannot name a server"),
        (["-._"], "'-._' cannot name a server"),
        (["a", "a"], "two servers, 'a' and 'a', have one prefix"),
        (["Git", "git"], "two servers, 'Git' and 'git', have one prefix"),
        (["a.b", "a b"], "two servers, 'a.b' and 'a b', have one prefix"),
        (["x" * 33, "x" * 34], "have one prefix"),
    ],
)
def test_names_of_servers_without_a_prefix_of_their_own(servers: list[str], text: str) -> None:
    for naming in (Naming.ALWAYS, Naming.ON_CONFLICT):
        with pytest.raises(ValueError, match=re.escape(text)):
            Names(servers, naming, 10)
    Names(servers, Naming.NEVER, 10)  # where none is used


# Lists and calls


@pytest.mark.parametrize("client", [LEGACY, MODERN])
@pytest.mark.parametrize(
    ("naming", "listed"),
    [
        (Naming.ALWAYS, ["a__echo", "b__echo"]),
        (Naming.ON_CONFLICT, ["echo", "b__echo"]),
        (Naming.NEVER, ["echo"]),
    ],
)
def test_what_several_servers_offer(client: str, naming: Naming, listed: list[str]) -> None:
    scene = several(client, naming)
    assert [tool["name"] for tool in scene.result("tools/list")["tools"]] == listed
    for name, server in zip(listed, "ab", strict=False):
        assert scene.call(name) == f"{server}: {{}}"
    prompts = [each.replace("echo", "p") for each in listed]
    assert [each["name"] for each in scene.result("prompts/list")["prompts"]] == prompts
    begin = ["a+", "b+"] if naming is Naming.ALWAYS else ["", ""]
    uris = [each["uri"] for each in scene.result("resources/list")["resources"]]
    assert uris == [f"{begin[0]}file:///a", f"{begin[1]}file:///b"]
    conflicts = [NameConflict(T, "echo", "b", "a"), NameConflict(P, "p", "b", "a")]
    assert scene.relay.names.conflicts == (conflicts if naming is Naming.NEVER else [])


@pytest.mark.parametrize("server", [LEGACY, MODERN])
@pytest.mark.parametrize("item", ['{"n\\u0061me":"a__echo"}', '{"name":"a__echo"},{"name":5},7'])
def test_no_form_of_a_list_takes_the_name_of_another_server(server: str, item: str) -> None:
    def listed(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.respond(event.key, Raw(f'{{"tools":[{item}]}}'.encode()))

    scene = Scene(MODERN, Backend("a", LEGACY, tools), Backend("b", server, listed))
    names = [each["name"] for each in scene.result("tools/list")["tools"] if isinstance(each, dict)]
    assert names[:2] == ["a__echo", "b__a__echo"]


@pytest.mark.parametrize("client", [LEGACY, MODERN])
@pytest.mark.parametrize("naming", Naming)
def test_a_name_that_no_server_has(client: str, naming: Naming) -> None:
    scene = several(client, naming)
    error = scene.error("tools/call", {"name": "none"})
    assert (error.code, error.message) == (-32602, 'unknown tool: "none"')
    error = scene.error("resources/read", {"uri": "none:1"})
    assert error.code == (-32602 if client == MODERN else -32002)
    assert json.decode(error.data) == {"uri": "none:1"}


@pytest.mark.parametrize("naming", [Naming.ON_CONFLICT, Naming.NEVER])
def test_a_call_before_any_list(naming: Naming) -> None:
    """The lists are read to find out whose it is, to the last page."""
    scene = several(MODERN, naming, b=pages(4))
    assert scene.call("t3") == "b: {}"


@pytest.mark.parametrize("naming", [Naming.ON_CONFLICT, Naming.NEVER])
@pytest.mark.parametrize("late", ["a", "b"])
def test_the_order_of_servers_tells_whose_a_name_is_not_that_of_their_lists(
    naming: Naming, late: str
) -> None:
    scene = several(MODERN, naming)
    slow = scene.backends["ab".index(late)]
    slow.down = True
    scene.client.request("tools/call", {"name": "echo", "arguments": {}}, now=0.0)
    scene.move()
    slow.down = False
    scene.move()
    [result] = scene.told(ResultReceived)
    assert json.decode(result.result)["content"][0]["text"] == "a: {}"


@pytest.mark.parametrize("naming", [Naming.ON_CONFLICT, Naming.NEVER])
def test_a_name_does_not_move_while_the_server_before_is_away(naming: Naming) -> None:
    scene = several(MODERN, naming)
    scene.backends[0].down = True
    for name in ("echo", "b__echo"):
        scene.client.request("tools/call", {"name": name, "arguments": {}}, now=0.0)
    scene.wait(0.0)
    scene.wait(10.0)
    assert len(scene.backends[1].requests("tools/call")) == (naming is Naming.ON_CONFLICT)
    assert scene.told(ErrorReceived)
    scene.backends[0].down = False
    scene.move()
    assert scene.call("echo") == "a: {}"


@pytest.mark.parametrize("how", ["away", "silent", "fails"])
def test_a_name_waits_for_the_server_before_that_may_have_it(how: str) -> None:
    """Nobody gets a tool of the second server under a name that may be of the first one."""

    def no_list(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.fail(event.key, ErrorData(-32603, "not now"))

    def kept(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if event.method != "tools/list":
            tools(backend, peer, event)
            return
        tool = {"name": "echo", "inputSchema": {"type": "object"}}
        peer.respond(event.key, {"tools": [tool], "ttlMs": 3_600_000, "cacheScope": "public"})

    first, other = Backend("a", MODERN, no_list), Backend("b", MODERN, kept)
    first.down = how != "fails"
    settings = RelaySettings(naming=Naming.NEVER, grace=60.0, list_timeout=1.0, changes_apart=0.0)
    scene = Scene(LEGACY, first, other, settings=settings)
    if how == "away":
        first.wires[0][1].receive_eof(now=0.0, reason="refused")
        scene.move()

    def names() -> list[str]:
        before = len(scene.told(ResultReceived))
        scene.client.request("tools/list", {}, now=scene.now)
        scene.move()
        scene.wait(2.0)
        [page] = scene.told(ResultReceived)[before:]
        return [tool["name"] for tool in json.decode(page.result)["tools"]]

    for _ in range(3):
        assert names() == []
        scene.client.request("tools/call", {"name": "echo", "arguments": {}}, now=scene.now)
        scene.move()
        scene.wait(2.0)
    messages = [each.error.message for each in scene.told(ErrorReceived)]
    assert [each.partition(":")[0] for each in messages] == ["a"] * 3
    assert not other.requests("tools/call")
    before = len(scene.told(NotificationReceived))
    scene.wait(60.0)
    told = {each.method for each in scene.told(NotificationReceived)[before:]}
    assert "notifications/tools/list_changed" in told
    assert names() == ["echo"]
    first.down, first.handler = False, tools
    for _ in range(3):
        scene.wait(10.0)
        assert names() == ["echo"]
        assert scene.call("echo") == "b: {}"  # it has been told of


def test_a_list_that_takes_long_to_read_delays_others_for_the_grace_time() -> None:
    asked: list[tuple[Peer, Any]] = []

    def slow(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        asked.append((peer, event.key))

    backends = [Backend("a", MODERN, tools), Backend("b", MODERN, slow)]
    settings = RelaySettings(naming=Naming.NEVER, grace=20.0)
    scene = Scene(MODERN, *backends, settings=settings)
    for pages in (3, 1):
        scene.client.request("tools/list", {}, now=scene.now, timeout=None)
        scene.move()
        for _ in range(pages):
            [(peer, key)] = asked
            asked.clear()
            number = len(backends[1].requests())
            tool = {"name": f"t{number}", "inputSchema": {"type": "object"}}
            peer.respond(key, {"tools": [tool], "nextCursor": "c"})
            scene.wait(9.0)
        assert not asked
    first, second = (json.decode(each.result) for each in scene.told(ResultReceived))
    assert [tool["name"] for tool in first["tools"]] == ["echo", "t1"]
    assert [tool["name"] for tool in second["tools"]] == ["echo", "t4"]
    assert scene.relay.names.conflicts == [ListCut("b", "tools/list", 3)]


def test_a_name_stays_with_its_server_while_that_is_away() -> None:
    scene = several(MODERN, Naming.NEVER)
    assert [tool["name"] for tool in scene.result("tools/list")["tools"]] == ["echo"]
    first, other = scene.backends
    first.down = True
    scene.lose(first, reason="crashed")
    for seconds in (0.0, 59.0, 3600.0):
        scene.wait(seconds)
        scene.client.request("tools/list", {}, now=scene.now)
        scene.client.request("tools/call", {"name": "echo", "arguments": {}}, now=scene.now)
        scene.wait(0.0)
        scene.lose(first, reason="crashed")
    errors = [each.error.message for each in scene.told(ErrorReceived)]
    assert [each.partition(":")[0] for each in errors] == ["a"] * 3
    assert not other.requests("tools/call")


@pytest.mark.parametrize("name", ["x" * 62, "x" * 52 + "_0123abcd"])
def test_a_long_name_is_known_to_a_relay_that_has_not_given_it(name: str) -> None:
    def named(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if event.method == "tools/list":
            tool = {"name": name, "inputSchema": {"type": "object"}}
            peer.respond(event.key, {"tools": [tool]})
        else:
            peer.respond(event.key, text(json.decode(event.params)["name"]))

    first = several(MODERN, a=named, b=named)
    outer = first.result("tools/list")["tools"][1]["name"]
    assert len(outer) == 64
    scene = several(MODERN, a=named, b=named)
    assert [scene.call(outer) for _ in range(2)] == [name, name]
    assert len(scene.backends[0].requests("tools/list")) == 1
    assert scene.call(f"{outer[:-1]}X") == f"{outer[3:-1]}X"
    assert len(scene.backends[0].requests("tools/list")) == 1


@pytest.mark.parametrize(
    ("kind", "name", "outer", "of_other"),
    [
        (T, "b__x", "a__b__x", "x"),
        (P, "b__x", "a__b__x", "x"),
        (U, "b+x:1", "a+b+x:1", "x:1"),
        (U, "ui://b+h", "ui://a+b+h", "ui://h"),
        (T, "a__x", "a__x", None),
        (T, "c__x", "c__x", None),
    ],
)
def test_no_server_has_a_name_with_the_prefix_of_another(
    kind: NameKind, name: str, outer: str, of_other: str | None
) -> None:
    """Another process may have given it to a client for what that one has."""
    names = Names(["a", "b"], Naming.ON_CONFLICT, 10)
    assert names.outward(kind, "a", name) == outer
    assert names.inward(kind, outer) == ("a", name)
    assert names.inward(kind, name) == (("a", name) if of_other is None else ("b", of_other))


@pytest.mark.parametrize("naming", [Naming.ALWAYS, Naming.ON_CONFLICT])
def test_a_shortened_name_is_the_only_one(naming: Naming) -> None:
    """What holds for a tool by its name, such as its mirrored arguments, would not for another."""
    names, name = Names(["a", "b"], naming, 10), "x" * 63
    names.read = {("a", "tools/list"), ("a", "prompts/list")}
    for kind in (T, P):
        outer = names.outward(kind, "b", name)
        assert outer is not None
        assert names.inward(kind, outer) == ("b", name)
        assert names.inward(kind, f"b__{name}") is None


@pytest.mark.parametrize("naming", [Naming.ALWAYS, Naming.ON_CONFLICT])
def test_a_retry_at_a_relay_that_has_not_given_the_name(naming: Naming) -> None:
    name = "x" * 62

    def asks(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if event.method == "tools/list":
            tool = {"name": name, "inputSchema": {"type": "object"}}
            peer.respond(event.key, {"tools": [tool]})
        elif event.request_state is None:
            peer.require_input(event.key, {}, "state")
        else:
            peer.respond(event.key, text(json.decode(event.params)["name"]))

    def two() -> Scene:
        backends = [Backend(each, MODERN, asks) for each in "ab"]
        return Scene(MODERN, *backends, settings=RelaySettings(naming=naming))

    first = two()
    first.answers = None
    outer = first.result("tools/list")["tools"][1]["name"]
    params = {"name": outer, "arguments": {}}
    first.ask("tools/call", params)
    [asked] = first.told(InputRequired)
    scene = two()
    retried = scene.result("tools/call", {**params, "requestState": asked.state})
    assert retried["content"][0]["text"] == name
    assert not scene.backends[0].requests("tools/call")


@pytest.mark.parametrize("naming", [Naming.ON_CONFLICT, Naming.NEVER])
def test_names_in_results_leave_room_for_those_of_lists(naming: Naming) -> None:
    names = Names(["a", "b"], naming, 6)
    for number in range(13):
        assert names.outward(U, "a", f"x:{number}", listed=False) == f"x:{number}"
        assert names.inward(U, "x:0" if number < 8 else f"x:{number}") is not None
    assert names.inward(U, "x:12") == names.inward(U, "x:12") == ("a", "x:12")
    assert names.inward(U, "x:1") is None
    assert [names.outward(U, "a", f"y:{number}") for number in range(4)][3] is None
    assert names.inward(U, "y:2") == ("a", "y:2")


def test_a_name_in_a_result_is_given_to_the_server_alone_that_lists_it() -> None:
    """A server that links to what it has not takes nothing from the one that has it."""
    names = Names(["a", "b"], Naming.NEVER, 10)
    assert names.outward(U, "a", "x:1", listed=False) == "x:1"
    assert names.outward(U, "b", "x:1", listed=False) is None
    assert names.inward(U, "x:1") == ("a", "x:1")
    assert names.outward(U, "b", "x:1") == "x:1"
    assert names.outward(U, "a", "x:1", listed=False) is None
    assert names.outward(U, "a", "x:1") is None
    assert names.inward(U, "x:1") == ("b", "x:1")


def test_a_name_that_a_list_has_takes_no_room_from_those_in_results() -> None:
    names = Names(["a", "b"], Naming.NEVER, 2)
    names.outward(U, "a", "x:1", listed=False)
    names.outward(U, "a", "x:1")
    names.outward(U, "a", "y:1", listed=False)
    names.inward(U, "x:1")
    names.outward(U, "a", "y:2", listed=False)
    assert names.inward(U, "y:1") == ("a", "y:1")


@pytest.mark.parametrize(("limit", "why"), [(4, "too many names"), (9, "'a' has one of that name")])
def test_a_conflict_says_why(limit: int, why: str) -> None:
    """A server that lists too much takes no room from the others."""
    names = Names(["a", "b"], Naming.NEVER, limit)
    for name in ("add", "sub", "mul"):
        names.outward(T, "a", name)
    names.outward(T, "b", "div")
    if limit == 9:
        names.outward(T, "b", "add")
    [conflict] = names.conflicts
    assert isinstance(conflict, NameConflict)
    where = "b" if limit == 9 else "a"
    assert str(conflict) == f"the tool {conflict.name!r} of {where!r} is left out: {why}"
    assert names.inward(T, "div") == ("b", "div")


def paged(*pages: str, failing: int | None = None) -> Any:
    """A list of tools in these pages, of which one fails the first time."""
    failed: list[int] = []

    def answer(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if event.method != "tools/list":
            tools(backend, peer, event)
            return
        page = int(json.decode(event.params).get("cursor", "0"))
        if page == failing and not failed:
            failed.append(page)
            peer.fail(event.key, ErrorData(-32603, "not now"))
            return
        listed = [{"name": each, "inputSchema": {}} for each in pages[page].split()]
        more = {"nextCursor": str(page + 1)} if page + 1 < len(pages) else {}
        peer.respond(event.key, {"tools": listed, **more})

    return answer


@pytest.mark.parametrize(("pages", "cut"), [(1, True), (2, False)])
def test_a_list_with_more_pages_than_are_read_is_told_of(pages: int, cut: bool) -> None:
    backends = [Backend("a", MODERN, paged("one", "x")), Backend("b", MODERN, paged("x"))]
    settings = RelaySettings(naming=Naming.NEVER, pages=pages)
    scene = Scene(MODERN, *backends, settings=settings)
    assert scene.call("x") == ("b: {}" if cut else "a: {}")
    told = [str(each) for each in scene.relay.names.conflicts if isinstance(each, ListCut)]
    text = "tools/list of 'a' is read for 1 pages and has more: names on the others are not known"
    assert told == [text] * cut


@pytest.mark.parametrize("first", ["tools/list", "tools/call"])
@pytest.mark.parametrize("client", [LEGACY, MODERN])
def test_whose_a_name_is_does_not_depend_on_the_pages_that_were_read(
    client: str, first: str
) -> None:
    backends = [Backend("a", MODERN, paged("one", "two", "x")), Backend("b", MODERN, paged("x y"))]
    scene = Scene(client, *backends, settings=RelaySettings(naming=Naming.NEVER))
    if first == "tools/call":
        assert scene.call("x") == "a: {}"
    listed, cursor = list[str](), dict[str, str]()
    while True:
        page = scene.result("tools/list", cursor)
        listed += [tool["name"] for tool in page["tools"]]
        if "nextCursor" not in page:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert listed == ["one", "y", "two", "x"]
    assert [scene.call(name) for name in ("x", "y")] == ["a: {}", "b: {}"]
    before = len(backends[0].requests("tools/list"))
    scene.result("tools/list")
    assert len(backends[0].requests("tools/list")) == before + 1


@pytest.mark.parametrize("first", ["tools/list", "tools/call"])
@pytest.mark.parametrize("had", ["a", "b"])
def test_a_name_that_a_server_adds_later_stays_with_the_first_that_had_it(
    had: str, first: str
) -> None:
    offered = {"a": "one", "b": "two"}

    def adds(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        paged(offered[backend.name])(backend, peer, event)

    backends = [Backend(name, MODERN, adds) for name in offered]
    scene = Scene(MODERN, *backends, settings=RelaySettings(naming=Naming.NEVER))
    scene.result(first, {"name": "one"} if first == "tools/call" else {})
    for name in (had, "ab".replace(had, "")):  # the other one has it later
        offered[name] += " new"
        if first == "tools/list":
            scene.result("tools/list")
        assert scene.call("new") == f"{had}: {{}}"
    scene.result("tools/list")
    [other] = {"a", "b"} - {had}
    assert set(scene.relay.names.conflicts) == {NameConflict(T, "new", other, had)}
    assert scene.call("new") == f"{had}: {{}}"


@pytest.mark.parametrize(
    ("naming", "method", "params", "listed"),
    [
        (Naming.NEVER, "tools/call", {"name": "unknown"}, "tools/list"),
        (Naming.ON_CONFLICT, "tools/call", {"name": "unknown"}, "tools/list"),
        (  # as if it were shortened
            *(Naming.ALWAYS, "tools/call", {"name": f"a__{'x' * 52}_deadbeef"}, "tools/list"),
        ),
        (
            *(Naming.NEVER, "subscriptions/listen"),
            *({"notifications": {"resourceSubscriptions": ["x:1"]}}, "resources/list"),
        ),
    ],
)
@pytest.mark.parametrize("lacking", [False, True])
def test_unknown_names_make_no_client_read_all_lists_each_time(
    naming: Naming, method: str, params: Any, listed: str, lacking: bool
) -> None:
    """``lacking``: True with a server that declares lists which it has not."""

    def refuses(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.fail(event.key, ErrorData(METHOD_NOT_FOUND, "no"))

    backends = [Backend("a", MODERN, refuses if lacking else tools), Backend("b", MODERN, tools)]
    scene = Scene(MODERN, *backends, settings=RelaySettings(naming=naming))

    def read() -> int:
        for _ in range(5):
            scene.ask(method, params)
        return len(backends[1].requests(listed))

    assert read() == 1
    scene.wait(1.0)
    assert read() == 2
    scene.relay.lists.forget(scene.relay.targets["a"])  # as it has announced a change
    assert read() == 3


def test_a_link_to_what_another_server_has_stays() -> None:
    names = Names(["a", "b"], Naming.NEVER, 10)
    assert names.outward(U, "a", "x:1") == "x:1"
    link = Raw(b'{"content":[{"type":"resource_link","uri":"x:1"}]}')
    assert names.outward_in("tools/call", "b", link) == link


def test_both_forms_of_an_app_in_a_list_are_renamed() -> None:
    tool = b'{"tools":[{"name":"t","_meta":{"ui":{"resourceUri":"ui://x"},"ui/resourceUri":"ui://x"}}]}'
    found = Names(["a", "b"], Naming.ALWAYS, 10).outward_in("tools/list", "a", Raw(tool))
    assert bytes(found) == tool.replace(b"ui://x", b"ui://a+x").replace(b'"t"', b'"a__t"')


def test_skills_are_renamed_with_their_files_and_words_in_their_place_stay() -> None:
    files = [{"uri": "skill://a/SKILL.md"}, {"uri": "skill://a/b"}]
    entries = [{"uri": "skill://d/SKILL.md", "resources": "dynamic"}]
    entries.append({"uri": "skill://a/SKILL.md", "resources": files})  # type: ignore[dict-item]
    body = Raw(json.encode({"skills": entries}))
    found = Names(["a", "b"], Naming.ALWAYS, 10).outward_in("skills/list", "a", body)
    assert bytes(found) == bytes(body).replace(b"skill://", b"a+skill://")


def test_a_link_of_a_tool_in_a_list_takes_no_room_from_what_is_listed() -> None:
    tool = Raw(b'{"tools":[{"name":"t","_meta":{"ui":{"resourceUri":"ui://x"}}}]}')
    assert Names(["a", "b"], Naming.NEVER, 1).outward_in("tools/list", "a", tool) == tool


def test_a_template_is_prefixed_until_the_templates_of_the_server_before_are_known() -> None:
    names = Names(["a", "b"], Naming.ON_CONFLICT, 10)
    names.read.add(("a", "resources/list"))
    assert [names.outward(U, "b", uri) for uri in ("x:1", "x:{y}")] == ["x:1", "b+x:{y}"]
    names.read.add(("a", "resources/templates/list"))
    assert names.outward(U, "b", "z:{y}") == "z:{y}"


def test_a_name_on_a_later_page_is_not_given_to_the_next_server() -> None:
    scene = several(MODERN, Naming.ON_CONFLICT, a=paged("", "echo"))
    page = scene.result("tools/list")
    assert [tool["name"] for tool in page["tools"]] == ["b__echo"]
    page = scene.result("tools/list", {"cursor": page["nextCursor"]})
    assert [tool["name"] for tool in page["tools"]] == ["echo"]


def pages(count: int, failing: int | None = None) -> Any:
    """A list with a tool on each of so many pages."""
    return paged(*(f"t{number}" for number in range(count)), failing=failing)


@pytest.mark.parametrize("client", [LEGACY, MODERN])
@pytest.mark.parametrize("failing", [0, 1])
def test_a_page_that_is_missing_comes_with_the_next_one(client: str, failing: int) -> None:
    scene = several(client, a=pages(3, failing), b=pages(4))
    page, found, missing = scene.result("tools/list"), [], []
    while True:
        found += [tool["name"] for tool in page["tools"]]
        missing.append(page.get("_meta", {}).get("mcpcore/unavailable"))
        if "nextCursor" not in page:
            break
        page = scene.result("tools/list", {"cursor": page["nextCursor"]})
    assert sorted(found) == [f"a__t{n}" for n in range(3)] + [f"b__t{n}" for n in range(4)]
    assert missing == [["a"] if n == failing else None for n in range(4)]


@pytest.mark.parametrize("client", [LEGACY, MODERN])
def test_a_list_of_very_many_pages_that_are_kept_is_read_to_its_end(client: str) -> None:
    settings = RelaySettings(naming=Naming.NEVER, pages=600, list_ttl=60.0, unknown_apart=0.0)
    backends = [Backend(name, LEGACY, pages(600)) for name in "ab"]
    scene = Scene(client, *backends, settings=settings)
    for _ in range(2):
        assert scene.error("tools/call", {"name": "x"}).message == 'unknown tool: "x"'


@pytest.mark.parametrize("client", [LEGACY, MODERN])
def test_pages_of_several_servers(client: str) -> None:
    """Nothing is lost, nothing comes twice, and cursors are opaque and bound."""
    scene = several(client, a=pages(2), b=pages(4))
    found, cursor, cursors = [], None, []
    while True:
        page = scene.result("tools/list", {"cursor": cursor} if cursor else {})
        found += [tool["name"] for tool in page["tools"]]
        cursor = page.get("nextCursor")
        if cursor is None:
            break
        cursors.append(cursor)
    assert sorted(found) == ["a__t0", "a__t1", "b__t0", "b__t1", "b__t2", "b__t3"]
    scene.front.principal = "bob"
    for foreign in (cursors[0], "x", ""):
        error = scene.error("tools/list", {"cursor": foreign})
        assert (error.code, error.message) == (-32602, "cursor: not a cursor of this list")


def test_a_cursor_that_is_too_large_to_be_sealed_ends_the_list_of_its_server_alone() -> None:
    def endless(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        tool = {"name": "t", "inputSchema": {"type": "object"}}
        peer.respond(event.key, {"tools": [tool], "nextCursor": "c" * 300_000})

    scene = several(LEGACY, a=pages(2), b=endless)
    page = scene.result("tools/list")
    assert [tool["name"] for tool in page["tools"]] == ["a__t0", "b__t"]
    assert page["_meta"]["mcpcore/unavailable"] == ["b"]
    page = scene.result("tools/list", {"cursor": page["nextCursor"]})
    assert [tool["name"] for tool in page["tools"]] == ["a__t1"]
    assert page.keys() == {"tools"}
    page = several(LEGACY, a=endless, b=endless).result("tools/list")
    assert page["_meta"]["mcpcore/unavailable"] == ["a", "b"]
    assert "nextCursor" not in page


def test_names_in_results_and_in_errors() -> None:
    def links(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        uri = json.decode(event.params).get("uri", "x:1")
        content = [
            {"type": "resource_link", "uri": "x:1", "name": "x"},
            {"type": "resource", "resource": {"uri": "x:1", "text": "x:1"}},
            {"type": "other", "uri": "x:1"},
            {"type": "text", "text": "x:1"},
        ]
        if event.method == "tools/call":
            shown = {"ui": {"resourceUri": "ui://x"}, "ui/resourceUri": "ui://x"}
            body = {"content": content, "structuredContent": {"uri": "x:1"}}
            peer.respond(event.key, body, meta=shown)
        elif event.method == "prompts/get":
            messages = [{"role": "user", "content": each} for each in content]
            peer.respond(event.key, {"messages": messages})
        elif uri == "x:0":
            peer.fail(event.key, ErrorData.make(-32002, "no", {"uri": uri}))
        else:
            peer.respond(event.key, {"contents": [{"uri": uri, "text": uri}]})

    scene = several(LEGACY, a=links)
    result = scene.result("tools/call", {"name": "a__x"})
    link, embedded, other, plain = result["content"]
    assert link["uri"] == embedded["resource"]["uri"] == "a+x:1"
    assert embedded["resource"]["text"] == other["uri"] == plain["text"] == "x:1"
    assert result["structuredContent"] == {"uri": "x:1"}
    assert result["_meta"]["ui"] == {"resourceUri": "ui://a+x"}
    assert result["_meta"]["ui/resourceUri"] == "ui://a+x"
    messages = scene.result("prompts/get", {"name": "a__x"})["messages"]
    assert [each["content"].get("uri") for each in messages] == ["a+x:1", None, "x:1", None]
    read = scene.result("resources/read", {"uri": "a+x:1"})
    assert read["contents"] == [{"uri": "a+x:1", "text": "x:1"}]
    assert json.decode(scene.error("resources/read", {"uri": "a+x:0"}).data) == {"uri": "a+x:0"}


def test_a_completion_goes_where_its_reference_is() -> None:
    asked = []

    def completes(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        asked.append((backend.name, json.decode(event.params)["ref"]))
        peer.respond(event.key, {"completion": {"values": []}})

    scene = several(MODERN, a=completes, b=completes)
    argument = {"name": "x", "value": ""}
    for ref in ({"type": "ref/prompt", "name": "b__p"}, {"type": "ref/resource", "uri": "a+x:{y}"}):
        scene.result("completion/complete", {"ref": ref, "argument": argument})
    assert asked == [
        ("b", {"type": "ref/prompt", "name": "p"}),
        ("a", {"type": "ref/resource", "uri": "x:{y}"}),
    ]


def test_a_server_that_is_not_known_yet_may_offer_anything() -> None:
    down = Backend("a", LEGACY, tools)
    down.down = True
    scene = Scene(MODERN, down, Backend("b", LEGACY, tools, tools={}))
    assert json.decode(json.encode(scene.relay.capabilities())) == {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "resources": {"listChanged": True, "subscribe": True},
        "completions": {},
        "logging": {},
    }


def test_capabilities_are_those_of_any_server() -> None:
    backends = [
        Backend("a", LEGACY, tools, tools={}, logging={}),
        Backend("b", MODERN, tools, tools={"listChanged": True}, resources={}),
    ]
    scene = Scene(MODERN, *backends)
    found = json.decode(json.encode(scene.relay.capabilities()))
    assert found == {"tools": {"listChanged": True}, "logging": {}, "resources": {}}


# Bodies that stay as they are

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
OWNED = {"_meta", "resultType", "inputRequests", "inputResponses", "requestState"}
OWNED |= {"ttlMs", "cacheScope", "task"}
BODIES = st.dictionaries(st.text().filter(lambda key: key not in OWNED), JSON).map(json.encode)


@pytest.mark.parametrize(("client", "server"), [(LEGACY, LEGACY), (MODERN, MODERN)])
@given(params=BODIES, result=BODIES, data=JSON.map(json.encode))
def test_bodies_leave_byte_for_byte(
    client: str, server: str, params: bytes, result: bytes, data: bytes
) -> None:
    arrived: list[bytes] = []

    def answer(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        arrived.append(bytes(event.params))
        if event.method == "acme/fail":
            peer.fail(event.key, ErrorData(5, "no", Raw(data)))
        else:
            peer.respond(event.key, Raw(result))

    scene = Scene(client, Backend("a", server, answer))
    event = scene.ask("acme/dig", Raw(params))
    assert isinstance(event, ResultReceived)
    for body, seen in ((params, arrived[0]), (result, bytes(event.result))):
        members, kept = (
            json.decode(body, type=dict[str, Raw]),
            json.decode(seen, type=dict[str, Raw]),
        )
        if client == LEGACY:
            assert seen == body
        assert {key: bytes(each) for key, each in kept.items() if key not in OWNED} == {
            key: bytes(each) for key, each in members.items()
        }
        assert seen.endswith(body[1:])  # what the engine owns stands first
    assert bytes(scene.error("acme/fail", Raw(params)).data or b"null") == data


@pytest.mark.parametrize(("length", "shortened"), [(64, False), (65, True)])
def test_a_prefixed_name_is_shortened_beyond_64_characters(length: int, shortened: bool) -> None:
    name = "x" * (length - len("a__"))
    outer = Names(["a", "b"], Naming.ALWAYS, 10).outward(T, "a", name)
    assert outer is not None
    assert (outer != f"a__{name}", len(outer)) == (shortened, 64)


@pytest.mark.parametrize("naming", [Naming.NEVER, Naming.ON_CONFLICT])
def test_a_template_takes_no_uri_that_a_list_may_have(naming: Naming) -> None:
    """The first request for it may reach a process that has read the templates alone."""

    def files(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if event.method == "resources/list":
            found = [{"name": "r", "uri": "x:/1"}] if backend.name == "a" else []
            peer.respond(event.key, {"resources": found})
        elif event.method == "resources/templates/list":
            found = [{"name": "t", "uriTemplate": "x:/{n}"}] if backend.name == "b" else []
            peer.respond(event.key, {"resourceTemplates": found})
        else:
            tools(backend, peer, event)

    def scene() -> Scene:
        backends = [Backend(each, MODERN, files) for each in "ab"]
        made = Scene(MODERN, *backends, settings=RelaySettings(naming=naming))
        assert len(made.result("resources/templates/list")["resourceTemplates"]) == 1
        return made

    reader, listener = scene(), scene()
    for uri, owner in (("x:/1", "a"), ("x:/2", "b"), ("x:/2", "b")):
        assert reader.result("resources/read", {"uri": uri})["contents"][0]["text"] == owner
    listener.ask("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["x:/1"]}})
    opened = [
        [each for each in backend.events if isinstance(each, SubscriptionOpened)]
        for backend in listener.backends
    ]
    assert list(map(len, opened)) == [1, 0]
    assert [len(each.requests("resources/list")) for each in reader.backends] == [1, 1]


@pytest.mark.parametrize(
    ("templates", "owner"),
    [(["x:{i}", "x:{j}"], "a"), (["x:{i}", "x:y{j}"], "b"), (["x:y{i}", "x:{j}"], "a")],
)
def test_of_templates_the_longest_beginning_counts_then_the_first(
    templates: list[str], owner: str
) -> None:
    names = Names(["a", "b"], Naming.NEVER, 10)
    for server, template in zip("ab", templates, strict=True):
        names.outward(U, server, template)
    assert names.owner_of_uri("x:yz") == (owner, "x:yz")


class CountedUri(str):
    """URI that counts the looks at its beginning."""

    looks = 0

    def __getitem__(self, key: Any) -> str:
        self.looks += 1
        return super().__getitem__(key)

    def startswith(self, *given: Any) -> bool:
        self.looks += 1
        return super().startswith(*given)


@pytest.mark.parametrize(("uri", "owner"), [("z:7", None), ("y:00007/1", "a")])
def test_looking_up_a_uri_does_not_depend_on_the_number_of_templates(
    uri: str, owner: str | None
) -> None:
    """A client may name a thousand of them in one request."""
    names, looks = Names(["a", "b"], Naming.NEVER, 10_000), set[int]()
    for number in range(1000):
        names.outward(U, "a", f"y:{number:05}/{{id}}")
        if number in (9, 999):
            found = names.owner_of_uri(counted := CountedUri(uri))
            assert (found and found[0]) == owner
            looks.add(counted.looks)
    assert looks == {1}  # as all begin with as many characters


def test_the_last_hundred_conflicts_wait_to_be_reported() -> None:
    names = Names(["a", "b"], Naming.NEVER, 10)
    found = [NameConflict(T, str(number), "b", "a") for number in range(101)]
    for each in found:
        names.report(each)
    assert names.conflicts == found[1:]
