"""Cases of the page basic/lifecycle."""

import signal
from typing import Any

from mcpcore.spec.methods import METHODS, MethodKind, lookup
from mcpcore.spec.revisions import LATEST
from mcpcore.spec.revisions import LEGACY as LEGACY_REVISIONS
from mcpcore_conformance.kit.account import Unasked, declares
from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.apart import AGREED
from mcpcore_conformance.kit.discover import agrees_to
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Kind,
    notification,
    request,
)
from mcpcore_conformance.kit.model import (
    LEGACY,
    LEGACY_SINCE_2025_06_18,
    ONE_CHANNEL,
    ONLY_2025_03_26,
    ONLY_2025_11_25,
    STDIO,
    UNTIL_2025_03_26,
    Binding,
    Page,
)
from mcpcore_conformance.kit.probes import CLIENT_ERRORS, check_good, outcome, unanswered
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.talk import NewLink, OpenLink, ServerTalk
from mcpcore_conformance.kit.tour import check_asked
from mcpcore_conformance.kit.trying import ask, asker
from mcpcore_conformance.kit.verdicts import END_OF_INPUT, TERMINATED, Broken, check, need

page = Page("basic/lifecycle")
case = page.server(LEGACY)
version_negotiation = case.at("version-negotiation")
initialization = case.at("initialization")
capability_negotiation = case.at("capability-negotiation")
operation = case.at("operation")


@version_negotiation.must(
    "The result's protocolVersion is the one that initialize asked for.", bare=True
)
async def version_echoed(talk: ServerTalk, link: NewLink) -> None:
    """A version that the server speaks is answered with the same version."""
    reply = await link.request("initialize", link.opening())
    need(reply.good, f"the server does not speak {talk.revision.name}: initialize got {reply}")
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


@version_negotiation.must(
    "A result with another version that the server speaks, or the error -32602."
)
async def unknown_version(talk: ServerTalk) -> None:
    """A version that nobody speaks is answered with one that the server does."""
    await _other_version(await talk.connect(), "1999-12-31")


@version_negotiation.must(
    "A result with another version that the server speaks, or the error -32602."
)
async def future_version(talk: ServerTalk) -> None:
    """A version that does not exist yet is not agreed to."""
    await _other_version(await talk.connect(), "2999-12-31")


@version_negotiation.must(
    "A result with another version that the server speaks, or the error -32602.", ONLY_2025_11_25
)
async def odd_versions(talk: ServerTalk) -> None:
    """What is no version at all is not agreed to either."""
    name = talk.revision.name
    for asked in ("", f"{name} ", "x" * 5000):
        await _other_version(await talk.connect(), asked)


@version_negotiation.should(
    "The newest version that the server speaks and that has initialize.", ONLY_2025_11_25
)
async def newest_offered(talk: ServerTalk) -> None:
    """Instead of a version that it does not speak, the server offers its latest."""
    found = await _other_version(await talk.connect(), "1999-12-31")
    check(
        found is None or found >= talk.revision.name,
        f"it offers {found}, although it speaks {talk.revision.name}",
    )


@version_negotiation.should("A result with a version that has initialize, or an error.")
async def modern_version(link: NewLink) -> None:
    """Initialize is no way into a version that has no initialize."""
    reply = await link.request("initialize", {**link.opening(), "protocolVersion": LATEST.name})
    if reply.good:
        found = reply.result.get("protocolVersion")
        what = f"initialize agreed to {LATEST.name}, which has no initialize"
        check(found != LATEST.name, what, AGREED)


@initialization.must(
    "A result with protocolVersion, capabilities, and serverInfo with name and version.", bare=True
)
async def answered(link: NewLink) -> None:
    """Initialize is answered with what the server can do, and who it is."""
    found = await link.ask("initialize", link.opening())
    info = found["serverInfo"]
    check(info["name"].strip(), "the server has an empty name")
    capabilities = found["capabilities"]
    check(isinstance(capabilities, dict), f"capabilities is {capabilities!r}")


@initialization.must("A result.")
async def minimal(talk: ServerTalk) -> None:
    """A client may have no capabilities at all."""
    link = await talk.connect(capabilities={})
    info = {"name": "kit", "version": "0"}
    check_good(
        await link.request("initialize", {**link.opening(), "clientInfo": info}), "initialize"
    )


@initialization.should("A result: what is not known is left alone.")
async def more_than_known(link: NewLink) -> None:
    """Capabilities and members that the server does not know are no reason to refuse."""
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
    check_good(await link.request("initialize", opening), "an initialize with unknown members")


@initialization.should("The error -32602 each time; then a good initialize is answered.")
async def without_version(link: NewLink) -> None:
    """An initialize without a version fails, and a good one may follow."""
    opening = link.opening()
    without = {name: value for name, value in opening.items() if name != "protocolVersion"}
    for what, params in (
        ("empty params", {}),
        ("no protocolVersion", without),
        ("protocolVersion null", {**opening, "protocolVersion": None}),
        ("protocolVersion 20251125", {**opening, "protocolVersion": 20251125}),
    ):
        reply = await link.request("initialize", params)
        reply.failed_with(INVALID_PARAMS, INVALID_REQUEST, what=f"initialize with {what}")
    check_good(await link.request("initialize", opening), "the good initialize after bad ones")


@initialization.may("The error -32602.")
async def incomplete(link: NewLink) -> None:
    """An initialize without capabilities, or without clientInfo, is not complete."""
    for name in ("capabilities", "clientInfo"):
        params = {key: value for key, value in link.opening().items() if key != name}
        reply = await link.request("initialize", params)
        reply.failed_with(INVALID_PARAMS, INVALID_REQUEST, what=f"initialize without {name}")


# Capabilities on both sides, operation, the end

OWN_CHANNEL = frozenset(Binding) - {Binding.STDIO}
"""Bindings over which several connections reach one server."""
LONG = 3600.0
"""Seconds after which nobody waits for an answer any more."""

FEATURES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("tools", "tools/list", {}),
    ("resources", "resources/list", {}),
    ("resources", "resources/templates/list", {}),
    ("prompts", "prompts/list", {}),
    ("logging", "logging/setLevel", {"level": "error"}),
    ("resources.subscribe", "resources/subscribe", {"uri": "test://watched-resource"}),
    ("completions", "completion/complete", {}),
    ("tasks.list", "tasks/list", {}),
)
"""Capability, and a request that it promises."""


async def _capabilities(talk: ServerTalk) -> tuple[Link, dict[str, Any]]:
    link = await talk.open()
    return link, link.welcome.get("capabilities", {})


@capability_negotiation.must("No request of a declared capability is an unknown method.")
async def declared(talk: ServerTalk) -> None:
    """What the server declares, it serves."""
    link, capabilities = await _capabilities(talk)
    for path, method, params in FEATURES:
        row = lookup(method, "client", link.revision)
        if row is None or row.capability is None or not declares(capabilities, path):
            continue
        if not talk.features.serves(method):
            continue
        reply = await link.request(method, params)
        if reply.message is None:
            raise Broken(f"{path} is declared, but {method} got {reply}")
        unknown = reply.message.kind is Kind.ERROR and reply.message.code == METHOD_NOT_FOUND
        check(not unknown, f"{path} is declared, but {method} got {reply}")


@capability_negotiation.should("The error -32601.")
async def undeclared(talk: ServerTalk) -> None:
    """What the server does not declare, it does not serve."""
    link, capabilities = await _capabilities(talk)
    tried = []
    for path, method, params in FEATURES:
        row = lookup(method, "client", link.revision)
        if row is None or row.capability is None or declares(capabilities, path):
            continue
        tried.append(path)
        reply = await link.request(method, params)
        reply.failed_with(METHOD_NOT_FOUND, what=f"{path} is not declared, but {method}")
    talk.note(f"not declared: {', '.join(tried) or 'nothing'}")


async def _not_asked(talk: ServerTalk, tool: str, what: str, method: str) -> None:
    """Let a tool ask for what the client cannot do: it is told so instead of the client asked."""
    which = await asker(talk, what, tool)
    link = await talk.open(capabilities={})
    await link.listen()
    reply = await ask(link, which)
    # for what else a server asks of its own accord there is a case
    asked = any(each.method == method for each in link.asked)
    check(not asked, f"the client declared nothing and was asked for {method}")
    if reply.message is None:
        raise Broken(f"{which}, which needs {method}, got {reply}")
    failed = reply.message.kind is Kind.ERROR or reply.result.get("isError") is True
    # any other tool may do without
    talk.should(failed or not which.known, f"{tool} needs {method}, and succeeded without it")
    await link.alive()


@capability_negotiation.must(
    "No sampling/createMessage comes; the call fails.", needs=("found:sampling",)
)
async def no_sampling(talk: ServerTalk) -> None:
    """A client that did not declare sampling is not asked for it."""
    await _not_asked(talk, "test_sampling", "sampling", "sampling/createMessage")


@capability_negotiation.must("No roots/list comes; the call fails.", needs=("found:roots",))
async def no_roots(talk: ServerTalk) -> None:
    """A client that did not declare roots is not asked for them."""
    await _not_asked(talk, "test_list_roots", "roots", "roots/list")


@capability_negotiation.must(
    "No elicitation/create comes; the call fails.",
    LEGACY_SINCE_2025_06_18,
    needs=("found:elicitation",),
)
async def no_elicitation(talk: ServerTalk) -> None:
    """A client that did not declare elicitation is not asked for it."""
    await _not_asked(talk, "test_elicitation", "elicitation", "elicitation/create")


@operation.should("An error: what a later revision has is not served in this one.")
async def later_methods(link: OpenLink) -> None:
    """Requests that the negotiated version does not have are not served."""
    later = {
        row.name
        for row in METHODS
        if row.kind is MethodKind.REQUEST
        and row.client is not None
        and row.client.first.position > link.revision.position
        and lookup(row.name, "client", link.revision) is None
    }
    for method in sorted(later):
        reply = await link.request(method, {})
        check(not reply.good, f"{method} was served, which {link.revision.name} does not have")
    await link.alive()


@operation.must("Each conversation keeps the version that it agreed on.", bindings=OWN_CHANNEL)
async def two_versions(talk: ServerTalk) -> None:
    """Two clients with two versions are served side by side."""
    first = await talk.open()
    for other in LEGACY_REVISIONS:
        if other is talk.revision:
            continue
        second = await talk.connect(revision=other)
        reply = await second.request("initialize", second.opening())
        if not reply.good:
            continue
        if reply.result.get("protocolVersion") != other.name:
            continue
        await second.accepted(await second.notify("notifications/initialized"))
        for link in (first, second, first):
            await link.ask(*talk.any_request())
        return
    talk.skip("the server speaks one legacy version only")


# The end


async def _ends(talk: ServerTalk, link: Link, what: str, flaw: str = END_OF_INPUT) -> None:
    patience = talk.timing.answer
    status = await talk.process(link).exited(patience)
    check(status is not None, f"{what}, the process was still there {patience:g} s later", flaw)


@case.should("stdio", "The process ends by itself.", bindings=STDIO)
async def end_of_input(talk: ServerTalk, link: OpenLink) -> None:
    """A server whose input is closed ends."""
    talk.process(link)
    await link.wire.finish()
    await _ends(talk, link, "after the end of its input")


@case.should("stdio", "The process ends by itself.", bindings=STDIO)
async def end_before_initialize(talk: ServerTalk, link: NewLink) -> None:
    """A server whose input is closed ends although nothing was ever said."""
    await link.wire.finish()
    await _ends(talk, link, "after the end of its input")


@case.should("stdio", "The process ends on SIGTERM.", bindings=STDIO)
async def terminated(talk: ServerTalk, link: OpenLink) -> None:
    """A server that gets SIGTERM ends."""
    await talk.process(link).signal(signal.SIGTERM)
    await _ends(talk, link, "after SIGTERM", TERMINATED)


@case.must("shutdown", "The other conversation is served as before.", bindings=OWN_CHANNEL)
async def others_stay(talk: ServerTalk) -> None:
    """The end of one conversation is not the end of another."""
    first, second = await talk.open(), await talk.open()
    await first.wire.close()
    talk.links.remove(first)
    await second.ask(*talk.any_request())


@case.should(
    "shutdown", "The server goes on, for other connections and for new ones.", bindings=OWN_CHANNEL
)
async def dropped(talk: ServerTalk) -> None:
    """A client that vanishes in the middle of its requests does no harm."""
    first, second = await talk.open(), await talk.open()
    for _ in range(5):
        await first.send(*talk.any_request())
    await first.wire.cut()
    await second.ask(*talk.any_request())
    await (await talk.open()).ask(*talk.any_request())


@case.should(
    "timeouts",
    "The call ends with an error, and the question is cancelled.",
    bindings=frozenset({Binding.CORE}),
    needs=("tool:test_sampling",),
)
async def unanswered_question(talk: ServerTalk) -> None:
    """A question that the client never answers does not keep the server waiting for ever."""
    silent = Answering({"sampling/createMessage": lambda _message: None})
    link = await talk.open(answering=silent)
    call = {"name": "test_sampling", "arguments": {"prompt": "Hello"}}
    sent = await link.send("tools/call", call)
    question = await link.expect("sampling/createMessage")
    await talk.advance(LONG)
    reply = await link.reply(sent)
    check(reply.message is not None, f"after an hour the call has still {reply}")
    cancelled = await link.expect("notifications/cancelled")
    check(
        cancelled.params.get("requestId") == question.id,
        f"requestId is {cancelled.params.get('requestId')!r}, not that of the question",
    )


# What may come before what while a conversation is opened

INITIALIZED = "notifications/initialized"


async def _needs_session(talk: ServerTalk) -> None:
    """Over HTTP, what comes before the handshake can be told only where there are sessions."""
    if talk.binding is not Binding.HTTP:
        return
    link = await talk.open()
    if talk.http(link).session is None:
        talk.skip("the server keeps no sessions: it does not see what came before")


@initialization.must("An error, or nothing; over HTTP a status of 4xx.")
async def before_all(talk: ServerTalk) -> None:
    """Requests that come before initialize are not served."""
    await _needs_session(talk)
    link = await talk.connect()
    method, params = talk.early_request()
    reply = await outcome(link, await link.send(method, params))
    check(not reply.good, f"{method} was served before initialize")


@initialization.should(
    "initialize is answered although another request came first.", bindings=ONE_CHANNEL
)
async def after_refusal(talk: ServerTalk, link: NewLink) -> None:
    """A request that came too early does not spoil the connection."""
    await outcome(link, await link.send(*talk.early_request()))
    check_good(await link.request("initialize", link.opening()), "initialize after another request")


@initialization.should("An empty result.", bindings=ONE_CHANNEL)
async def ping_first(link: NewLink) -> None:
    """A ping is answered before initialize."""
    check_good(await link.request("ping"), "a ping before initialize")


@initialization.must("An empty result.")
async def ping_between(link: NewLink) -> None:
    """A ping is answered between the answer to initialize and notifications/initialized."""
    await link.ask("initialize", link.opening())
    check_good(await link.request("ping"), "a ping before notifications/initialized")


@initialization.should("Nothing but pings and log messages comes before notifications/initialized.")
async def server_waits(link: NewLink) -> None:
    """Before the client is ready the server asks it for nothing."""
    await link.ask("initialize", link.opening())
    await link.listen()
    await link.quiet()
    asked = [each.method for each in link.asked if each.method != "ping"]
    check(not asked, f"before notifications/initialized the server sent {', '.join(asked)}")


@initialization.must("Nothing; over HTTP 202.")
async def initialized_unanswered(talk: ServerTalk, link: NewLink) -> None:
    """notifications/initialized is taken and not answered."""
    await link.ask("initialize", link.opening())
    for what, head in (await unanswered(link, {INITIALIZED: notification(INITIALIZED)})).items():
        check(head.status == 202, f"{what} got HTTP status {head.status}, not 202")
    check_good(await link.request(*talk.any_request()), "the first request")


@initialization.should("Nothing happens; the next request is served.")
async def initialized_again(talk: ServerTalk, link: OpenLink) -> None:
    """A second notifications/initialized does no harm."""
    await unanswered(link, {INITIALIZED: notification(INITIALIZED)})
    check_good(await link.request(*talk.any_request()), "the next request")


@initialization.should(
    "It opens nothing: requests are refused until initialize was answered.",
    bindings=ONE_CHANNEL,
)
async def initialized_first(talk: ServerTalk, link: NewLink) -> None:
    """notifications/initialized does not stand for initialize."""
    await link.say(notification(INITIALIZED))
    method, params = talk.early_request()
    reply = await outcome(link, await link.send(method, params))
    check(not reply.good, f"{method} was served without initialize")
    check_good(await link.request("initialize", link.opening()), "initialize")


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


@initialization.should("An error, or over HTTP a status of 4xx.")
async def twice(talk: ServerTalk, link: OpenLink) -> None:
    """A conversation is opened once: a second initialize is refused."""
    reply = await _again(talk, link)
    check(reply.refused, f"the second initialize got {reply}")


@initialization.should("The conversation goes on as it was.")
async def twice_harmless(talk: ServerTalk, link: OpenLink) -> None:
    """A second initialize does not take the first conversation away."""
    reply = await _again(talk, link)
    check(reply.gone is None, f"the second initialize got {reply}")
    check_good(await link.request(*talk.any_request()), "a request after a second initialize")


@initialization.should(
    "An error, or over HTTP a status of 4xx; nothing of the batch is carried out.", ONLY_2025_03_26
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


# What a server says of its own accord was negotiated

case = page.server(LEGACY_SINCE_2025_06_18)


@case.should(
    "operation/announces-what-is-declared-early",
    "No notification that needs a capability which was not declared, and no strange one.",
    UNTIL_2025_03_26,
)
@case.must(
    "operation/announces-what-is-declared",
    "No notification that needs a capability which was not declared, and no strange one.",
)
async def announces_declared(talk: ServerTalk) -> None:
    """A server announces changes only where it has declared that it does."""
    await check_asked(talk, Unasked.UNDECLARED, Unasked.FOREIGN)


@case.must("capability-negotiation/asks-what-is-declared", "Nothing but pings comes.", LEGACY)
async def asks_declared(talk: ServerTalk) -> None:
    """A client that declares nothing is asked for nothing, also of the server's own accord."""
    await check_asked(talk, Unasked.ASKED)
