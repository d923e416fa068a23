"""Cases of the page basic/lifecycle for clients."""

from typing import Any

from mcpcore.spec.revisions import BY_NAME
from mcpcore_conformance.kit.client_eras import is_modern
from mcpcore_conformance.kit.client_link import ClientLink
from mcpcore_conformance.kit.client_steps import (
    ask_client,
    call,
    complete,
    ends_by_force,
    ends_in_order,
    listing,
    scripted,
)
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk, ReadyLink
from mcpcore_conformance.kit.messages import INVALID_PARAMS, METHOD_NOT_FOUND, Message
from mcpcore_conformance.kit.model import (
    EVERY,
    LEGACY,
    LEGACY_SINCE_2025_06_18,
    ONLY_2025_03_26,
    STDIO,
    UNTIL_2025_03_26,
    Binding,
    Page,
)
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/lifecycle")
case = page.client(LEGACY)
operation = case.at("operation")
stdio = case.at("stdio")
begun = page.client(LEGACY, scenario="initialize")


@begun.must(
    "initialization",
    "initialize has a protocol version, capabilities, and the client's name and version.",
)
async def identifies_itself(link: ReadyLink) -> None:
    """The first thing that a client says is initialize, with everything that belongs into it.

    Who speaks the newer era, too, may have asked before whether the server does.
    """
    first = link.session[0]
    check(first.method == "initialize", f"the first message is {first.method or first.kind}")
    info = first.params.get("clientInfo")
    check(
        isinstance(info, dict)
        and isinstance(info.get("name"), str)
        and isinstance(info.get("version"), str),
        f"clientInfo is {info!r}",
    )
    capabilities = first.params.get("capabilities")
    check(isinstance(capabilities, dict), f"capabilities is {capabilities!r}")


@begun.must("initialization", "notifications/initialized comes before any request but pings.")
async def sends_initialized(talk: ClientTalk) -> None:
    """After the answer to initialize a client says that it is ready, before it asks for more."""
    link = await talk.begin()

    def said() -> list[str]:
        return [each.method for each in link.session if each.method and each.method != "ping"]

    await link.until(lambda: len(said()) > 1)
    names = said()
    check(
        names[:2] == ["initialize", "notifications/initialized"],
        f"the client began with {', '.join(names[:3])}",
    )


@begun.should("initialization", "No request but ping until initialize is answered.")
async def waits(talk: ClientTalk) -> None:
    """A client asks for nothing before initialize was answered."""
    link, opening = await talk.initializing()
    await link.quiet()
    others = [each.method for each in link.session if each.method not in ("initialize", "ping")]
    check(not others, f"before the answer to initialize the client sent {', '.join(others)}")
    talk.serving.hold.discard("initialize")
    await link.serve_one(opening)


@begun.must("initialization", "initialize is a message of its own.", ONLY_2025_03_26)
async def initialize_not_batched(link: ReadyLink) -> None:
    """A client does not send initialize as a part of a batch."""
    opening = link.requests("initialize")[0]
    check(not opening.source.data.lstrip().startswith(b"["), "initialize came in a batch")


@begun.must(
    "version-negotiation", "protocolVersion is one of the published versions with a handshake."
)
async def offers_known_version(link: ReadyLink) -> None:
    """The version that a client asks for is one that exists."""
    offered = link.requests("initialize")[0].params.get("protocolVersion")
    row = BY_NAME.get(offered) if isinstance(offered, str) else None
    check(row is not None and row.handshake, f"initialize asks for the version {offered!r}")


@begun.should(
    "version-negotiation", "The client leaves: no notifications/initialized, no further request."
)
async def disconnects(talk: ClientTalk) -> None:
    """A client that does not know the version it is answered with goes away."""
    talk.serving.version = "1999-12-31"
    link, opening = await talk.initializing()
    await link.serve_one(opening)
    await talk.finished()
    later = _later(link, opening)
    check(not later, f"after the answer 1999-12-31 the client went on with {', '.join(later)}")


def _later(link: ClientLink, opening: Message) -> list[str]:
    """What came of a session after initialize; to try the newer era instead is nothing of it."""
    said = link.seen[link.seen.index(opening) + 1 :]
    return [
        each.method
        for each in said
        if each.method not in ("", "initialize", "ping") and not is_modern(each)
    ]


async def _uses_what_is_declared(talk: ClientTalk) -> None:
    talk.serving.capabilities = {"tools": {}}
    link = await talk.open()
    await talk.finished()
    undeclared = [
        each.method
        for each in link.requests()
        if each.method.partition("/")[0] in ("resources", "prompts", "logging", "completion")
    ]
    check(not undeclared, f"the server declared only tools; it was asked for {undeclared}")


@operation.should(
    "No request for a feature that the server did not declare.",
    UNTIL_2025_03_26,
    **scripted(listing("resources"), listing("prompts"), listing("tools")),
)
async def keeps_to_capabilities_early(talk: ClientTalk) -> None:
    """A client does not use what the server did not declare."""
    await _uses_what_is_declared(talk)


@operation.must(
    "No request for a feature that the server did not declare.",
    LEGACY_SINCE_2025_06_18,
    **scripted(
        listing("resources"),
        listing("prompts"),
        {"do": "level", "level": "error"},
        complete(),
        listing("tools"),
    ),
)
async def keeps_to_capabilities(talk: ClientTalk) -> None:
    """A client uses only what was negotiated."""
    await _uses_what_is_declared(talk)


@operation.should("The error -32601 (for elicitation also -32602).", **scripted(call(), declare=[]))
async def refuses_undeclared(link: CalledLink, message: Call) -> None:
    """What a client did not declare it refuses when it is asked for it nevertheless."""
    text = {"role": "user", "content": {"type": "text", "text": "hello"}}
    asked: dict[str, dict[str, Any]] = {
        "sampling/createMessage": {"messages": [text], "maxTokens": 5},
        "roots/list": {},
        "elicitation/create": {
            "message": "who?",
            "requestedSchema": {"type": "object", "properties": {}},
        },
    }
    for method, params in asked.items():
        asking = await ask_client(link, message, method, params)
        check(asking.error is not None, f"undeclared {method} was answered with a result")
        allowed = (METHOD_NOT_FOUND, INVALID_PARAMS)
        code = (asking.error or {}).get("code")
        check(
            code in (allowed if method == "elicitation/create" else allowed[:1]),
            f"undeclared {method} got the error {code}",
        )


@begun.should(
    "error-handling", "No notifications/initialized and no other requests; the client ends."
)
async def initialize_refused(talk: ClientTalk) -> None:
    """A client whose initialize is refused does not go on."""
    link, opening = await talk.initializing()
    data = {"supported": ["1999-12-31"], "requested": talk.revision.name}
    await link.fail(opening, INVALID_PARAMS, "Unsupported protocol version", data)
    await talk.finished()
    later = _later(link, opening)
    check(not later, f"after the refusal the client went on with {', '.join(later)}")


@case.should(
    "timeouts",
    "The client gives up, and tells its caller.",
    bindings=EVERY - {Binding.SSE},
    **scripted(listing(), timeout=1.0),
)
async def initialize_times_out(talk: ClientTalk) -> None:
    """A handshake that is never answered does not hang for ever."""
    talk.serving.by["initialize"] = lambda message: None
    await talk.initializing()
    report = await talk.report()
    check(not report.opened.good, f"the client reports of connecting: {report.opened}")


@stdio.should("Standard input is closed; no signal to a server that then ends.", bindings=STDIO)
async def closes_input(talk: ClientTalk) -> None:
    """A client ends a server by closing its input, and waits for it."""
    await ends_in_order(talk)


@stdio.should("SIGTERM, then SIGKILL, after some time; nothing is left behind.", bindings=STDIO)
async def uses_signals(talk: ClientTalk) -> None:
    """A server that does not end by itself gets SIGTERM, and then SIGKILL."""
    await ends_by_force(talk)
