"""Cases of the page server/discover."""

from typing import Any

from mcpcore_conformance.kit.apart import SCOPE, TTL
from mcpcore_conformance.kit.messages import METHOD_NOT_FOUND, Kind
from mcpcore_conformance.kit.model import MODERN, Page
from mcpcore_conformance.kit.talk import NewLink, OpenLink, ServerTalk
from mcpcore_conformance.kit.verdicts import Broken, check

page = Page("server/discover")
case = page.server(MODERN)
response = case.at("response")
discoverresult = case.at("discoverresult")

SERVER_INFO = "io.modelcontextprotocol/serverInfo"
LISTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("tools", "tools/list", {}),
    ("resources", "resources/list", {}),
    ("resources", "resources/templates/list", {}),
    ("prompts", "prompts/list", {}),
    ("completions", "completion/complete", {}),
)
"""Capability, and a request that it promises."""


@response.must(
    "A result with supportedVersions, a list of strings, and capabilities, an object.", bare=True
)
async def answered(link: OpenLink) -> None:
    """server/discover is implemented, and says what the server speaks and can do."""
    found = await link.ask("server/discover")
    versions = found["supportedVersions"]
    check(versions, "supportedVersions is empty")
    check(all(versions), "a supported version is an empty string")


@response.must("A result: nothing has to come before.", bare=True)
async def first_message(link: NewLink) -> None:
    """server/discover may be the first message of a connection."""
    await link.ask("server/discover")


@discoverresult.must("The version of the request is among the supported ones.", bare=True)
async def own_version(link: OpenLink) -> None:
    """A request that was served was served in a version that is supported."""
    versions = (await link.ask("server/discover"))["supportedVersions"]
    check(link.revision.name in versions, f"{link.revision.name} is not among {versions}")


@discoverresult.should("No version is listed twice.")
async def versions_once(link: OpenLink) -> None:
    """Each supported version is named once."""
    versions = (await link.ask("server/discover"))["supportedVersions"]
    check(len(set(versions)) == len(versions), f"supportedVersions is {versions}")


@discoverresult.should("_meta has io.modelcontextprotocol/serverInfo with a name and a version.")
async def server_info(link: OpenLink) -> None:
    """The result says which software the server is."""
    meta = (await link.ask("server/discover")).get("_meta", {})
    info = meta.get(SERVER_INFO)
    named = isinstance(info, dict) and isinstance(info.get("name"), str) and info["name"].strip()
    check(named and isinstance(info.get("version"), str), f"serverInfo is {info!r}")


@response.must("No request of a declared capability is an unknown method.")
async def capabilities_served(talk: ServerTalk, link: OpenLink) -> None:
    """What the server declares, it serves."""
    declared = (await link.ask("server/discover"))["capabilities"]
    for capability, method, params in LISTS:
        if capability not in declared or not talk.features.serves(method):
            continue
        reply = await link.request(method, params)
        if reply.message is None:
            raise Broken(f"{capability} is declared, but {method} got {reply}")
        unknown = reply.message.kind is Kind.ERROR and reply.message.code == METHOD_NOT_FOUND
        check(not unknown, f"{capability} is declared, but {method} got {reply}")


@response.should("Requests of capabilities that are not declared get the error -32601.")
async def capabilities_complete(talk: ServerTalk, link: OpenLink) -> None:
    """What the server does not declare, it does not serve."""
    declared = (await link.ask("server/discover"))["capabilities"]
    tried = []
    for capability, method, params in LISTS:
        if capability in declared:
            continue
        tried.append(capability)
        reply = await link.request(method, params)
        reply.failed_with(METHOD_NOT_FOUND, what=f"{capability} is not declared, but {method}")
    talk.note(f"not declared: {', '.join(tried) or 'nothing'}")


@response.must("ttlMs is an integer of at least 0, cacheScope public or private.")
async def cache_hints(link: OpenLink) -> None:
    """The result says for how long it may be kept, and by whom."""
    found = (await link.request("server/discover")).result
    time = found.get("ttlMs")
    check(
        isinstance(time, int) and not isinstance(time, bool) and time >= 0,
        f"ttlMs is {time!r}",
        TTL,
    )
    scope = found.get("cacheScope")
    check(scope in ("public", "private"), f"cacheScope is {scope!r}", SCOPE)


@response.should("The same result again.")
async def repeatable(link: OpenLink) -> None:
    """To ask twice changes nothing."""
    first, second = [await link.ask("server/discover") for _ in range(2)]
    for name in ("supportedVersions", "capabilities", "instructions"):
        check(first.get(name) == second.get(name), f"{name} is another one the second time")


@case.should("request", "A result: what is not known is left alone.")
async def more_params(link: OpenLink) -> None:
    """Parameters that nobody knows are no reason to refuse."""
    await link.ask("server/discover", {"detail": "all", "org.example/x": {}})
