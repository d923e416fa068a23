"""Cases of the page basic/transports/stdio: how a server ends, and whose channel it is."""

import signal
from typing import Any

from mcpcore_conformance.cases.basic_transports_stdio import plain
from mcpcore_conformance.kit.asking import needs_input
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import MISSING_CAPABILITY, Kind, result
from mcpcore_conformance.kit.model import ALL, LINES, MODERN, SINCE_2025_11_25, STDIO, Binding, Page
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.shown import Asker
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.trying import ask, asker, askers, check_still_asks, needy
from mcpcore_conformance.kit.verdicts import END_OF_INPUT, TERMINATED, check
from mcpcore_conformance.kit.watching import PROGRESS

page = Page("basic/transports/stdio")

ASKING = ("test_sampling", "test_elicitation", "test_list_roots")
"""Tools of the fixture that ask."""

BOTH_ERAS = SINCE_2025_11_25
"""One revision of each: how a process ends has nothing to do with what it says."""
case = page.server(BOTH_ERAS, bindings=STDIO)
STARTING = 3.0
"""Times of an answer that a start may take."""
CHANNELS = LINES | {Binding.WS}
"""Bindings that follow the rules of stdio, one channel for everything."""
FREE = STDIO | {Binding.TCP, Binding.UNIX, Binding.MEMORY, Binding.WS}
"""Those of them behind which there are handlers that take their time."""


async def working(talk: ServerTalk) -> Link:
    """A process of its own, ready for requests."""
    link = await talk.connect()
    if link.revision.handshake:
        await link.initialize()
    await link.alive()
    return link


async def running(talk: ServerTalk) -> Link:
    """A process that has begun a call which takes long."""
    link = await working(talk)
    method, params = talk.slow_call(30.0)
    await link.send(method, {**params, "_meta": {"progressToken": "kit"}})
    await link.expect("notifications/progress")
    return link


async def check_ended(
    talk: ServerTalk, link: Link, when: str, *, flaw: str = END_OF_INPUT, times: float = 1.0
) -> int | None:
    """Check that the process ends, in the time for an answer or so many times of it.

    ``flaw``: what it does not follow if it does not.
    """
    patience = times * talk.timing.answer
    status = await talk.process(link).exited(patience)
    check(status is not None, f"{when} the process goes on, for {patience:g} s at least", flaw)
    return status


# The end of input


@case.should("shutdown/end-of-input", "The process exits promptly.", ALL)
async def end_of_input(talk: ServerTalk) -> None:
    """A server exits when its standard input has ended."""
    link = await working(talk)
    await link.wire.finish()
    await check_ended(talk, link, "behind the end of input")


@case.should(
    "shutdown/end-of-input-at-once", "The process exits promptly, though nothing was said."
)
async def end_at_once(talk: ServerTalk) -> None:
    """A server to which nothing is said exits as well."""
    link = await talk.connect()
    await link.wire.finish()
    # it has to start before it can end
    await check_ended(talk, link, "without any input", times=STARTING)


@case.should(
    "shutdown/end-of-input-with-calls",
    "The process exits promptly, whatever runs.",
    needs=("tool:test_wait",),
)
async def end_with_calls(talk: ServerTalk) -> None:
    """A running call does not keep the server when its input has ended."""
    link = await running(talk)
    await link.wire.finish()
    await check_ended(talk, link, "with a call that runs, behind the end of input")


@case.should("shutdown/end-within-a-line", "The process exits; half a message is none.")
async def end_within_line(talk: ServerTalk) -> None:
    """Input that ends within a line is an end as well."""
    link = await working(talk)
    half = plain(link, "kit-half")[:-5]
    await talk.lines(link).write(half)
    await link.wire.finish()
    await check_ended(talk, link, "behind half a line")
    await link.until(lambda: link.gone)
    good = [each for each in link.inbox if each.kind is Kind.RESULT]
    check(not good, "half a message was answered with a result")


@case.may(
    "shutdown/answers-before-the-end",
    "What was asked before the end of input is answered, if it takes no time.",
)
async def answers_before_end(talk: ServerTalk) -> None:
    """Requests that came before the end of input are answered."""
    link = await working(talk)
    ids = [f"kit-{number}" for number in range(5)]
    data = b"".join(plain(link, each) + b"\n" for each in ids)
    await talk.lines(link).write(data)
    await link.wire.finish()
    await link.until(lambda: link.gone)
    found = [each.id for each in link.inbox if each.kind is Kind.RESULT]
    check(sorted(found) == ids, f"of the requests {ids}, these were answered: {found}")


@case.may("shutdown/exit-status", "0: it has done what it was asked.")
async def exit_status(talk: ServerTalk) -> None:
    """A server whose input has ended exits with status 0."""
    link = await working(talk)
    await link.wire.finish()
    status = await check_ended(talk, link, "behind the end of input")
    check(status == 0, f"the exit status is {status}")


@case.should("shutdown/nothing-left-behind", "No process that the server has started outlives it.")
async def nothing_left(talk: ServerTalk) -> None:
    """Nothing of the server is left when it has exited."""
    link = await working(talk)
    tool = talk.features.plainest_tool()
    if tool is not None:
        call = {"name": tool.name, "arguments": talk.arguments(tool)}
        await link.request("tools/call", call)
    process = talk.process(link)
    await link.wire.finish()
    await check_ended(talk, link, "behind the end of input")
    left = process.descendants()
    if left:
        # they may be about to end, with the pipes that they were given
        await talk.advance(0.3)
        left = process.descendants()
    check(not left, f"{len(left)} processes of the server are left")


# Signals


@case.should("shutdown/terminated", "The process ends.")
async def terminated(talk: ServerTalk) -> None:
    """SIGTERM ends a server."""
    link = await working(talk)
    await talk.process(link).signal(signal.SIGTERM)
    await check_ended(talk, link, "after SIGTERM", flaw=TERMINATED)


@case.should(
    "shutdown/terminated-with-calls", "The process ends, whatever runs.", needs=("tool:test_wait",)
)
async def terminated_with_calls(talk: ServerTalk) -> None:
    """SIGTERM ends a server that has a call running."""
    link = await running(talk)
    await talk.process(link).signal(signal.SIGTERM)
    await check_ended(talk, link, "with a call that runs, after SIGTERM", flaw=TERMINATED)


# One channel


@case.must(
    "receiving-messages/no-requests",
    "What the server wants to know is asked in a result.",
    MODERN,
    bindings=CHANNELS,
    needs=("found:question",),
)
async def no_requests(talk: ServerTalk) -> None:
    """The server writes no requests."""
    there = [name for name in ASKING if name in talk.features.tools]
    known = [await asker(talk, "question", name) for name in there]
    found = known or await askers(talk, "question")
    link = await talk.open()
    asked = False
    for which in found:
        reply = await ask(link, which)
        asked |= reply.result.get("resultType") == "input_required"
        check(not link.asked, f"{which} sent the request {[each.method for each in link.asked]}")
    if not asked:
        talk.skip("the server wants to know nothing")


@case.should(
    "sending-messages/response-does-no-harm",
    "It is refused or passed over; the conversation goes on.",
    MODERN,
    bindings=CHANNELS,
)
async def response_does_no_harm(talk: ServerTalk) -> None:
    """A response that a client writes ends nothing and is answered by no result."""
    link = await talk.open()
    await link.say(result("kit-none", {"resultType": "complete"}))
    await link.quiet()
    strays = [each.value for each in link.inbox if each.kind is not Kind.ERROR]
    check(not strays, f"a response was answered: {strays[:1]}")


@case.must(
    "cancellation/silent-afterwards",
    "Neither a response nor a notification of that request.",
    MODERN,
    bindings=FREE,
    needs=("tool:test_wait",),
)
async def silent_afterwards(talk: ServerTalk) -> None:
    """Nothing more is sent for a request that was cancelled."""
    link = await talk.open()
    method, params = talk.slow_call()
    sent = await link.send(method, {**params, "_meta": {"progressToken": "kit"}})
    await link.expect("notifications/progress")
    await link.cancel(sent)
    await link.fence()
    # what it had reported before it heard of the cancellation
    link.inbox[:] = [each for each in link.inbox if each.method != PROGRESS]
    await link.quiet(0.3)
    late = [
        each
        for each in link.inbox
        if each.id == sent.id
        or (each.method == PROGRESS and each.params.get("progressToken") == "kit")
    ]
    check(not late, f"after it was cancelled there came a {late[0].kind if late else ''}")


@case.must(
    "unexpected-termination/nothing-is-kept",
    "What one request declares counts for no other one.",
    MODERN,
    bindings=CHANNELS,
    needs=("found:input",),
)
async def nothing_is_kept(talk: ServerTalk) -> None:
    """Requests of one channel declare different capabilities, each for itself."""
    which, declared = await needy(talk)
    link = await talk.open(capabilities={})
    able: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": declared}
    for _ in range(2):
        reply = await link.request(which.method, which.params, meta=able)
        check_able(talk, which, reply)
        reply = await link.request(which.method, which.params)
        check_unable(which, reply)
    sent = [
        await link.send(which.method, which.params, meta=able if number % 2 else None)
        for number in range(6)
    ]
    for number, each in enumerate(sent):
        reply = await link.reply(each)
        refused = reply.refused if which.known else not needs_input(reply)
        check(
            refused is not bool(number % 2),
            f"of requests that came together, number {number} got {reply}",
        )


def check_able(talk: ServerTalk, which: Asker, reply: Reply) -> None:
    """Check what comes if all is declared that is needed."""
    if which.known:
        check(reply.result is not None, "a client that can sample was refused")
    else:
        check_still_asks(talk, which, reply)


def check_unable(which: Asker, reply: Reply) -> None:
    """Check what comes if nothing is declared: any tool but that of the fixture may go on."""
    if which.known:
        reply.failed_with(MISSING_CAPABILITY)
    check(not needs_input(reply), f"{which} asks a client that has declared nothing")
