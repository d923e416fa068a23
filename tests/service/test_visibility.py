"""Who sees what: lists that depend on the principal and on nothing else."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import msgspec
import pytest

from mcpcore.http.principals import Principal
from mcpcore.service import Server
from mcpcore.spec.errors import McpError
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from tests.service.calling import ask


def admins(principal: str | None) -> bool:
    return principal == "root"


def guarded(page_size: int = 500) -> Server:
    server = Server("s", page_size=page_size, list_ttl_ms=7)
    server.add_tool(lambda: "x", "a")
    server.add_tool(lambda: "x", "b", visible=admins)
    server.add_tool(lambda: "x", "c")
    server.add_tool(lambda: "x", "d", visible=lambda principal: principal is not None)
    server.add_resource("t:a", "x")
    server.add_resource("t:b", "x", visible=admins)
    server.add_resource("t:secret/{id}", lambda id: id, name="secret", visible=admins)
    server.add_resource("t:{id}/open", lambda id: id, name="open")
    server.add_prompt(lambda x: x, "p", visible=admins)
    server.add_prompt(lambda x: x, "q")
    return server


class Later:
    """An answer that is to be awaited, as of a function of some library."""

    def __await__(self) -> Any:
        raise AssertionError("nobody waits for it")


async def admins_later(principal: str | None) -> bool:
    return admins(principal)


async def admins_one_by_one() -> Any:
    yield False


def names(server: Server, principal: str | None, member: str = "tools") -> list[str]:
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = ask(server, f"{member}/list", cursor, principal=principal)
        found += [item["name"] for item in page[member]]
        if "nextCursor" not in page:
            return found
        cursor = {"cursor": page["nextCursor"]}


@pytest.mark.requirement("server/tools/list-not-per-connection", "server/tools/list-order")
@pytest.mark.parametrize("page_size", [1, 2, 3, 500])
def test_lists_depend_on_the_principal(page_size: int) -> None:
    server = guarded(page_size)
    for _ in range(2):
        assert names(server, None) == ["a", "c"]
        assert names(server, "ada") == ["a", "c", "d"]
        assert names(server, "root") == ["a", "b", "c", "d"]
    assert names(server, None, "prompts") == ["q"]
    assert names(server, "root", "prompts") == ["p", "q"]
    assert names(server, None, "resources") == ["t:a"]
    assert names(server, "root", "resources") == ["t:a", "t:b"]


@pytest.mark.requirement("server/utilities/caching/scope-same")
def test_a_list_that_differs_is_private_on_every_page_for_everybody() -> None:
    server = guarded(page_size=1)
    for principal in (None, "root"):
        page = ask(server, "tools/list", principal=principal)
        again = ask(server, "tools/list", {"cursor": page["nextCursor"]}, principal=principal)
        for each in (page, again):
            assert (each["ttlMs"], each["cacheScope"]) == (7, "private")
    assert "ttlMs" not in ask(server, "tools/list", revision=LATEST_LEGACY)
    server.remove_tool("b")
    assert ask(server, "tools/list")["cacheScope"] == "private"
    server.remove_tool("d")
    assert ask(server, "tools/list")["cacheScope"] == "public"
    server.add_tool(lambda: "x", "a", replace=True, visible=admins)
    assert ask(server, "tools/list")["cacheScope"] == "private"
    server.add_tool(lambda: "x", "a", replace=True)
    assert ask(server, "tools/list")["cacheScope"] == "public"


def test_cursors_of_one_are_good_for_another() -> None:
    server = guarded(page_size=2)
    cursor = ask(server, "tools/list", principal="root")["nextCursor"]
    rest = ask(server, "tools/list", {"cursor": cursor})
    assert [tool["name"] for tool in rest["tools"]] == ["c"]


REF = {"type": "ref/prompt", "name": "p"}
TEMPLATE = {"type": "ref/resource", "uri": "t:secret/{id}"}
ARGUMENT = {"argument": {"name": "x", "value": ""}}


@pytest.mark.parametrize(
    ("method", "params", "says"),
    [
        ("tools/call", {"name": "b"}, "Unknown tool: b"),
        ("prompts/get", {"name": "p", "arguments": {"x": "y"}}, "Unknown prompt: p"),
        ("resources/read", {"uri": "t:b"}, "Resource not found"),
        ("resources/read", {"uri": "t:secret/1"}, "Resource not found"),
        ("completion/complete", {"ref": REF, **ARGUMENT}, "Unknown prompt: p"),
        (
            "completion/complete",
            {"ref": TEMPLATE, "argument": {"name": "id", "value": ""}},
            "Unknown resource template",
        ),
        (
            "completion/complete",
            {"ref": {"type": "ref/resource", "uri": "t:b"}, **ARGUMENT},
            "Unknown resource template",
        ),
    ],
)
def test_what_is_not_seen_does_not_exist(method: str, params: Any, says: str) -> None:
    server = guarded()
    ask(server, method, params, principal="root")
    for principal in (None, "ada"):
        with pytest.raises(McpError, match=says) as caught:
            ask(server, method, params, principal=principal)
        hidden = caught.value.error
        gone = guarded()
        gone.remove_tool("b")
        gone.remove_prompt("p")
        gone.remove_resource("t:b")
        gone.remove_resource("t:secret/{id}")
        with pytest.raises(McpError) as missing:
            ask(gone, method, params, principal=principal)
        assert missing.value.error == hidden, "nobody can tell hidden from missing"


def test_rights_may_change() -> None:
    server, rights, told = Server("s"), {"ada"}, list[str]()
    server.add_tool(lambda: "x", "a", visible=rights.__contains__)
    server.watch(lambda method, params: told.append(method))
    assert names(server, "ada") == ["a"]
    rights.clear()
    server.list_changed("tools")
    assert names(server, "ada") == []
    assert told == ["notifications/tools/list_changed"]
    with pytest.raises(ValueError, match="there is no list 'things': tools, resources"):
        server.list_changed("things")


# Hints of each list


def test_each_list_has_its_own_hints() -> None:
    server = Server(
        "s",
        list_ttl_ms={"tools": 1, "templates": 2},
        list_cache_scope={"prompts": "private"},
        offers=["tools", "resources", "prompts"],
    )
    found = {
        method: (page["ttlMs"], page["cacheScope"])
        for method in ("tools/list", "resources/list", "resources/templates/list", "prompts/list")
        for page in [ask(server, method)]
    }
    assert found == {
        "tools/list": (1, "public"),
        "resources/list": (60_000, "public"),
        "resources/templates/list": (2, "public"),
        "prompts/list": (60_000, "private"),
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"list_ttl_ms": {"things": 1}}, "list_ttl_ms: 'things' is none of tools"),
        ({"list_ttl_ms": {"tools": -1}}, "must be finite and not negative"),
        ({"list_cache_scope": {"tools": "all"}}, "cache scope"),
    ],
)
def test_hints_that_cannot_be(options: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Server("s", **options)


# Threads


async def coroutine() -> str:
    return "x"


@pytest.mark.parametrize(
    "declare",
    [
        lambda server: server.add_tool(coroutine, "t", thread=True),
        lambda server: server.add_prompt(coroutine, "t", thread=True),
        lambda server: server.add_resource("t:x", coroutine, thread=True),
        lambda server: server.completion(prompt="t", thread=True)(coroutine),
    ],
)
def test_coroutines_need_no_thread(declare: Callable[[Server], None]) -> None:
    with pytest.raises(TypeError, match=r"does not run in a thread|must take the text"):
        declare(Server("s"))


def test_who_wants_a_thread_says_so() -> None:
    server = Server("s")
    server.add_tool(lambda: "x", "t", thread=True)
    server.add_prompt(lambda: "x", "t", thread=True)
    server.add_resource("t:x", lambda: "x", name="t", thread=True)
    server.completion(prompt="t", thread=True)(lambda typed: [])
    for method, params in (
        ("tools/call", b'{"name":"t"}'),
        ("prompts/get", b'{"name":"t"}'),
        ("resources/read", b'{"uri":"t:x"}'),
        (
            "completion/complete",
            msgspec.json.encode({"ref": {**REF, "name": "t"}, **ARGUMENT}),
        ),
    ):
        prepared = server.prepare(method, params, LATEST)
        assert (prepared.thread, prepared.is_async) == (True, False), method


def broken(principal: str | None) -> bool:
    raise RuntimeError("no answer")


PARTIES = (None, Principal("ada", scopes={"w"}), "root", Principal("root", scopes={"w"}))


@pytest.mark.parametrize(
    ("uri", "readers"),
    [
        ("t:a", [0, 1, 2, 3]),
        ("t:b", [2, 3]),
        ("t:secret/1", [2, 3]),
        ("t:secret/open", [0, 1, 2, 3]),  # by another template, which all see
        ("t:scoped", [1, 3]),
        ("t:both/1", [3]),
        ("t:broken", []),
        ("t:none", [0, 1, 2, 3]),
    ],
)
def test_changes_are_for_those_who_may_read(uri: str, readers: list[int]) -> None:
    server = guarded()
    server.add_resource("t:scoped", "x", scopes={"w"})
    server.add_resource("t:both/{id}", lambda id: id, name="both", visible=admins, scopes={"w"})
    server.add_resource("t:broken", "x", visible=broken)
    assert [n for n, party in enumerate(PARTIES) if server.may_read(uri, party)] == readers
    assert Server("s").may_read(uri, None)


@pytest.mark.parametrize(
    "declare",
    [
        lambda server: server.add_tool(lambda: "x", "a", visible=admins_later),
        lambda server: server.add_resource("t:a", "x", visible=admins_later),
        lambda server: server.add_resource("t:{id}", lambda id: id, visible=admins_later),
        lambda server: server.add_prompt(lambda: "x", "a", visible=admins_later),
        lambda server: server.add_skills({"a/SKILL.md": b""}, visible=admins_later),
        lambda server: server.add_app("ui://a", "<!doctype html>", visible=admins_later),
    ],
)
def test_no_coroutine_function_decides_who_sees(declare: Callable[[Server], object]) -> None:
    server = Server("s")
    with pytest.raises(TypeError, match="visible is a coroutine function"):
        declare(server)
    assert not any(map(len, server.collections.values()))


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (Later(), "an awaitable"),
        (admins, "a function"),  # of a factory that was not called
        ((role == "admin" for role in ["admin"]), "an iterator"),  # without any() around it
        (filter(None, ()), "an iterator"),
        (admins_one_by_one(), "an iterator"),
        (Future(), "a future"),
        (PermissionError(), "an exception"),
    ],
)
def test_nobody_sees_what_is_not_decided_at_once(answer: object, what: str) -> None:
    server = Server("s")
    later: Any = {"visible": lambda principal: answer}
    server.add_tool(lambda: "x", "a", **later)
    server.add_resource("t:a", "x", **later)
    server.add_prompt(lambda: "x", "a", **later)
    for method, params in (
        ("tools/list", {}),
        ("tools/call", {"name": "a"}),
        ("resources/read", {"uri": "t:a"}),
        ("prompts/get", {"name": "a"}),
    ):
        with pytest.raises(TypeError, match=f"returned {what}, not True"):
            ask(server, method, params, principal="root")
    assert not server.has_tool("a", "root")
    assert not server.may_read("t:a", "root")


@pytest.mark.parametrize("option", ["scopes", "roles"])
@pytest.mark.parametrize(
    ("given", "error"),
    [
        (lambda: "write", "not a string"),
        (lambda: iter(["write"]), "not list_iterator"),  # read once, it would be empty
        (lambda: map(str, ["write"]), "not map"),
        (lambda: None, "not NoneType"),
        (lambda: [], "let everybody in"),
        (lambda: frozenset(), "let everybody in"),
    ],
)
def test_what_requires_nothing_by_mistake_is_refused(
    option: str, given: Callable[[], Any], error: str
) -> None:
    server = Server("s")
    declare: list[Callable[[Any], object]] = [
        lambda options: server.add_tool(lambda: "x", "a", **options),
        lambda options: server.add_resource("t:a", "x", **options),
        lambda options: server.add_resource("t:{id}", lambda id: id, **options),
        lambda options: server.add_prompt(lambda: "x", "a", **options),
        lambda options: server.add_skills(
            {"a/SKILL.md": b"---\nname: a\ndescription: b\n---\n"}, **options
        ),
    ]
    for each in declare:
        with pytest.raises((TypeError, ValueError), match=error):
            each({option: given()})
        with pytest.raises((TypeError, ValueError), match=error):
            each({"scopes": {"w"}, "roles": {"r"}, option: given()})
    assert not any(map(len, server.collections.values()))
