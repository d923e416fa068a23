"""Cases of the page basic/lifecycle: how a conversation is opened, and in which version."""

from typing import Any

from mcpcore.spec.revisions import LATEST
from mcpcore_conformance.kit.apart import AGREED
from mcpcore_conformance.kit.discover import agrees_to
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import INVALID_PARAMS, INVALID_REQUEST, Kind
from mcpcore_conformance.kit.model import LEGACY, ONLY_2025_11_25, Page
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Broken, check

page = Page("basic/lifecycle")
case = page.server(LEGACY)


def _served(reply: Reply, what: str) -> None:
    served = reply.message is not None and reply.message.kind is Kind.RESULT
    check(served, f"{what} got {reply}")


@case.must(
    "version-negotiation/version-echoed",
    "The result's protocolVersion is the one that initialize asked for.",
    bare=True,
)
async def version_echoed(talk: ServerTalk) -> None:
    """A version that the server speaks is answered with the same version."""
    link = await talk.connect()
    reply = await link.request("initialize", link.opening())
    if reply.message is None or reply.message.kind is not Kind.RESULT:
        talk.skip(f"the server does not speak {talk.revision.name}: initialize got {reply}")
    agreed = reply.result.get("protocolVersion")
    if agreed != talk.revision.name:
        check(isinstance(agreed, str), f"the version is {agreed!r}", _flaw(agreed))
        if await agrees_to(talk, agreed):
            talk.skip(f"the server does not speak {talk.revision.name}, but {agreed}")
        raise Broken(
            f"{talk.revision.name} was answered with {agreed!r}, and {agreed!r} with another again"
        )


def _flaw(version: Any) -> str:
    """What is wrong with a version that is no text is the form of that answer."""
    return "" if isinstance(version, str) else "initialize"


async def _other_version(link: Link, asked: Any) -> str | None:
    """Ask for a version that nobody speaks; returns the one that is offered, None for an error."""
    reply = await link.request("initialize", {**link.opening(), "protocolVersion": asked})
    if reply.message is not None and reply.message.kind is Kind.ERROR:
        reply.failed_with(INVALID_PARAMS)
        return None
    found = reply.result.get("protocolVersion")
    if not isinstance(found, str) or found == asked:
        raise Broken(
            f"protocolVersion {asked!r} was answered with {found!r}", _flaw(found) or AGREED
        )
    return found


@case.must(
    "version-negotiation/unknown-version",
    "A result with another version that the server speaks, or the error -32602.",
)
async def unknown_version(talk: ServerTalk) -> None:
    """A version that nobody speaks is answered with one that the server does."""
    await _other_version(await talk.connect(), "1999-12-31")


@case.must(
    "version-negotiation/future-version",
    "A result with another version that the server speaks, or the error -32602.",
)
async def future_version(talk: ServerTalk) -> None:
    """A version that does not exist yet is not agreed to."""
    await _other_version(await talk.connect(), "2999-12-31")


@case.must(
    "version-negotiation/odd-versions",
    "A result with another version that the server speaks, or the error -32602.",
    ONLY_2025_11_25,
)
async def odd_versions(talk: ServerTalk) -> None:
    """What is no version at all is not agreed to either."""
    name = talk.revision.name
    for asked in ("", f"{name} ", "x" * 5000):
        await _other_version(await talk.connect(), asked)


@case.should(
    "version-negotiation/newest-offered",
    "The newest version that the server speaks and that has initialize.",
    ONLY_2025_11_25,
)
async def newest_offered(talk: ServerTalk) -> None:
    """Instead of a version that it does not speak, the server offers its latest."""
    found = await _other_version(await talk.connect(), "1999-12-31")
    check(
        found is None or found >= talk.revision.name,
        f"it offers {found}, although it speaks {talk.revision.name}",
    )


@case.should(
    "version-negotiation/modern-version",
    "A result with a version that has initialize, or an error.",
)
async def modern_version(talk: ServerTalk) -> None:
    """Initialize is no way into a version that has no initialize."""
    link = await talk.connect()
    reply = await link.request("initialize", {**link.opening(), "protocolVersion": LATEST.name})
    if reply.message is not None and reply.message.kind is Kind.RESULT:
        found = reply.result.get("protocolVersion")
        what = f"initialize agreed to {LATEST.name}, which has no initialize"
        check(found != LATEST.name, what, AGREED)


@case.must(
    "initialization/answered",
    "A result with protocolVersion, capabilities, and serverInfo with name and version.",
    bare=True,
)
async def answered(talk: ServerTalk) -> None:
    """Initialize is answered with what the server can do, and who it is."""
    link = await talk.connect()
    found = await link.ask("initialize", link.opening())
    info = found["serverInfo"]
    check(info["name"].strip(), "the server has an empty name")
    capabilities = found["capabilities"]
    check(isinstance(capabilities, dict), f"capabilities is {capabilities!r}")


@case.must("initialization/minimal", "A result.")
async def minimal(talk: ServerTalk) -> None:
    """A client may have no capabilities at all."""
    link = await talk.connect(capabilities={})
    info = {"name": "kit", "version": "0"}
    _served(await link.request("initialize", {**link.opening(), "clientInfo": info}), "initialize")


@case.should("initialization/more-than-known", "A result: what is not known is left alone.")
async def more_than_known(talk: ServerTalk) -> None:
    """Capabilities and members that the server does not know are no reason to refuse."""
    link = await talk.connect()
    opening = link.opening()
    opening["capabilities"] = {
        **link.capabilities,
        "experimental": {"org.example/x": {"a": [1]}},
        "orgExample": {"deep": {"er": True}},
        "roots": {"listChanged": True, "more": 1},
    }
    opening["clientInfo"] = {
        **opening["clientInfo"],
        "title": "The kit",
        "websiteUrl": "https://example.com",
        "icons": [{"src": "https://example.com/i.png", "sizes": ["any"], "theme": "dark"}],
        "more": None,
    }
    opening["_meta"] = {"org.example/x": 1}
    opening["more"] = {}
    _served(await link.request("initialize", opening), "an initialize with unknown members")


@case.should(
    "initialization/without-version",
    "The error -32602 each time; then a good initialize is answered.",
)
async def without_version(talk: ServerTalk) -> None:
    """An initialize without a version fails, and a good one may follow."""
    link = await talk.connect()
    opening = link.opening()
    without = {name: value for name, value in opening.items() if name != "protocolVersion"}
    for what, params in (
        ("empty params", {}),
        ("no protocolVersion", without),
        ("protocolVersion null", {**opening, "protocolVersion": None}),
        ("protocolVersion 20251125", {**opening, "protocolVersion": 20251125}),
    ):
        reply = await link.request("initialize", params)
        if reply.message is None or reply.message.kind is not Kind.ERROR:
            raise Broken(f"initialize with {what} got {reply}, not the error -32602")
        reply.failed_with(INVALID_PARAMS, INVALID_REQUEST)
    _served(await link.request("initialize", opening), "the good initialize after bad ones")


@case.may("initialization/incomplete", "The error -32602.")
async def incomplete(talk: ServerTalk) -> None:
    """An initialize without capabilities, or without clientInfo, is not complete."""
    link = await talk.connect()
    for name in ("capabilities", "clientInfo"):
        params = {key: value for key, value in link.opening().items() if key != name}
        reply = await link.request("initialize", params)
        if reply.message is None or reply.message.kind is not Kind.ERROR:
            raise Broken(f"initialize without {name} got {reply}, not the error -32602")
        reply.failed_with(INVALID_PARAMS, INVALID_REQUEST)
