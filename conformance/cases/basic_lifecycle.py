"""Cases of the page basic/lifecycle: how a conversation is opened, and in which version."""

from typing import Any

from conformance.kit.link import Link, Reply
from conformance.kit.messages import INVALID_PARAMS, INVALID_REQUEST, Kind, notification, request
from conformance.kit.model import EVERY, LEGACY, MAY, MUST, SHOULD, Binding, Page
from conformance.kit.probes import CLIENT_ERRORS, outcome, unanswered
from conformance.kit.talk import ServerTalk
from conformance.kit.verdicts import Broken, check
from mcpcore.spec.revisions import BY_NAME, LATEST, LATEST_LEGACY, Span

page = Page("basic/lifecycle")

WITH_BATCHES = Span(BY_NAME["2025-03-26"], BY_NAME["2025-03-26"])
NEWEST = Span(LATEST_LEGACY, LATEST_LEGACY)
INITIALIZED = "notifications/initialized"


async def _needs_session(talk: ServerTalk) -> None:
    """Over HTTP, what comes before the handshake can be told only where there are sessions."""
    if talk.binding is not Binding.HTTP:
        return
    link = await talk.open()
    if talk.http(link).session is None:
        talk.skip("the server keeps no sessions: it does not see what came before")


def _served(reply: Reply, what: str) -> None:
    served = reply.message is not None and reply.message.kind is Kind.RESULT
    check(served, f"{what} got {reply}")


@page.server(
    MUST,
    "version-negotiation/version-echoed",
    LEGACY,
    expects="The result's protocolVersion is the one that initialize asked for.",
)
async def version_echoed(talk: ServerTalk) -> None:
    """A version that the server speaks is answered with the same version."""
    link = await talk.connect()
    result = await link.ask("initialize", link.opening())
    check(
        result["protocolVersion"] == talk.revision.name,
        f"{talk.revision.name} was answered with {result['protocolVersion']}",
    )


async def _other_version(link: Link, asked: Any) -> str | None:
    """Ask for a version that nobody speaks; returns the one that is offered, None for an error."""
    reply = await link.request("initialize", {**link.opening(), "protocolVersion": asked})
    if reply.message is not None and reply.message.kind is Kind.ERROR:
        reply.failed_with(INVALID_PARAMS)
        return None
    found = reply.result.get("protocolVersion")
    if not isinstance(found, str) or found == asked:
        raise Broken(f"protocolVersion {asked!r} was answered with {found!r}")
    return found


@page.server(
    MUST,
    "version-negotiation/unknown-version",
    LEGACY,
    expects="A result with another version that the server speaks, or the error -32602.",
)
async def unknown_version(talk: ServerTalk) -> None:
    """A version that nobody speaks is answered with one that the server does."""
    await _other_version(await talk.connect(), "1999-12-31")


@page.server(
    MUST,
    "version-negotiation/future-version",
    LEGACY,
    expects="A result with another version that the server speaks, or the error -32602.",
)
async def future_version(talk: ServerTalk) -> None:
    """A version that does not exist yet is not agreed to."""
    await _other_version(await talk.connect(), "2999-12-31")


@page.server(
    MUST,
    "version-negotiation/odd-versions",
    NEWEST,
    expects="A result with another version that the server speaks, or the error -32602.",
)
async def odd_versions(talk: ServerTalk) -> None:
    """What is no version at all is not agreed to either."""
    name = talk.revision.name
    for asked in ("", f"{name} ", "x" * 5000):
        await _other_version(await talk.connect(), asked)


@page.server(
    SHOULD,
    "version-negotiation/newest-offered",
    NEWEST,
    expects="The newest version that the server speaks and that has initialize.",
)
async def newest_offered(talk: ServerTalk) -> None:
    """Instead of a version that it does not speak, the server offers its latest."""
    found = await _other_version(await talk.connect(), "1999-12-31")
    check(
        found is None or found >= talk.revision.name,
        f"it offers {found}, although it speaks {talk.revision.name}",
    )


@page.server(
    SHOULD,
    "version-negotiation/modern-version",
    LEGACY,
    expects="A result with a version that has initialize, or an error.",
)
async def modern_version(talk: ServerTalk) -> None:
    """Initialize is no way into a version that has no initialize."""
    link = await talk.connect()
    reply = await link.request("initialize", {**link.opening(), "protocolVersion": LATEST.name})
    if reply.message is not None and reply.message.kind is Kind.RESULT:
        found = reply.result.get("protocolVersion")
        check(found != LATEST.name, f"initialize agreed to {LATEST.name}, which has no initialize")


@page.server(
    MUST,
    "initialization/answered",
    LEGACY,
    expects="A result with protocolVersion, capabilities, and serverInfo with name and version.",
)
async def answered(talk: ServerTalk) -> None:
    """Initialize is answered with what the server can do, and who it is."""
    link = await talk.connect()
    found = await link.ask("initialize", link.opening())
    info = found["serverInfo"]
    check(info["name"].strip(), "the server has an empty name")
    capabilities = found["capabilities"]
    check(isinstance(capabilities, dict), f"capabilities is {capabilities!r}")


@page.server(
    MUST,
    "initialization/minimal",
    LEGACY,
    expects="A result.",
)
async def minimal(talk: ServerTalk) -> None:
    """A client may have no capabilities at all."""
    link = await talk.connect(capabilities={})
    info = {"name": "kit", "version": "0"}
    _served(await link.request("initialize", {**link.opening(), "clientInfo": info}), "initialize")


@page.server(
    SHOULD,
    "initialization/more-than-known",
    LEGACY,
    expects="A result: what is not known is left alone.",
)
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


@page.server(
    SHOULD,
    "initialization/without-version",
    LEGACY,
    expects="The error -32602 each time; then a good initialize is answered.",
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


@page.server(
    MAY,
    "initialization/incomplete",
    LEGACY,
    expects="The error -32602.",
)
async def incomplete(talk: ServerTalk) -> None:
    """An initialize without capabilities, or without clientInfo, is not complete."""
    link = await talk.connect()
    for name in ("capabilities", "clientInfo"):
        params = {key: value for key, value in link.opening().items() if key != name}
        reply = await link.request("initialize", params)
        if reply.message is None or reply.message.kind is not Kind.ERROR:
            raise Broken(f"initialize without {name} got {reply}, not the error -32602")
        reply.failed_with(INVALID_PARAMS, INVALID_REQUEST)


@page.server(
    MUST,
    "initialization/before-all",
    LEGACY,
    expects="An error, or nothing; over HTTP a status of 4xx.",
)
async def before_all(talk: ServerTalk) -> None:
    """Requests that come before initialize are not served."""
    await _needs_session(talk)
    link = await talk.connect()
    method, params = talk.any_request()
    reply = await outcome(link, await link.send(method, params))
    check(
        reply.message is None or reply.message.kind is not Kind.RESULT,
        f"{method} was served before initialize",
    )


@page.server(
    SHOULD,
    "initialization/after-refusal",
    LEGACY,
    bindings=EVERY - {Binding.HTTP},
    expects="initialize is answered although another request came first.",
)
async def after_refusal(talk: ServerTalk) -> None:
    """A request that came too early does not spoil the connection."""
    link = await talk.connect()
    await outcome(link, await link.send(*talk.any_request()))
    _served(await link.request("initialize", link.opening()), "initialize after another request")


@page.server(
    SHOULD,
    "initialization/ping-first",
    LEGACY,
    bindings=EVERY - {Binding.HTTP},
    expects="An empty result.",
)
async def ping_first(talk: ServerTalk) -> None:
    """A ping is answered before initialize."""
    link = await talk.connect()
    _served(await link.request("ping"), "a ping before initialize")


@page.server(
    MUST,
    "initialization/ping-between",
    LEGACY,
    expects="An empty result.",
)
async def ping_between(talk: ServerTalk) -> None:
    """A ping is answered between the answer to initialize and notifications/initialized."""
    link = await talk.connect()
    await link.ask("initialize", link.opening())
    _served(await link.request("ping"), "a ping before notifications/initialized")


@page.server(
    SHOULD,
    "initialization/server-waits",
    LEGACY,
    expects="Nothing but pings and log messages comes before notifications/initialized.",
)
async def server_waits(talk: ServerTalk) -> None:
    """Before the client is ready the server asks it for nothing."""
    link = await talk.connect()
    await link.ask("initialize", link.opening())
    await link.listen()
    await link.quiet()
    asked = [each.method for each in link.asked if each.method != "ping"]
    check(not asked, f"before notifications/initialized the server sent {', '.join(asked)}")


@page.server(
    MUST,
    "initialization/initialized-unanswered",
    LEGACY,
    expects="Nothing; over HTTP 202.",
)
async def initialized_unanswered(talk: ServerTalk) -> None:
    """notifications/initialized is taken and not answered."""
    link = await talk.connect()
    await link.ask("initialize", link.opening())
    for what, head in (await unanswered(link, {INITIALIZED: notification(INITIALIZED)})).items():
        check(head.status == 202, f"{what} got HTTP status {head.status}, not 202")
    _served(await link.request(*talk.any_request()), "the first request")


@page.server(
    SHOULD,
    "initialization/initialized-again",
    LEGACY,
    expects="Nothing happens; the next request is served.",
)
async def initialized_again(talk: ServerTalk) -> None:
    """A second notifications/initialized does no harm."""
    link = await talk.open()
    await unanswered(link, {INITIALIZED: notification(INITIALIZED)})
    _served(await link.request(*talk.any_request()), "the next request")


@page.server(
    SHOULD,
    "initialization/initialized-first",
    LEGACY,
    bindings=EVERY - {Binding.HTTP},
    expects="It opens nothing: requests are refused until initialize was answered.",
)
async def initialized_first(talk: ServerTalk) -> None:
    """notifications/initialized does not stand for initialize."""
    link = await talk.connect()
    await link.say(notification(INITIALIZED))
    method, params = talk.any_request()
    reply = await outcome(link, await link.send(method, params))
    check(
        reply.message is None or reply.message.kind is not Kind.RESULT,
        f"{method} was served without initialize",
    )
    _served(await link.request("initialize", link.opening()), "initialize")


async def _again(talk: ServerTalk, link: Link) -> Reply:
    """Send a second initialize within the session."""
    if talk.binding is not Binding.HTTP:
        return await link.request("initialize", link.opening())
    wire = talk.http(link)
    session = wire.session
    if session is None:
        talk.skip("the server keeps no sessions")
    headers = {"mcp-session-id": session, "mcp-protocol-version": link.revision.name}
    reply = await link.request("initialize", link.opening(), headers=headers)
    wire.session = session
    return reply


@page.server(
    SHOULD,
    "initialization/twice",
    LEGACY,
    expects="An error, or over HTTP a status of 4xx.",
)
async def twice(talk: ServerTalk) -> None:
    """A conversation is opened once: a second initialize is refused."""
    link = await talk.open()
    reply = await _again(talk, link)
    check(reply.refused, f"the second initialize got {reply}")


@page.server(
    SHOULD,
    "initialization/twice-harmless",
    LEGACY,
    expects="The conversation goes on as it was.",
)
async def twice_harmless(talk: ServerTalk) -> None:
    """A second initialize does not take the first conversation away."""
    link = await talk.open()
    reply = await _again(talk, link)
    check(reply.gone is None, f"the second initialize got {reply}")
    _served(await link.request(*talk.any_request()), "a request after a second initialize")


@page.server(
    SHOULD,
    "initialization/not-batched",
    WITH_BATCHES,
    expects="An error, or over HTTP a status of 4xx; nothing of the batch is carried out.",
)
async def not_batched(talk: ServerTalk) -> None:
    """Initialize is not part of a batch."""
    for more in ([], [request("kit-ping", "ping")]):
        link = await talk.connect()
        batch = [request("kit-initialize", "initialize", link.opening()), *more]
        sent = await link.say(batch)
        sent.id = "kit-initialize"
        reply = await outcome(link, sent)
        refused = reply.message is not None or reply.status in CLIENT_ERRORS
        check(refused, f"initialize in a batch got {reply}")
        check(
            reply.message is None or reply.message.kind is Kind.ERROR,
            "initialize was served as part of a batch",
        )


__all__ = ["page"]
