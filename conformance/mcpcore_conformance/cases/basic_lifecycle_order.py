"""Cases of the page basic/lifecycle: what may come before what while a conversation is opened."""

from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import Kind, notification, request
from mcpcore_conformance.kit.model import EVERY, LEGACY, ONLY_2025_03_26, Binding, Page
from mcpcore_conformance.kit.probes import CLIENT_ERRORS, outcome, unanswered
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/lifecycle")
case = page.server(LEGACY)

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
    check(served, f"{what} got {reply}", "ping" if reply.sent.method == "ping" else "")


@case.must("initialization/before-all", "An error, or nothing; over HTTP a status of 4xx.")
async def before_all(talk: ServerTalk) -> None:
    """Requests that come before initialize are not served."""
    await _needs_session(talk)
    link = await talk.connect()
    method, params = talk.early_request()
    reply = await outcome(link, await link.send(method, params))
    check(
        reply.message is None or reply.message.kind is not Kind.RESULT,
        f"{method} was served before initialize",
    )


@case.should(
    "initialization/after-refusal",
    "initialize is answered although another request came first.",
    bindings=EVERY - {Binding.HTTP},
)
async def after_refusal(talk: ServerTalk) -> None:
    """A request that came too early does not spoil the connection."""
    link = await talk.connect()
    await outcome(link, await link.send(*talk.early_request()))
    _served(await link.request("initialize", link.opening()), "initialize after another request")


@case.should("initialization/ping-first", "An empty result.", bindings=EVERY - {Binding.HTTP})
async def ping_first(talk: ServerTalk) -> None:
    """A ping is answered before initialize."""
    link = await talk.connect()
    _served(await link.request("ping"), "a ping before initialize")


@case.must("initialization/ping-between", "An empty result.")
async def ping_between(talk: ServerTalk) -> None:
    """A ping is answered between the answer to initialize and notifications/initialized."""
    link = await talk.connect()
    await link.ask("initialize", link.opening())
    _served(await link.request("ping"), "a ping before notifications/initialized")


@case.should(
    "initialization/server-waits",
    "Nothing but pings and log messages comes before notifications/initialized.",
)
async def server_waits(talk: ServerTalk) -> None:
    """Before the client is ready the server asks it for nothing."""
    link = await talk.connect()
    await link.ask("initialize", link.opening())
    await link.listen()
    await link.quiet()
    asked = [each.method for each in link.asked if each.method != "ping"]
    check(not asked, f"before notifications/initialized the server sent {', '.join(asked)}")


@case.must("initialization/initialized-unanswered", "Nothing; over HTTP 202.")
async def initialized_unanswered(talk: ServerTalk) -> None:
    """notifications/initialized is taken and not answered."""
    link = await talk.connect()
    await link.ask("initialize", link.opening())
    for what, head in (await unanswered(link, {INITIALIZED: notification(INITIALIZED)})).items():
        check(head.status == 202, f"{what} got HTTP status {head.status}, not 202")
    _served(await link.request(*talk.any_request()), "the first request")


@case.should("initialization/initialized-again", "Nothing happens; the next request is served.")
async def initialized_again(talk: ServerTalk) -> None:
    """A second notifications/initialized does no harm."""
    link = await talk.open()
    await unanswered(link, {INITIALIZED: notification(INITIALIZED)})
    _served(await link.request(*talk.any_request()), "the next request")


@case.should(
    "initialization/initialized-first",
    "It opens nothing: requests are refused until initialize was answered.",
    bindings=EVERY - {Binding.HTTP},
)
async def initialized_first(talk: ServerTalk) -> None:
    """notifications/initialized does not stand for initialize."""
    link = await talk.connect()
    await link.say(notification(INITIALIZED))
    method, params = talk.early_request()
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


@case.should("initialization/twice", "An error, or over HTTP a status of 4xx.")
async def twice(talk: ServerTalk) -> None:
    """A conversation is opened once: a second initialize is refused."""
    link = await talk.open()
    reply = await _again(talk, link)
    check(reply.refused, f"the second initialize got {reply}")


@case.should("initialization/twice-harmless", "The conversation goes on as it was.")
async def twice_harmless(talk: ServerTalk) -> None:
    """A second initialize does not take the first conversation away."""
    link = await talk.open()
    reply = await _again(talk, link)
    check(reply.gone is None, f"the second initialize got {reply}")
    _served(await link.request(*talk.any_request()), "a request after a second initialize")


@case.should(
    "initialization/not-batched",
    "An error, or over HTTP a status of 4xx; nothing of the batch is carried out.",
    ONLY_2025_03_26,
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
