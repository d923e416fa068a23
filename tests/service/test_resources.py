"""Resources and templates: declared, listed, found, read."""

import datetime
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from msgspec import structs

from mcpcore.errors import OutputMismatch, ResourceError, ResourceNotFound, ToolError
from mcpcore.http.principals import Principal
from mcpcore.service import Server
from mcpcore.service.declarations import MAX_URI
from mcpcore.service.uri_templates import UriTemplate
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, Forbidden, McpError
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY, REVISIONS, Revision
from mcpcore.spec.types.base import Annotations
from mcpcore.spec.types.content import BlobResourceContents, TextResourceContents
from mcpcore.spec.types.resources import ReadResourceResult
from tests.service.calling import CONTEXT, Context, ask


def contents(server: Server, uri: str, revision: Revision = LATEST) -> Any:
    return ask(server, "resources/read", {"uri": uri}, revision)["contents"]


def text_of(server: Server, uri: str) -> str:
    (only,) = contents(server, uri)
    assert only["uri"] == uri
    return str(only["text"])


def library() -> Server:
    server = Server("s")

    @server.resource(
        "test://full",
        name="Full",
        title="T",
        mime_type="text/markdown",
        size=3,
        annotations={"audience": ["user"], "priority": 0.5},
        icons=["https://example.com/i.png"],
        meta={"com.example/k": 1},
    )
    def full(context: Context) -> str:
        """Has everything."""
        assert context is CONTEXT
        return "abc"

    @server.resource("test://slow")
    async def slow() -> str:
        return "slow"

    @server.resource("test://items/{number}{?day,kind}", title="Items")
    def item(
        number: int,
        context: Context,
        day: datetime.date | None = None,
        kind: Literal["a", "b"] = "a",
    ) -> str:
        """Reads an item."""
        assert context is CONTEXT
        return f"{number + 1} {day} {kind}"

    @server.resource("file:///{+path}", annotations=Annotations(priority=1))
    async def file(path: str) -> str:
        return path

    server.add_resource("test://text", "h\u00e9llo")
    server.add_resource("test://bytes", b"\0\1", mime_type="image/png", name="Bytes")
    return server


@pytest.mark.requirement("server/resources/list-answered")
def test_lists() -> None:
    server = library()
    assert ask(server, "resources/list", revision=LATEST_LEGACY)["resources"] == [
        {
            "uri": "test://full",
            "name": "Full",
            "title": "T",
            "description": "Has everything.",
            "mimeType": "text/markdown",
            "size": 3,
            "icons": [{"src": "https://example.com/i.png"}],
            "annotations": {"audience": ["user"], "priority": 0.5},
            "_meta": {"com.example/k": 1},
        },
        {"uri": "test://slow", "name": "slow"},
        {"uri": "test://text", "name": "test://text", "size": 6},
        {"uri": "test://bytes", "name": "Bytes", "mimeType": "image/png", "size": 2},
    ]
    assert ask(server, "resources/templates/list", revision=LATEST_LEGACY) == {
        "resourceTemplates": [
            {
                "uriTemplate": "test://items/{number}{?day,kind}",
                "name": "item",
                "title": "Items",
                "description": "Reads an item.",
            },
            {"uriTemplate": "file:///{+path}", "name": "file", "annotations": {"priority": 1.0}},
        ]
    }


@pytest.mark.requirement("server/resources/binary-encoded")
@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("test://full", {"uri": "test://full", "mimeType": "text/markdown", "text": "abc"}),
        ("test://slow", {"uri": "test://slow", "mimeType": "text/plain", "text": "slow"}),
        ("test://text", {"uri": "test://text", "mimeType": "text/plain", "text": "h\u00e9llo"}),
        ("test://bytes", {"uri": "test://bytes", "mimeType": "image/png", "blob": "AAE="}),
    ],
)
def test_read(uri: str, expected: Any) -> None:
    server = library()
    assert contents(server, uri) == [expected]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("test://items/41", "42 None a"),
        ("test://items/41?kind=b", "42 None b"),
        ("test://items/41?kind=b&day=2020-01-02", "42 2020-01-02 b"),
        ("file:///src/a%20b.py", "src/a b.py"),
    ],
)
def test_read_templates(uri: str, expected: str) -> None:
    assert text_of(library(), uri) == expected


@pytest.mark.requirement(
    "server/resources/not-found",
    "server/resources/not-found-legacy",
    "server/resources/not-found-not-empty",
    "server/resources/paths-sanitized",
    "server/resources/uris-validated",
)
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("test://nothing", None),
        ("", None),
        ("test://items/x", None),
        ("test://items/41?kind=c", None),
        ("test://items/41?day=soon", None),
        ("test://items/", None),
        ("file:///../etc/passwd", "variable 'path': it holds the segment '..'"),
        ("file:///a/%2e%2e/b", "variable 'path': it holds the segment '..'"),
        ("file:////etc/passwd", "variable 'path': it is an absolute path"),
        ("file:///a%00", "variable 'path': it holds a control character"),
        ("x:" + "a" * 9000, "longer than 8192"),
    ],
)
def test_not_found(uri: str, reason: str | None, revision: Revision) -> None:
    with pytest.raises(McpError) as caught:
        contents(library(), uri, revision)
    error = caught.value.error
    assert error.code == (INVALID_PARAMS if revision.modern else -32002)
    assert error.code == revision.resource_not_found
    assert error.message == "Resource not found"
    data = msgspec.json.decode(error.data)  # type: ignore[arg-type]
    assert data["uri"] == (uri if len(uri) <= 500 else uri[:497] + "...")
    assert data.get("reason") == reason


@pytest.mark.requirement("server/resources/uris-validated")
def test_bad_params() -> None:
    for params, says in ((b"{}", "params.uri: Missing"), (b'{"uri":5}', "params.uri: Expected")):
        with pytest.raises(McpError, match=says) as caught:
            ask(library(), "resources/read", params)
        assert caught.value.code == INVALID_PARAMS


def test_unchecked_values() -> None:
    server = Server("s")

    @server.resource("raw:{+path}{?query}", unchecked=["path"])
    def raw(path: str, query: str = "") -> str:
        return f"{path}|{query}"

    assert text_of(server, "raw:../%2Fx?query=1") == "..//x|1"
    with pytest.raises(McpError):
        contents(server, "raw:x?query=..")


def test_the_resource_goes_before_templates_and_templates_in_order() -> None:
    server = Server("s")
    server.add_resource("t:{a}", lambda a: f"first {a}")
    server.add_resource("t:{+b}", lambda b: f"second {b}")
    server.add_resource("t:own", "own")
    assert text_of(server, "t:own") == "own"
    assert text_of(server, "t:x") == "first x"
    assert text_of(server, "t:x/y") == "second x/y"
    # refused by one template, a URI may still belong to another
    server.add_resource("t:{+c}", lambda c: f"third {c}", unchecked=["c"], replace=True)
    assert text_of(server, "t:..") == "third .."


def secrets() -> Server:
    server, guarded = Server("s"), {"admin"}
    for template in ("f:///private/{path*}", "f:///@corp/\u00e9/{path*}"):
        server.add_resource(template, lambda path: f"guarded {path}", scopes=guarded)
    server.add_resource("f:///own/{id}/", lambda id: f"guarded {id}", name="own", scopes=guarded)
    for plain in ("n:a,b", "n:\u00e9", "n:x%20y", "f:///docs/key.pem"):
        server.add_resource(plain, "guarded", scopes=guarded)
    server.add_resource("n:hidden", "hidden", scopes=guarded, visible=lambda principal: False)
    server.add_resource("w://a.Net/{path*}", lambda path: f"guarded {path}", scopes=guarded)
    server.add_resource("w://b.Net/x", "guarded", scopes=guarded)
    server.add_resource("x://a.net/admin", "guarded", scopes=guarded)
    server.add_resource("x://a.net/{id}/own", lambda id: f"guarded {id}", scopes=guarded, name="id")
    server.add_resource("x://{+place}", lambda place: f"open {place}")
    server.add_resource("f:///{path*}", lambda path: f"open {path}")
    server.add_resource("n:{name}", lambda name: f"open {name}")
    server.add_resource("w://{host}/{path*}", lambda host, path: f"open {host} {path}", name="w")
    return server


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("f:///private/a%20b", "guarded a b"),
        ("f:///%70rivate/a", "guarded a"),
        ("f:///p%72ivate%2fa", "guarded a"),
        ("f:///@corp/\u00e9/a", "guarded a"),
        ("f:///%40corp/%c3%a9/a%3Fb", "guarded a?b"),
        ("n:a,b", "guarded"),
        ("n:a%2cb", "guarded"),
        ("n:\u00e9", "guarded"),
        ("n:%C3%A9", "guarded"),
        ("n:x%20y", "guarded"),
        ("n:%78%20y", "guarded"),
        ("f:///public/%61", "open public/a"),
        ("n:%61", "open a"),
        ("n:h%69dden", "open hidden"),
        ("f:///./private/a", "guarded a"),
        ("f:////private/a", "guarded a"),
        ("f:///%2E/%70rivate/a", "guarded a"),
        ("f:///private/./a", "guarded ./a"),
        ("f:///./own//1/", "guarded 1"),
        ("f:///docs/./key.pem", "guarded"),
        ("f:///docs//key.pem", "guarded"),
        ("f:///docs/%2e/key%2epem/", "guarded"),
        ("f:///./public//a/", "open ./public//a/"),
        ("w://A.net/x", "guarded x"),
        ("w://%41.n%45t/x", "guarded x"),
        ("w://B.neT/./x", "guarded"),
        ("w://b.Net/X", "open b.Net X"),
        ("w://C.net/x", "open C.net x"),
        ("x://a.net/admin?", "guarded"),
        ("x://a.net/admin#", "guarded"),
        ("x://a.net/./%61dmin?#a/b", "guarded"),
        ("x://a.net/admin?q=1", "open a.net/admin?q=1"),
        ("x://a.net/admin%23", "open a.net/admin#"),
        ("x://a.net/1/own?", "guarded 1"),
        ("x://a.net/1//own#own", "guarded 1"),
        ("x://a.net/1#/own", "open a.net/1#/own"),
    ],
)
def test_what_needs_scopes_needs_them_in_every_spelling(uri: str, text: str) -> None:
    server, needed = secrets(), text.startswith("guarded")
    for principal in (Principal("ada", scopes={"admin"}), Principal("eve")):
        refused = needed and not principal.scopes
        expected = pytest.raises(Forbidden) if refused else nullcontext()
        with expected:
            read = ask(server, "resources/read", {"uri": uri}, principal=principal)
            assert [(each["uri"], each["text"]) for each in read["contents"]] == [(uri, text)]
        with expected:
            server.demand_reading([uri], principal)
        assert server.may_read(uri, principal) is not refused


@pytest.mark.parametrize(
    ("first", "second", "rules", "refused"),
    [
        ("f:///{path*}", "f:///private/{path*}", {}, True),
        ("f:///{path*}", "f:///private/{path*}", {"scopes": {"read"}}, True),
        ("f:///{path*}", "f:///private/{path*}", {"scopes": {"admin"}}, False),
        ("f:///{path*}", "f:///private/{path*}", {"visible": lambda principal: True}, False),
        ("f:///{+path}", "f:///{path*}{?q}", {}, True),
        ("f:///private/{path*}", "f:///{path*}", {}, False),
        ("f:///{id}", "f:///{path*}", {}, False),
        ("f:///{path*}", "g:///{path*}", {}, False),
    ],
)
def test_no_template_with_scopes_stands_behind_one_that_answers_for_it(
    first: str, second: str, rules: dict[str, Any], refused: bool
) -> None:
    server, guarded = Server("s"), {"scopes": {"admin"}, "replace": True}
    readers: dict[str, Callable[..., str]] = {
        "path": lambda path: path,
        "id": lambda id: id,
        "path q": lambda path, q="": path,
    }

    def declare(uri: str, **options: Any) -> None:
        reader = readers[" ".join(UriTemplate(uri).variables)]
        server.add_resource(uri, reader, name=uri, **options)

    declare(first, **rules)
    expected = pytest.raises(ValueError, match="answers for it") if refused else nullcontext()
    with expected:
        declare(second, **guarded)
    declare(first, **guarded)  # in its place
    declare(second, **guarded)
    expected = pytest.raises(ValueError, match="it answers for") if refused else nullcontext()
    with expected:
        declare(first, **{"replace": True, **rules})


def test_spellings_follow_changes() -> None:
    server, says = secrets(), list[str]()
    changes: tuple[Callable[[], object], ...] = (
        lambda: None,
        lambda: server.add_resource("n:%62", "guarded", scopes={"admin"}),
        lambda: server.remove_resource("n:%62"),
        lambda: server.add_resource("n:b", "guarded", scopes={"admin"}),
        lambda: server.add_resource("n:b", "open", replace=True),
    )
    for change in changes:
        change()
        try:
            says.append(text_of(server, "n:%62"))
        except Forbidden:
            says.append("forbidden")
    assert says == ["open b", "forbidden", "open b", "forbidden", "open b"]


def test_what_is_unsafe_where_scopes_are_needed_belongs_to_no_other_template() -> None:
    with pytest.raises(McpError, match="Resource not found"):
        contents(secrets(), "f:///private//a")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1]}, {"text": '{"a":[1]}', "mimeType": "application/json"}),
        ([], {"text": "[]", "mimeType": "application/json"}),
        (["x"], {"text": '["x"]', "mimeType": "application/json"}),
        (5, {"text": "5", "mimeType": "application/json"}),
        (bytearray(b"\1"), {"blob": "AQ==", "mimeType": "application/octet-stream"}),
    ],
)
def test_other_values(value: Any, expected: Any) -> None:
    server = Server("s")
    server.add_resource("t:x", lambda: value)
    assert contents(server, "t:x") == [{"uri": "t:x", **expected}]
    server.add_resource("t:x", lambda: value, mime_type="x/y", replace=True)
    assert contents(server, "t:x") == [{"uri": "t:x", **expected, "mimeType": "x/y"}]


def test_own_contents() -> None:
    server = Server("s")
    text = TextResourceContents(uri="t:a", text="a", meta={"k": 1})
    blob = BlobResourceContents(uri="t:b", blob="AA==")
    server.add_resource("t:one", lambda: text)
    server.add_resource("t:two", lambda: [text, blob])
    wire = {"uri": "t:a", "text": "a", "_meta": {"k": 1}}
    assert contents(server, "t:one") == [wire]
    assert contents(server, "t:two") == [wire, {"uri": "t:b", "blob": "AA=="}]


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (None, "the result is empty"),
        (object(), "the result has no JSON form"),
        (
            [TextResourceContents(uri="t:a", text="a"), "x"],
            "the result mixes contents and something else",
        ),
        ({"a": float("nan")}, "the result has no JSON form"),
    ],
)
def test_what_is_no_content_names_the_rule(value: Any, rule: str) -> None:
    server = Server("s")
    server.add_resource("t:x", lambda: value)
    with pytest.raises(McpError, match=f"^Internal error: {rule} ") as caught:
        contents(server, "t:x")
    assert caught.value.code == INTERNAL_ERROR
    assert "object" not in caught.value.error.message


@pytest.mark.requirement("server/utilities/caching/hints")
def test_cache_hints() -> None:
    server = Server("s", read_ttl_ms=5, read_cache_scope="public")
    server.add_resource("t:server", "x")
    server.add_resource("t:own", "x", ttl_ms=9, cache_scope="private")
    result = ReadResourceResult(
        contents=[TextResourceContents(uri="t:r", text="x")], ttl_ms=1, meta={"k": 1}
    )
    server.add_resource("t:result", lambda: result)
    scoped = ReadResourceResult(contents=[], cache_scope="private")
    server.add_resource("t:scoped", lambda: scoped)
    server.add_resource("t:past", lambda: ReadResourceResult(contents=[], ttl_ms=-5))
    for uri, hints in (
        ("t:server", (5, "public")),
        ("t:own", (9, "private")),
        ("t:result", (1, "public")),
        ("t:scoped", (5, "private")),
        ("t:past", (0, "public")),
    ):
        read = ask(server, "resources/read", {"uri": uri})
        assert (read["ttlMs"], read["cacheScope"]) == hints
        legacy = ask(server, "resources/read", {"uri": uri}, LATEST_LEGACY)
        assert set(legacy) == {"contents"}
    prepared = server.prepare("resources/read", b'{"uri":"t:result"}', LATEST)
    prepared.finish(result)
    assert prepared.meta == {"k": 1}
    for option in ({"scopes": {"a"}}, {"roles": {"r"}}, {"visible": lambda principal: True}):
        options: Any = {**option, "cache_scope": "public", "replace": True}
        for content in ("x", lambda: structs.replace(scoped, cache_scope="public")):
            server.add_resource("t:guarded", content, **options)
            ada = Principal("ada", scopes={"a"}, roles={"r"})
            read = ask(server, "resources/read", {"uri": "t:guarded"}, principal=ada)
            assert read["cacheScope"] == "private"
    default = ask(library(), "resources/read", {"uri": "test://text"})
    assert (default["ttlMs"], default["cacheScope"]) == (0, "private")


@pytest.mark.requirement("server/resources/internal-errors")
@pytest.mark.parametrize(
    ("error", "code", "message", "data"),
    [
        (ResourceError("disk on fire"), INTERNAL_ERROR, "disk on fire", b'{"uri":"t:x"}'),
        (ResourceNotFound(), INVALID_PARAMS, "Resource not found", b'{"uri":"t:x"}'),
        (ResourceNotFound("gone"), INVALID_PARAMS, "gone", b'{"uri":"t:x"}'),
        (ToolError("shown"), INTERNAL_ERROR, "shown", None),
        (McpError(-1, "mine"), -1, "mine", None),
        (ResourceError("no \udcff"), INTERNAL_ERROR, "no ?", b'{"uri":"t:x"}'),
        (ValueError("secret"), INTERNAL_ERROR, "Internal error", None),
    ],
)
def test_errors(error: Exception, code: int, message: str, data: bytes | None) -> None:
    def failing() -> str:
        raise error

    server = Server("s")
    server.add_resource("t:x", failing)
    with pytest.raises(McpError) as caught:
        contents(server, "t:x")
    shown = caught.value.error
    assert (shown.code, shown.message) == (code, message)
    assert data is None or bytes(shown.data) == data  # type: ignore[arg-type]
    if isinstance(error, ResourceNotFound):
        with pytest.raises(McpError) as caught:
            contents(server, "t:x", LATEST_LEGACY)
        assert caught.value.code == -32002


@pytest.mark.requirement("server/resources/custom-schemes")
@pytest.mark.parametrize(
    ("uri", "function", "options", "kind", "says"),
    [
        ("no-scheme", lambda: "", {}, ValueError, "'no-scheme' is no absolute URI"),
        ("{scheme}://x", lambda scheme: "", {}, ValueError, "no absolute URI"),
        ("t:a b", lambda: "", {}, ValueError, "no absolute URI"),
        ("t:{a", lambda a: "", {}, ValueError, "not allowed in a literal"),
        ("t:{?a*}", lambda a: "", {}, ValueError, "level 4"),
        ("t:{a}", lambda: "", {}, TypeError, "no parameter for the variable 'a'"),
        ("t:{a}", lambda a, b: "", {}, TypeError, "no variable for the parameter 'b'"),
        ("t:x", lambda a: "", {}, TypeError, "no variable for the parameter 'a'"),
        ("t:{a}", lambda **a: "", {}, TypeError, "cannot be filled"),
        ("t:{a}", lambda a: "", {"size": 1}, TypeError, "a template has no size"),
        ("t:{a}", lambda a: "", {"unchecked": ["b"]}, ValueError, "no variable 'b'"),
        ("t:x", lambda: "", {"unchecked": ["b"]}, TypeError, "only a template"),
        (
            "t:x",
            lambda: "",
            {"mime": "x/y"},
            TypeError,
            "resource 't:x': there is no option 'mime'",
        ),
        ("t:x", lambda: "", {"ttl_ms": -1}, ValueError, "ttl_ms must be finite and not negative"),
        ("t:x", lambda: "", {"cache_scope": "shared"}, ValueError, "'public' or 'private'"),
        ("t:x", lambda: "", {"icons": ["ftp://x"]}, ValueError, "resource 't:x': icon"),
        ("t:x", lambda: "", {"annotations": {"priority": "x"}}, ValueError, "priority"),
    ],
)
def test_what_cannot_be_declared(
    uri: str, function: Any, options: Any, kind: type[Exception], says: str
) -> None:
    server = Server("s")
    with pytest.raises(kind, match=says):
        server.add_resource(uri, function, **options)
    assert ask(server, "resources/list")["resources"] == []
    assert ask(server, "resources/templates/list")["resourceTemplates"] == []


def paths() -> Server:
    server = Server("s")
    server.resource("exact://docs/readme")(lambda: "exact")
    server.resource("docs://{name}")(lambda name: f"one {name}")
    server.resource("docs://{path*}{?lines}")(lambda path, lines="all": f"many {path} {lines}")

    @server.resource("repo://{owner}/{path*}/setup.py")
    def setup(owner: str, path: Path) -> str:
        return f"{owner} {path.parts}"

    @server.resource("shelf://all{/steps*}")
    def shelf(steps: list[str]) -> list[str]:
        return steps

    @server.resource("years://{years*}")
    def numbers(years: list[int], more: int = 1) -> list[int]:
        return years

    @server.resource("shares://{shares*}")
    def floats(shares: list[float]) -> list[float]:
        return shares

    @server.resource("tags://x{/tags*}")
    def tags(tags: list[str] = ["a"]) -> list[str]:  # noqa: B006
        return tags

    @server.completion(template="docs://{path*}{?lines}", argument="path")
    def complete(typed: str) -> list[str]:
        return [f"{typed}/readme.md"]

    return server


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("docs://a", "one a"),  # the template that was declared first
        ("docs://a/b.md", "many a/b.md all"),
        ("docs://a?lines=3", "many a 3"),
        ("docs://a%20b/c?lines=3", "many a b/c 3"),
        ("repo://me/a/b/setup.py", "me ('a', 'b')"),
        ("shelf://all/a/b%20c", '["a","b c"]'),
        ("shelf://all", "[]"),
        ("years://2024/2025", "[2024,2025]"),
        ("shares://0.5/1e2", "[0.5,100.0]"),
        ("tags://x", '["a"]'),
        ("tags://x/b", '["b"]'),
    ],
)
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: str(revision.name))
def test_one_variable_for_the_rest_of_a_path(uri: str, text: str, revision: Revision) -> None:
    [contents] = ask(paths(), "resources/read", {"uri": uri}, revision)["contents"]
    assert contents["text"] == text
    assert contents["uri"] == uri


@pytest.mark.requirement("server/resources/paths-sanitized")
@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("docs://a/../../etc/passwd", "variable 'path': it holds the segment '..'"),
        ("docs:///etc/passwd", "variable 'path': it is an absolute path"),
        ("docs://a%2F..%2Fb/c", "variable 'path': it holds an encoded slash or backslash"),
        ("shelf://all/..", "variable 'steps': it holds the segment '..'"),
        ("shelf://all/a%2Fb", "variable 'steps': it holds an encoded slash or backslash"),
        ("docs://", None),
        ("shelf://all/", None),
        ("repo://me/setup.py", None),
        ("years://2024/x", None),
        ("shares://0.5/nan", None),
        ("docs://" + "a/" * 8192, f"longer than {MAX_URI}"),
    ],
)
def test_paths_are_checked_as_every_variable_is(uri: str, reason: str | None) -> None:
    with pytest.raises(McpError, match="not found") as caught:
        ask(paths(), "resources/read", {"uri": uri})
    assert msgspec.json.decode(caught.value.error.data or b"{}").get("reason") == reason


def test_completion_of_a_path() -> None:
    ref = {"type": "ref/resource", "uri": "docs://{path*}{?lines}"}
    params = {"ref": ref, "argument": {"name": "path", "value": "a/b"}}
    result = ask(paths(), "completion/complete", params)
    assert result["completion"]["values"] == ["a/b/readme.md"]


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("t:{a}", list[int]),
        *(("t:{a*}", kind) for kind in (list[list[int]], dict[str, int], list[dict[str, int]])),
    ],
)
def test_types_that_no_text_can_fill(uri: str, kind: Any) -> None:
    def function(a: Any) -> str:
        raise AssertionError("never called")

    function.__annotations__["a"] = kind
    with pytest.raises(TypeError, match=r"'t:.*': parameter 'a' cannot be made from a string"):
        Server("s").add_resource(uri, function)


def test_default_parameters_of_a_resource() -> None:
    server = Server("s")

    @server.resource("t:x")
    def function(a: int = 5) -> str:
        return str(a)

    assert text_of(server, "t:x") == "5"


def test_the_reason_is_there_for_the_log() -> None:
    server = Server("s")
    server.add_resource("t:x", lambda: None)
    prepared = server.prepare("resources/read", b'{"uri":"t:x"}', LATEST)
    with pytest.raises(OutputMismatch, match="must have contents"):
        prepared.finish(None)
