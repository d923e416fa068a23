"""Cases for clients of the pages server/resources, server/utilities/logging and completion."""

from mcpcore.spec.types.base import META_LOG_LEVEL
from mcpcore_conformance.kit.client_steps import call, complete, listing, read, scripted
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk, ReadyLink
from mcpcore_conformance.kit.messages import INVALID_PARAMS, RESOURCE_NOT_FOUND
from mcpcore_conformance.kit.model import ALL, LEGACY, MODERN, SINCE_2025_06_18, Page
from mcpcore_conformance.kit.verdicts import check

resources = Page("server/resources")
logging = Page("server/utilities/logging")
completion = Page("server/utilities/completion")
resources_case = resources.client(MODERN)
logging_case = logging.client(LEGACY)
completion_case = completion.client()

ODD = "test://kit/ø%20 a?b=c#d"
UPDATED = "notifications/resources/updated"


@resources_case.should(
    "error-handling",
    "Both reach the caller as errors of the server.",
    **scripted(read("test://kit/none"), read("test://kit/none")),
)
async def not_found(talk: ClientTalk, link: ReadyLink) -> None:
    """That a resource is not there may be said by -32602, and by -32002 as it used to be."""
    codes = (INVALID_PARAMS, RESOURCE_NOT_FOUND)
    for code in codes:
        await link.fail(await link.expect("resources/read"), code, "no such resource")
    report = await talk.report()
    found = [each.error.get("code") if each.error else str(each) for each in report.steps]
    check(found == [*codes], f"the errors {codes} came as {found}")


@resources_case.may("reading-resources", "The URI as it was given.", ALL, **scripted(read(ODD)))
async def exact_uri(talk: ClientTalk) -> None:
    """A URI is sent as it was given, whatever a client thinks of it."""
    _, message = await talk.expect("resources/read")
    found = message.params.get("uri")
    check(found == ODD, f"the URI {ODD!r} came as {found!r}")


@resources_case.may(
    "subscriptions/client-hears",
    "resources/subscribe with the URI; the update reaches the owner; unsubscribe.",
    LEGACY,
    **scripted(
        {"do": "subscribe", "uri": ODD},
        call(),
        {"do": "wait", "notification": UPDATED, "timeout": 5},
        {"do": "unsubscribe", "uri": ODD},
    ),
)
async def hears_updates(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """A client that subscribes to a resource hears of its changes."""
    await link.notify(UPDATED, {"uri": ODD}, about=message)
    await link.serve_one(message)
    report = await talk.report()
    bad = [f"{n}: {each}" for n, each in enumerate(report.steps) if not each.good]
    check(not bad and len(report.steps) == 4, f"of the steps failed {bad}")
    told = [each["params"].get("uri") for each in report.notifications if each["method"] == UPDATED]
    check(told == [ODD], f"its owner was told of changes of {told}")
    for method in ("resources/subscribe", "resources/unsubscribe"):
        uris = [each.params.get("uri") for each in link.requests(method)]
        check(uris == [ODD], f"{method} was sent for {uris}")


@logging_case.may(
    "setting-log-level/client-sets",
    "logging/setLevel with the level.",
    **scripted({"do": "level", "level": "warning"}, listing()),
)
async def sets_level(talk: ClientTalk, link: ReadyLink) -> None:
    """The level of log messages is set by a request."""
    await talk.finished()
    levels = [each.params.get("level") for each in link.requests("logging/setLevel")]
    check(levels == ["warning"], f"the levels that were set are {levels}")


@logging_case.must(
    "per-request-log-level/client-asks",
    "No level in _meta before, the level afterwards, and no logging/setLevel.",
    MODERN,
    **scripted(call(), {"do": "level", "level": "warning"}, call()),
)
async def asks_for_level(talk: ClientTalk, link: ReadyLink) -> None:
    """The level of log messages is part of each request that wants any."""
    levels = []
    for _ in range(2):
        message = await link.expect("tools/call")
        levels.append(message.params.get("_meta", {}).get(META_LOG_LEVEL))
        await link.serve_one(message)
    check(levels == [None, "warning"], f"the calls asked for the levels {levels}")
    await talk.finished()
    check(not link.requests("logging/setLevel"), "logging/setLevel was sent, which is no more")


@logging_case.may(
    "log-message-notifications/client-hears",
    "The message with its data, whatever JSON that is.",
    ALL,
    **scripted({"do": "level", "level": "debug"}, call()),
)
async def hears_messages(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """Log messages reach the owner with their data as it was."""
    said = [
        {"level": "error", "logger": "kit", "data": {"error": "é☃", "n": [1, None]}},
        {"level": "debug", "data": "text"},
        {"level": "notice", "data": 0},
    ]
    for each in said:
        await link.notify("notifications/message", each, about=message)
    await link.serve_one(message)
    report = await talk.report()
    heard = [
        each["params"] for each in report.notifications if each["method"] == "notifications/message"
    ]
    check(heard == said, f"of {said} it heard {heard}")


@completion_case.should(
    "implementation-considerations/client-partial",
    "The values that there are, none if there are none.",
    **scripted(complete(), complete(), listing()),
)
async def partial_results(talk: ClientTalk, link: ReadyLink) -> None:
    """Results without a total, without a word on whether there are more, or without values."""
    for values in (["kit"], []):
        message = await link.expect("completion/complete")
        await link.respond(message, {"completion": {"values": values}})
    report = await talk.report()
    bad = [f"{n}: {each}" for n, each in enumerate(report.steps) if not each.good]
    check(not bad and len(report.steps) == 3, f"of the steps failed {bad}")
    found = [each.result["completion"]["values"] for each in report.steps[:2]]
    check(found == [["kit"], []], f"the values came as {found}")


@completion_case.may(
    "requesting-completions/client-context",
    "context.arguments has the values of the other arguments.",
    SINCE_2025_06_18,
    **scripted(complete(known={"language": "python"})),
)
async def context_of_arguments(talk: ClientTalk) -> None:
    """What is known of other arguments goes with a request for completions."""
    _, message = await talk.expect("completion/complete")
    ref = {"type": "ref/prompt", "name": "greet"}
    check(message.params.get("ref") == ref, f"the reference is {message.params.get('ref')!r}")
    argument = {"name": "who", "value": "k"}
    found = message.params.get("argument")
    check(found == argument, f"the argument is {found!r}")
    context = message.params.get("context")
    check(context == {"arguments": {"language": "python"}}, f"the context is {context!r}")
