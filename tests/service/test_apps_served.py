"""Apps of a server: tools with a document that shows them, by what the client declares."""

from typing import Any

import pytest

from mcpcore.service import Server
from mcpcore.service.apps import ToolApp
from mcpcore.spec.capabilities import APP_TYPE, APPS_EXTENSION
from mcpcore.spec.revisions import LATEST, REVISIONS, Revision
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.content import TextResourceContents
from tests.service.calling import ask

URI = "ui://weather/map"
HTML = "<!doctype html><title>Map</title>"
SHOWS = ClientCapabilities(extensions={APPS_EXTENSION: {"mimeTypes": [APP_TYPE]}})
SHOWS_NONE = ClientCapabilities()
CSP = {"connectDomains": ["https://api.example.com"]}


def server(**options: Any) -> Server:
    made = Server("s", **options)
    made.add_app(URI, HTML, csp=CSP, permissions=["camera"], prefers_border=True, title="Map")
    made.add_tool(lambda: "x", "plain", meta={"mine": 1})
    made.add_tool(lambda: "x", "weather", app=URI, meta={"mine": 1})
    made.add_tool(lambda: "x", "refresh", app=ToolApp(URI, visibility=["app"]))
    made.add_tool(lambda: "x", "ask", app=ToolApp(visibility=("model",)))
    return made


def metas(
    of: Server, client: ClientCapabilities | None, revision: Revision = LATEST
) -> dict[str, Any]:
    return {
        each["name"]: each.get("_meta")
        for each in ask(of, "tools/list", None, revision, client=client)["tools"]
    }


def test_clients_that_show_apps_get_them_in_both_forms() -> None:
    both, flat = ["model", "app"], {"ui/resourceUri": URI}
    told = {
        "plain": {"mine": 1},
        "weather": {"mine": 1, "ui": {"resourceUri": URI, "visibility": both}, **flat},
        "refresh": {"ui": {"resourceUri": URI, "visibility": ["app"]}, **flat},
        "ask": {"ui": {"visibility": ["model"]}},
    }
    made = server()
    assert metas(made, SHOWS) == metas(made, None) == told
    assert metas(made, SHOWS_NONE) == {"plain": {"mine": 1}, "weather": {"mine": 1}, "ask": None}


@pytest.mark.parametrize("revision", REVISIONS, ids=str)
def test_tools_for_apps_alone_are_listed_where_tools_can_say_so(revision: Revision) -> None:
    listed = metas(server(), SHOWS, revision)
    assert ("refresh" in listed) is (listed["weather"] is not None)
    assert ask(server(), "tools/call", {"name": "refresh"}, revision)["content"]


def test_pages_of_both_kinds_of_clients_are_kept_apart_and_private() -> None:
    made = server(page_size=2)
    for _ in range(2):
        for client, last in ((SHOWS, ["refresh", "ask"]), (SHOWS_NONE, ["ask"])):
            first = ask(made, "tools/list", client=client)
            assert first["cacheScope"] == "private"
            rest = ask(made, "tools/list", {"cursor": first["nextCursor"]}, client=client)
            assert [each["name"] for each in rest["tools"]] == last
    guarded = server()
    guarded.add_tool(lambda: "x", "mine", visible=lambda principal: True)
    assert [*metas(guarded, SHOWS)][2:] == ["refresh", "ask", "mine"]
    assert [*metas(guarded, SHOWS_NONE)][2:] == ["ask", "mine"]
    bare = Server("none", offers=["tools"])
    assert ask(bare, "tools/list", client=SHOWS)["cacheScope"] == "public"


def test_the_document_has_its_rules_where_it_is_listed_and_where_it_is_read() -> None:
    made, ui = server(), {"csp": CSP, "permissions": {"camera": {}}, "prefersBorder": True}
    (listed,) = ask(made, "resources/list")["resources"]
    assert listed == {
        **{"uri": URI, "name": URI, "title": "Map", "mimeType": APP_TYPE, "size": len(HTML)},
        "_meta": {"ui": ui},
    }
    (contents,) = ask(made, "resources/read", {"uri": URI})["contents"]
    assert contents == {"uri": URI, "mimeType": APP_TYPE, "text": HTML, "_meta": {"ui": ui}}


def test_functions_make_documents_too() -> None:
    own = TextResourceContents(uri="ui://b", text=HTML, mime_type=APP_TYPE, meta={"ui": {}, "m": 1})
    made = Server("s")
    made.add_app("ui://a", lambda: HTML.encode(), name="a", domain="a.example", meta={"n": 1})
    made.add_app("ui://b", lambda: own, name="b", domain="b.example")
    made.add_app("ui://c", lambda: HTML, name="c")
    (a,), (b,), (c,) = (
        ask(made, "resources/read", {"uri": f"ui://{each}"})["contents"] for each in "abc"
    )
    assert (a["mimeType"], a["_meta"]) == (APP_TYPE, {"ui": {"domain": "a.example"}})
    assert (b["_meta"], own.meta) == ({"ui": {}, "m": 1}, {"ui": {}, "m": 1})
    assert c == {"uri": "ui://c", "mimeType": APP_TYPE, "text": HTML}
    assert ask(made, "resources/list")["resources"][0]["_meta"]["n"] == 1


@pytest.mark.parametrize(
    ("uri", "html", "options", "problem"),
    [
        ("https://x", HTML, {}, "app 'https://x': expected a URI"),
        (URI, "<p>", {}, "begin with <!doctype html>"),
        (URI, b"<p>", {}, "begin with <!doctype html>"),
        (URI, HTML, {"mime_type": "text/html"}, "mimeType: expected"),
        (URI, HTML, {"csp": {"connectDomains": ["*"]}}, "is no origin"),
        (URI, HTML, {"permissions": ["usb"]}, "'usb' is none of"),
        (URI, HTML, {"prefers_border": 1}, "prefersBorder"),
        (URI, HTML, {"other": 1}, "there is no option 'other'"),
    ],
)
def test_what_no_host_would_take_is_refused(
    uri: str, html: Any, options: Any, problem: str
) -> None:
    made = Server("s")
    with pytest.raises((ValueError, TypeError), match=problem):
        made.add_app(uri, html, **options)
    assert not ask(made, "resources/list")["resources"]


@pytest.mark.parametrize("app", ["https://x", {"visibility": []}, {"visibility": ["user"]}])
def test_bad_apps_of_tools_are_refused(app: Any) -> None:
    with pytest.raises(ValueError, match=r"ui\."):
        Server("s").add_tool(lambda: "x", "t", app=app if isinstance(app, str) else ToolApp(**app))


def test_a_server_with_apps_declares_the_extension() -> None:
    by_tool, by_document, by_family = Server("s"), Server("s"), Server("s")
    by_tool.add_tool(lambda: "x", "weather", app=URI)
    by_document.add_app(URI, HTML)
    by_family.add_app(f"{URI}/{{city}}", lambda city: f"{HTML}{city}")
    for made in (by_tool, by_document, by_family):
        extensions = made.capabilities().extensions
        assert extensions == {APPS_EXTENSION: {"mimeTypes": [APP_TYPE]}}
    assert Server("s", offers=["tools", "resources"]).capabilities().extensions is None


def test_apps_of_mounted_servers_have_their_uris_in_the_namespace() -> None:
    outer = Server("main")
    outer.mount(server(), "x_")
    told = metas(outer, SHOWS)["x_weather"]
    moved = "ui://x+weather/map"
    assert (told["ui"]["resourceUri"], told["ui/resourceUri"]) == (moved, moved)
    assert ask(outer, "resources/read", {"uri": moved})["contents"][0]["_meta"]["ui"]["csp"] == CSP
    assert [*metas(outer, SHOWS_NONE)] == ["x_plain", "x_weather", "x_ask"]
