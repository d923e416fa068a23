"""Cases of the page basic/transports/stdio."""

import signal
from collections.abc import Sequence
from typing import Annotated, Any

from mcpcore_conformance.kit.asking import needs_input
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import MISSING_CAPABILITY, Id, Kind, encode, request, result
from mcpcore_conformance.kit.model import ALL, LINES, MODERN, SINCE_2025_11_25, STDIO, Binding, Page
from mcpcore_conformance.kit.probes import plain_request
from mcpcore_conformance.kit.reply import Reply, Sent
from mcpcore_conformance.kit.shown import Asker
from mcpcore_conformance.kit.talk import NewLink, OpenLink, ServerTalk
from mcpcore_conformance.kit.trying import ask, asker, askers, check_still_asks, needy
from mcpcore_conformance.kit.verdicts import END_OF_INPUT, TERMINATED, check, need
from mcpcore_conformance.kit.watching import PROGRESS

page = Page("basic/transports/stdio")
case = page.server(bindings=LINES)
stdio = case.at("stdio")

MEBIBYTE = 2**20
RESTS = 0.5
"""Seconds for which a client reads nothing: then a server has done what it can without that."""
SEPARATORS = "\u2028 \u2029 \u0085 \x1c \x1e \x0b \x0c"
"""What some readers of lines take for an end of line."""


def long_ids() -> list[str]:
    """Ids of requests whose answers are 2 MiB together: more than pipes and sockets hold."""
    return [f"kit-{number}-".ljust(4096, "x") for number in range(512)]


def plain(link: Link, id: Id, filler: str = "") -> bytes:
    """A request that every server answers, without its newline."""
    meta = {"kit/filler": filler} if filler else {}
    return encode(request(id, plain_request(link), link.params({}, meta)))


async def written(
    talk: ServerTalk, link: Link, pieces: Sequence[bytes], ids: Sequence[Id], what: str
) -> None:
    """Write bytes; check that these requests are answered well, each once, and nothing else."""
    spoilt = link.spoilt
    for piece in pieces:
        await talk.lines(link).write(piece)
    for identifier in ids:
        reply = await link.reply(Sent(identifier, 0, "a request"))
        found = reply.message
        check(
            found is not None and found.kind is Kind.RESULT and found.id == identifier,
            f"{what}: the request {str(identifier)[:40]!r} got {reply}",
        )
    await link.alive()
    strays = [each.value for each in link.inbox if each.kind in (Kind.RESULT, Kind.ERROR)]
    check(not strays, f"{what}: there also came {strays[:2]}")
    link.spoilt = spoilt


@stdio.must("The answer is one line, however many newlines its strings have.", bare=True)
async def no_embedded_newlines(talk: ServerTalk, link: OpenLink) -> None:
    """A message with newlines in its strings is sent as one line."""
    for identifier in ("one\ntwo", "one\r\ntwo\n\n", "\n", f"one{SEPARATORS}two"):
        line = plain(link, identifier) + b"\n"
        await written(talk, link, [line], [identifier], f"an id with {identifier!r}")


@stdio.must("Only LF ends a line.")
async def separators_within_strings(talk: ServerTalk, link: OpenLink) -> None:
    """What Unicode has of line separators does not end a message."""
    for separator in "\u2028\u2029\u0085":
        line = plain(link, f"kit{separator}", f"one{separator}two") + b"\n"
        await written(talk, link, [line], [f"kit{separator}"], f"a string with {separator!r}")


@stdio.should("CR before LF is passed over.")
async def carriage_returns(talk: ServerTalk, link: OpenLink) -> None:
    """Lines that end with CR LF are messages as well."""
    data = plain(link, "kit-1") + b"\r\n" + plain(link, "kit-2") + b"\r\n"
    await written(talk, link, [data], ["kit-1", "kit-2"], "lines that end with CR LF")


@stdio.should("They are passed over, without an answer.")
async def blank_lines(talk: ServerTalk, link: OpenLink) -> None:
    """Blank lines are no messages, and no mistake either."""
    data = b"\n\n" + plain(link, "kit-1") + b"\n\r\n\n" + plain(link, "kit-2") + b"\n\n"
    await written(talk, link, [data], ["kit-1", "kit-2"], "messages among blank lines")


@stdio.should("They are white space of JSON.")
async def blanks_around(talk: ServerTalk, link: OpenLink) -> None:
    """Blanks and tabs around a message belong to it."""
    data = b" \t" + plain(link, "kit-1") + b" \t\n"
    await written(talk, link, [data], ["kit-1"], "a message with blanks around it")


@stdio.must("The message is read when its newline is there.")
async def byte_by_byte(talk: ServerTalk, link: OpenLink) -> None:
    """A message that comes in single bytes is read."""
    line = plain(link, "kit-\u00e9\u4e16\U0001f600") + b"\n"
    pieces = [line[index : index + 1] for index in range(len(line))]
    await written(talk, link, pieces, ["kit-\u00e9\u4e16\U0001f600"], "single bytes")


@stdio.must("A character whose bytes come apart is whole again.")
async def split_within_characters(talk: ServerTalk, link: OpenLink) -> None:
    """A message may be cut within a character, and one cut may hold parts of two messages."""
    ids = ["kit-\u4e16-1", "kit-\U0001f600-2"]
    first, second = (plain(link, each) + b"\n" for each in ids)
    middle = first.index("\u4e16".encode()) + 1
    cut = second.index("\U0001f600".encode()) + 2
    pieces = [first[:middle], first[middle:] + second[:cut], second[cut:]]
    await written(talk, link, pieces, ids, "messages cut within characters")


@stdio.must("Each of them is answered.")
async def several_at_once(talk: ServerTalk, link: OpenLink) -> None:
    """Several messages that come with one write are several messages."""
    ids = [f"kit-{number}" for number in range(20)]
    data = b"".join(plain(link, each) + b"\n" for each in ids)
    await written(talk, link, [data], ids, "twenty messages at once")


@stdio.should("All are answered: reading does not wait for writing, or the other way round.")
async def many_at_once(talk: ServerTalk, link: OpenLink) -> None:
    """More messages than the pipes hold do not bring the conversation to a halt."""
    ids = [f"kit-{number}" for number in range(300)]
    data = b"".join(plain(link, each, "x" * 500) + b"\n" for each in ids)
    await written(talk, link, [data], ids, "three hundred messages at once")


@stdio.should(
    "All are answered: what cannot be written is kept, or nothing more is read meanwhile.",
    bindings=STDIO,
)
async def slow_reader(talk: ServerTalk, link: OpenLink) -> None:
    """A client that reads nothing while it asks for more than the pipe holds loses no answer."""
    spoilt = link.spoilt
    await talk.process(link).rest(RESTS)
    link.spoilt = spoilt
    ids = long_ids()
    lines = [plain(link, each) + b"\n" for each in ids]
    await written(talk, link, lines, ids, "512 requests before anything is read")


@stdio.should("It is answered as a small one is.")
async def large_message(talk: ServerTalk, link: OpenLink) -> None:
    """A message of a mebibyte is read."""
    line = plain(link, "kit-large", "x" * MEBIBYTE) + b"\n"
    await written(talk, link, [line], ["kit-large"], "a message of 1 MiB")


@stdio.should("It is refused or served, and the next line is read.")
async def too_large_message(talk: ServerTalk, link: OpenLink) -> None:
    """A line that is too long costs itself alone."""
    line = plain(link, "kit-large", "x" * 6 * MEBIBYTE) + b"\n"
    await talk.lines(link).write(line)
    await talk.lines(link).write(plain(link, "kit-next") + b"\n")
    reply = await link.until(lambda: [each for each in link.inbox if each.id == "kit-next"])
    check(reply, "behind a line of 6 MiB nothing is read any more")
    await link.alive()


@stdio.must(
    "Every line of standard output is a message, from the start to the end.",
    bindings=STDIO,
    bare=True,
)
async def nothing_but_messages(talk: ServerTalk, link: NewLink) -> None:
    """The server writes messages to its standard output, and nothing else."""
    if link.revision.handshake:
        await link.initialize()
    method, params = talk.any_request()
    await link.request(method, params)
    tool = talk.features.plainest_tool()
    if tool is not None:
        call = {"name": tool.name, "arguments": talk.arguments(tool)}
        await link.request("tools/call", call)
    await link.request("kit/unknown")
    await link.quiet()
    await link.wire.finish()
    # what is no message breaks the case when it is heard, or where it is skipped at the end
    await link.until(lambda: link.gone)
    link.check_noise()


@stdio.must(
    "What handlers, libraries and child processes print goes elsewhere.",
    bindings=STDIO,
    needs=("tool:test_noise",),
)
async def noise_kept_away(link: OpenLink) -> None:
    """What a handler prints does not get between the messages."""
    reply = await link.request("tools/call", {"name": "test_noise"})
    check(not reply.result.get("isError"), f"the call got {reply.result}")
    await link.quiet()
    link.check_noise()


@stdio.may("UTF-8, if anything.", bindings=STDIO)
async def stderr_is_text(talk: ServerTalk, link: OpenLink) -> None:
    """What the server writes to standard error is text in UTF-8."""
    await link.request("kit/unknown")
    await link.quiet()
    found = talk.process(link).stderr()
    try:
        found.decode()
    except UnicodeDecodeError as error:
        check(False, f"standard error has {found[error.start : error.start + 20]!r}")


# How a server ends, and whose channel it is

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


@case.should("shutdown", "The process exits promptly.", ALL)
async def end_of_input(talk: ServerTalk, link: Annotated[Link, working]) -> None:
    """A server exits when its standard input has ended."""
    await link.wire.finish()
    await check_ended(talk, link, "behind the end of input")


@case.should("shutdown", "The process exits promptly, though nothing was said.")
async def end_of_input_at_once(talk: ServerTalk, link: NewLink) -> None:
    """A server to which nothing is said exits as well."""
    await link.wire.finish()
    # it has to start before it can end
    await check_ended(talk, link, "without any input", times=STARTING)


@case.should("shutdown", "The process exits promptly, whatever runs.", needs=("tool:test_wait",))
async def end_of_input_with_calls(talk: ServerTalk) -> None:
    """A running call does not keep the server when its input has ended."""
    link = await running(talk)
    await link.wire.finish()
    await check_ended(talk, link, "with a call that runs, behind the end of input")


@case.should("shutdown/end-within-a-line", "The process exits; half a message is none.")
async def end_within_line(talk: ServerTalk, link: Annotated[Link, working]) -> None:
    """Input that ends within a line is an end as well."""
    half = plain(link, "kit-half")[:-5]
    await talk.lines(link).write(half)
    await link.wire.finish()
    await check_ended(talk, link, "behind half a line")
    await link.until(lambda: link.gone)
    good = [each for each in link.inbox if each.kind is Kind.RESULT]
    check(not good, "half a message was answered with a result")


@case.may("shutdown", "What was asked before the end of input is answered, if it takes no time.")
async def answers_before_the_end(talk: ServerTalk, link: Annotated[Link, working]) -> None:
    """Requests that came before the end of input are answered."""
    ids = [f"kit-{number}" for number in range(5)]
    data = b"".join(plain(link, each) + b"\n" for each in ids)
    await talk.lines(link).write(data)
    await link.wire.finish()
    await link.until(lambda: link.gone)
    found = [each.id for each in link.inbox if each.kind is Kind.RESULT]
    check(sorted(found) == ids, f"of the requests {ids}, these were answered: {found}")


@case.may("shutdown", "0: it has done what it was asked.")
async def exit_status(talk: ServerTalk, link: Annotated[Link, working]) -> None:
    """A server whose input has ended exits with status 0."""
    await link.wire.finish()
    status = await check_ended(talk, link, "behind the end of input")
    check(status == 0, f"the exit status is {status}")


@case.should("shutdown/nothing-left-behind", "No process that the server has started outlives it.")
async def nothing_left(talk: ServerTalk, link: Annotated[Link, working]) -> None:
    """Nothing of the server is left when it has exited."""
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


@case.should("shutdown", "The process ends.")
async def terminated(talk: ServerTalk, link: Annotated[Link, working]) -> None:
    """SIGTERM ends a server."""
    await talk.process(link).signal(signal.SIGTERM)
    await check_ended(talk, link, "after SIGTERM", flaw=TERMINATED)


@case.should("shutdown", "The process ends, whatever runs.", needs=("tool:test_wait",))
async def terminated_with_calls(talk: ServerTalk) -> None:
    """SIGTERM ends a server that has a call running."""
    link = await running(talk)
    await talk.process(link).signal(signal.SIGTERM)
    await check_ended(talk, link, "with a call that runs, after SIGTERM", flaw=TERMINATED)


# One channel


@case.must(
    "receiving-messages",
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
    need(asked, "the server wants to know nothing")


@case.should(
    "sending-messages",
    "It is refused or passed over; the conversation goes on.",
    MODERN,
    bindings=CHANNELS,
)
async def response_does_no_harm(link: OpenLink) -> None:
    """A response that a client writes ends nothing and is answered by no result."""
    await link.say(result("kit-none", {"resultType": "complete"}))
    await link.quiet()
    strays = [each.value for each in link.inbox if each.kind is not Kind.ERROR]
    check(not strays, f"a response was answered: {strays[:1]}")


@case.must(
    "cancellation",
    "Neither a response nor a notification of that request.",
    MODERN,
    bindings=FREE,
    needs=("tool:test_wait",),
)
async def silent_afterwards(talk: ServerTalk, link: OpenLink) -> None:
    """Nothing more is sent for a request that was cancelled."""
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
    "unexpected-termination",
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
