"""Cases of the page server/utilities/logging."""

from typing import Any

from mcpcore.spec.types.base import META_LOG_LEVEL
from mcpcore_conformance.kit.account import Unasked
from mcpcore_conformance.kit.asking import capabilities_of
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.lists import acknowledged
from mcpcore_conformance.kit.messages import INVALID_PARAMS, Message
from mcpcore_conformance.kit.model import ALL, EVERY, LEGACY, MODERN, STREAMABLE, Binding, Page
from mcpcore_conformance.kit.probes import fence
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.shapes import params_problem
from mcpcore_conformance.kit.talk import AnyMethod, AnyParams, OpenLink, ServerTalk
from mcpcore_conformance.kit.tour import check_asked, check_notified
from mcpcore_conformance.kit.verdicts import check
from mcpcore_conformance.kit.watched import LOGGING
from mcpcore_conformance.kit.watching import MESSAGE, watched

page = Page("server/utilities/logging")

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
WRONG: tuple[Any, ...] = ("verbose", "", "INFO", "warn", 3, None, ["info"])
DECLARED = ("logging",)
LOGS = ("logging", "found:logs")
case = page.server(MODERN, needs=LOGS)
setting_log_level = case.at("setting-log-level")
per_request_log_level = case.at("per-request-log-level")


def _logged(link: Link) -> list[Message]:
    """The log messages that have come."""
    return [each for each in link.inbox if each.method == MESSAGE]


async def _send(link: Link, level: str | None = None) -> Sent:
    """Call a tool that logs, in the modern era with a level."""
    call = await watched(link.talk, "logs")
    meta = None if level is None else {META_LOG_LEVEL: level}
    return await link.send(call.method, call.params, meta=meta)


async def _call(link: Link, level: str | None = None) -> tuple[Sent, list[Message]]:
    """Call a tool that logs, and return what it logged."""
    sent = await _send(link, level)
    reply = await link.reply(sent)
    check(reply.good, f"the call got {reply}")
    await fence(link)
    found = _logged(link)
    link.inbox[:] = [each for each in link.inbox if each not in found]
    return sent, found


async def _opened(talk: ServerTalk, level: str) -> Link:
    """A legacy conversation with a log level."""
    link = await talk.open()
    await link.listen()
    await _set(link, level)
    return link


async def _set(link: Link, level: str) -> None:
    """Set the level; what was logged before it was set has come by the end of this."""
    await link.ask("logging/setLevel", {"level": level})
    if link.wire.binding is Binding.HTTP:
        # what comes on another stream than the answer may come after it
        await link.quiet()
    link.inbox[:] = [each for each in link.inbox if each.method != MESSAGE]


async def _asked(talk: ServerTalk, level: str) -> list[Message]:
    """What comes of a call when messages of that level are wanted, in either era."""
    if talk.revision.per_request_log_level:
        return (await _call(await talk.open(), level))[1]
    return (await _call(await _opened(talk, level)))[1]


@case.must(
    "capabilities", "logging is among the capabilities, if any log message comes.", ALL, needs=()
)
async def declared(talk: ServerTalk) -> None:
    """A server that logs declares it."""
    await check_asked(talk, Unasked.LOGGED)
    link = await talk.open()
    capabilities = await capabilities_of(link)
    await link.listen()
    tool = talk.features.tools.get(LOGGING) or talk.any_tool()
    call = {"name": tool.name, "arguments": talk.arguments(tool)}
    meta = {META_LOG_LEVEL: "debug"} if talk.revision.per_request_log_level else None
    await link.request("tools/call", call, meta=meta)
    await fence(link)
    check("logging" in capabilities or not _logged(link), "it logs, and does not declare logging")


@case.must("log-levels", "One of the eight levels, data, and perhaps the name of a logger.", ALL)
async def known(talk: ServerTalk) -> None:
    """Log messages are what they have to be."""
    for each in await _asked(talk, "debug"):
        problem = params_problem(MESSAGE, each.params, talk.revision)
        check(not problem, f"{MESSAGE}: {problem}")
        check(each.params.get("level") in LEVELS, f"the level is {each.params.get('level')!r}")
        check("data" in each.params, f"a log message has no data: {each.params}")


@case.may("log-message-notifications", "At least one log message.", ALL)
async def sent(talk: ServerTalk) -> None:
    """What the server logs reaches a client that wants it all."""
    check(await _asked(talk, "debug"), "no log message came, although the tool logs")


async def _nothing_below(talk: ServerTalk) -> None:
    for level in ("notice", "emergency"):
        least = LEVELS.index(level)
        for each in await _asked(talk, level):
            found = str(each.params.get("level"))
            check(
                found in LEVELS and LEVELS.index(found) >= least,
                f"a message of the level {found} came, where {level} is the least",
            )


@case.must("log-levels", "Nothing below the level that was asked for.")
async def nothing_below(talk: ServerTalk) -> None:
    """Messages that are less grave than the request wants do not come."""
    await _nothing_below(talk)


# The legacy era: one level for the conversation


@case.should("log-levels", "Nothing below the level that was set.", LEGACY)
async def nothing_below_the_one_set(talk: ServerTalk) -> None:
    """Messages that are less grave than the level of the conversation do not come."""
    await _nothing_below(talk)


@setting_log_level.must("An empty result for each of the eight levels.", LEGACY, needs=DECLARED)
async def accepted(link: OpenLink) -> None:
    """Each of the eight levels can be set."""
    for level in LEVELS:
        found = await link.ask("logging/setLevel", {"level": level})
        check(set(found) <= {"_meta"}, f"logging/setLevel {level} was answered with {found}")


@case.should("error-handling", "The error -32602.", LEGACY, needs=DECLARED)
async def invalid_level(link: OpenLink) -> None:
    """A level that does not exist is refused."""
    for params in (*({"level": each} for each in WRONG), {}):
        reply = await link.request("logging/setLevel", params)
        reply.failed_with(INVALID_PARAMS, what=f"logging/setLevel with {params}")


@setting_log_level.should("Messages come while the level lets them, and not afterwards.", LEGACY)
async def changed(talk: ServerTalk) -> None:
    """The level can be changed at any time."""
    link = await _opened(talk, "debug")
    before = (await _call(link))[1]
    await _set(link, "emergency")
    after = [each.params for each in (await _call(link))[1]]
    levels = [each.get("level") for each in after]
    check(set(levels) <= {"emergency"}, f"after the level was raised to emergency came {after}")
    talk.note(f"{len(before)} messages before the change")


@setting_log_level.should(
    "The level of the other client is as it was.", LEGACY, bindings=EVERY - {Binding.STDIO}
)
async def of_one_client(talk: ServerTalk) -> None:
    """The level that one client sets is not that of another."""
    quiet = await _opened(talk, "emergency")
    if talk.binding is Binding.HTTP and talk.http(quiet).session is None:
        talk.skip("the server keeps no sessions")
    await _opened(talk, "debug")
    found = [each.params for each in (await _call(quiet))[1]]
    below = [each for each in found if each.get("level") != "emergency"]
    check(not below, f"after another client had asked for everything came {below}")


# The modern era: a level for each request


@per_request_log_level.must("No log message.")
async def not_asked_for(talk: ServerTalk) -> None:
    """A request without a level brings no log messages."""
    found = [each.params for each in (await _call(await talk.open()))[1]]
    check(not found, f"log messages came that nobody had asked for: {found}")


@per_request_log_level.must("No log message, whichever tool is called.", needs=())
async def only_where_asked_for(talk: ServerTalk) -> None:
    """Whatever is asked for without a level, nothing is logged to the client."""
    await check_notified(talk, Unasked.UNLEVELLED)


@per_request_log_level.must("No log message for the request without a level.")
async def not_kept(link: OpenLink) -> None:
    """The level of one request is not that of the next."""
    await _call(link, "debug")
    found = [each.params for each in (await _call(link))[1]]
    check(not found, f"the level of an earlier request was kept: {found}")


@per_request_log_level.must("All log messages come before the answer.")
async def before_response(link: OpenLink) -> None:
    """Nothing is logged for a request that has been answered."""
    await link.reply(await _send(link, "debug"))
    before = len(_logged(link))
    await link.quiet()
    late = [each.params for each in _logged(link)[before:]]
    check(not late, f"after the answer came {late}")


@per_request_log_level.must("On the response of its request, and on no other.", bindings=STREAMABLE)
async def own_stream(link: OpenLink) -> None:
    """Log messages come on the stream of the request that asked for them."""
    asking, other = await _send(link, "debug"), await _send(link)
    await link.reply(asking)
    await link.reply(other)
    for each in _logged(link):
        own = each.source.exchange == asking.exchange
        check(own, f"a log message came on the response of another request: {each.params}")


@per_request_log_level.must("Nothing on the stream of subscriptions/listen.", bindings=STREAMABLE)
async def not_on_listen(link: OpenLink) -> None:
    """Log messages do not come on a stream of subscriptions/listen."""
    wanted = {"toolsListChanged": True}
    listening = await link.send(
        "subscriptions/listen", {"notifications": wanted}, meta={META_LOG_LEVEL: "debug"}
    )
    await acknowledged(link, listening)
    _, found = await _call(link, "debug")
    for each in found:
        elsewhere = each.source.exchange != listening.exchange
        check(elsewhere, f"a log message came on the stream of subscriptions/listen: {each.params}")
    await link.cancel(listening)


@case.should("error-handling", "The error -32602.", needs=("logging",))
async def invalid_request_level(link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """A request with a level that does not exist is refused."""
    for level in (each for each in WRONG if each is not None):
        reply = await link.request(method, params, meta={META_LOG_LEVEL: level})
        reply.failed_with(INVALID_PARAMS, what=f"a request with the logLevel {level!r}")
