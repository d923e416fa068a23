"""Cases of the page basic/lifecycle: capabilities on both sides, operation, the end."""

import signal
from typing import Any

from mcpcore.spec.methods import METHODS, MethodKind, lookup
from mcpcore.spec.revisions import LEGACY as LEGACY_REVISIONS
from mcpcore_conformance.kit.account import declares
from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import METHOD_NOT_FOUND, Kind
from mcpcore_conformance.kit.model import LEGACY, LEGACY_SINCE_2025_06_18, STDIO, Binding, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.trying import ask, asker
from mcpcore_conformance.kit.verdicts import END_OF_INPUT, TERMINATED, Broken, check

page = Page("basic/lifecycle")
case = page.server(LEGACY)

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


@case.must(
    "capability-negotiation/declared", "No request of a declared capability is an unknown method."
)
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


@case.should("capability-negotiation/undeclared", "The error -32601.")
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
        if reply.message is None or reply.message.kind is not Kind.ERROR:
            raise Broken(f"{path} is not declared, but {method} got {reply}")
        reply.failed_with(METHOD_NOT_FOUND)
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


@case.must(
    "capability-negotiation/no-sampling",
    "No sampling/createMessage comes; the call fails.",
    needs=("found:sampling",),
)
async def no_sampling(talk: ServerTalk) -> None:
    """A client that did not declare sampling is not asked for it."""
    await _not_asked(talk, "test_sampling", "sampling", "sampling/createMessage")


@case.must(
    "capability-negotiation/no-roots",
    "No roots/list comes; the call fails.",
    needs=("found:roots",),
)
async def no_roots(talk: ServerTalk) -> None:
    """A client that did not declare roots is not asked for them."""
    await _not_asked(talk, "test_list_roots", "roots", "roots/list")


@case.must(
    "capability-negotiation/no-elicitation",
    "No elicitation/create comes; the call fails.",
    LEGACY_SINCE_2025_06_18,
    needs=("found:elicitation",),
)
async def no_elicitation(talk: ServerTalk) -> None:
    """A client that did not declare elicitation is not asked for it."""
    await _not_asked(talk, "test_elicitation", "elicitation", "elicitation/create")


@case.should(
    "operation/later-methods", "An error: what a later revision has is not served in this one."
)
async def later_methods(talk: ServerTalk) -> None:
    """Requests that the negotiated version does not have are not served."""
    link = await talk.open()
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
        served = reply.message is not None and reply.message.kind is Kind.RESULT
        check(not served, f"{method} was served, which {link.revision.name} does not have")
    await link.alive()


@case.must(
    "operation/two-versions",
    "Each conversation keeps the version that it agreed on.",
    bindings=OWN_CHANNEL,
)
async def two_versions(talk: ServerTalk) -> None:
    """Two clients with two versions are served side by side."""
    first = await talk.open()
    for other in LEGACY_REVISIONS:
        if other is talk.revision:
            continue
        second = await talk.connect(revision=other)
        reply = await second.request("initialize", second.opening())
        if reply.message is None or reply.message.kind is not Kind.RESULT:
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


@case.should("stdio/end-of-input", "The process ends by itself.", bindings=STDIO)
async def end_of_input(talk: ServerTalk) -> None:
    """A server whose input is closed ends."""
    link = await talk.open()
    talk.process(link)
    await link.wire.finish()
    await _ends(talk, link, "after the end of its input")


@case.should("stdio/end-before-initialize", "The process ends by itself.", bindings=STDIO)
async def end_before_initialize(talk: ServerTalk) -> None:
    """A server whose input is closed ends although nothing was ever said."""
    link = await talk.connect()
    await link.wire.finish()
    await _ends(talk, link, "after the end of its input")


@case.should("stdio/terminated", "The process ends on SIGTERM.", bindings=STDIO)
async def terminated(talk: ServerTalk) -> None:
    """A server that gets SIGTERM ends."""
    link = await talk.open()
    await talk.process(link).signal(signal.SIGTERM)
    await _ends(talk, link, "after SIGTERM", TERMINATED)


@case.must(
    "shutdown/others-stay", "The other conversation is served as before.", bindings=OWN_CHANNEL
)
async def others_stay(talk: ServerTalk) -> None:
    """The end of one conversation is not the end of another."""
    first, second = await talk.open(), await talk.open()
    await first.wire.close()
    talk.links.remove(first)
    await second.ask(*talk.any_request())


@case.should(
    "shutdown/dropped",
    "The server goes on, for other connections and for new ones.",
    bindings=OWN_CHANNEL,
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
    "timeouts/unanswered-question",
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
