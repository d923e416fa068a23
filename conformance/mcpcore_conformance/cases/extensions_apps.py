"""Cases of the extension io.modelcontextprotocol/ui: tools with apps, and their documents."""

import re
from typing import Any

from mcpcore_conformance.kit.asking import call, entries
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.model import SINCE_2025_06_18, Page
from mcpcore_conformance.kit.shapes import APPS
from mcpcore_conformance.kit.skills import contents
from mcpcore_conformance.kit.talk import ServerTalk, all_capabilities
from mcpcore_conformance.kit.usable import members, objects
from mcpcore_conformance.kit.verdicts import check, need

page = Page("extensions/apps")

SINCE_META = SINCE_2025_06_18
"""Revisions whose tools have ``_meta``."""
case = page.server(SINCE_META)
TYPE = "text/html;profile=mcp-app"
FLAT = "ui/resourceUri"
MOST = 5
"""Documents that are read at most."""
_ORIGIN = re.compile(r"(https?|wss?)://[^\s/?#;,'@]+")
_DOCTYPE = re.compile(r"\ufeff?(?>\s|<!--.*?-->)*+<!doctype\s+html\b", re.DOTALL | re.IGNORECASE)
_DOMAINS = ("connectDomains", "resourceDomains", "frameDomains", "baseUriDomains")
_TYPES = {"csp": dict, "permissions": dict, "domain": str, "prefersBorder": bool}


async def _opened(talk: ServerTalk) -> tuple[Link, list[dict[str, Any]]]:
    """Open a connection of a client that shows apps; return it with the tools that have some."""
    need("tools" in talk.features.capabilities, "the server does not declare tools")
    extensions = {APPS: {"mimeTypes": [TYPE]}}
    link = await talk.open(
        capabilities={**all_capabilities(talk.revision), "extensions": extensions}
    )
    tools = await entries(link, "tools/list", "tools")
    found = [tool for tool in tools if {"ui", FLAT} & members(tool.get("_meta")).keys()]
    return link, found or talk.skip("no tool in the list has an app")


def _uris(tools: list[dict[str, Any]]) -> list[str]:
    found = (members(members(tool.get("_meta")).get("ui")).get("resourceUri") for tool in tools)
    return [*dict.fromkeys(uri for uri in found if isinstance(uri, str))][:MOST]


@case.must(
    "resource-discovery",
    "A resourceUri that begins with ui://, and model, app or both as visibility.",
)
async def metadata(talk: ServerTalk) -> None:
    """The metadata of tools with apps has its shape, in the form that is not deprecated."""
    _, tools = await _opened(talk)
    for tool in tools:
        meta, name = members(tool.get("_meta")), tool.get("name")
        ui = meta.get("ui")
        check(isinstance(ui, dict), f"_meta.ui of {name} is {ui!r:.80}")
        uri, visibility = members(ui).get("resourceUri"), members(ui).get("visibility", ["model"])
        good = uri is None or (isinstance(uri, str) and uri.startswith("ui://"))
        check(good, f"the resourceUri of {name} is {uri!r:.200}")
        check(meta.get(FLAT, uri) == uri, f"{name} has another URI in _meta[{FLAT!r}]")
        good = isinstance(visibility, list) and all(each in ("model", "app") for each in visibility)
        check(good, f"the visibility of {name} is {visibility!r:.80}")


@case.must(
    "content-requirements",
    "Contents with that URI and type, as text or base64, with a doctype of HTML5.",
)
async def document(talk: ServerTalk) -> None:
    """The app of a tool exists, and is a document of HTML."""
    link, tools = await _opened(talk)
    for uri in _uris(tools):
        found, data = await contents(link, uri)
        kind = found.get("mimeType")
        check(kind == TYPE, f"the media type of {uri} is {kind!r:.80}")
        text = data.decode(errors="replace")
        check(_DOCTYPE.match(text), f"{uri} does not begin with a doctype of HTML5: {text[:40]!r}")


@case.must(
    "ui-resource-format",
    "Lists of origins by their use, objects as permissions, in _meta.ui of the contents.",
)
async def rules(talk: ServerTalk) -> None:
    """What a document asks of its host has the shape that hosts read."""
    link, tools = await _opened(talk)
    for uri in _uris(tools):
        found, _ = await contents(link, uri)
        ui = members(found.get("_meta")).get("ui", {})
        check(isinstance(ui, dict), f"_meta.ui of {uri} is {ui!r:.80}")
        for name, type in _TYPES.items():
            value = ui.get(name, type())
            check(isinstance(value, type), f"{name} of {uri} is {value!r:.80}")
        for name in _DOMAINS:
            domains = members(ui.get("csp")).get(name, [])
            good = isinstance(domains, list) and all(
                isinstance(each, str) and _ORIGIN.fullmatch(each) for each in domains
            )
            check(good, f"{name} of {uri} are {domains!r:.200}, which are no origins")
        for name, value in members(ui.get("permissions")).items():
            check(isinstance(value, dict), f"the permission {name} of {uri} is {value!r:.80}")


@case.must("ui-resource-format", "The same URI and media type as where it is read, or no entry.")
async def listed(talk: ServerTalk) -> None:
    """The resource of an app, where it is listed, is what hosts read."""
    _, tools = await _opened(talk)
    apps, found = _uris(tools), talk.features.resources
    own = [each for each in objects(found) if each.get("uri") in apps]
    need(own, "no app is listed, as a server may leave them out")
    for each in own:
        kind = each.get("mimeType")
        check(kind == TYPE, f"the media type of {each['uri']} is listed as {kind!r:.80}")


@case.should("server-behavior", "No tool that refers to an app, and none that is for apps alone.")
async def by_capability(talk: ServerTalk) -> None:
    """A client that does not declare the extension gets tools without apps."""
    await _opened(talk)
    link = await talk.open()
    for tool in await entries(link, "tools/list", "tools"):
        meta, name = members(tool.get("_meta")), tool.get("name")
        ui = members(meta.get("ui"))
        check("resourceUri" not in ui and FLAT not in meta, f"{name} refers to an app")
        alone = "model" not in ui.get("visibility", ["model"])
        check(not alone, f"{name} is for apps alone")


@case.must("server-behavior/meaningful-content", "A text in content.", needs=("tool:test_app",))
async def meaningful(talk: ServerTalk) -> None:
    """A tool with an app has its result in content, for clients that show apps as well."""
    link, _ = await _opened(talk)
    for each in (link, await talk.open()):
        found = objects((await call(each, "test_app", {})).result.get("content"))
        check(any(block.get("text") for block in found), f"the content is {found!r:.200}")
