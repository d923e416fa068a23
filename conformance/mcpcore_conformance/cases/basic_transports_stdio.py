"""Cases of the page basic/transports/stdio: messages as lines."""

from collections.abc import Sequence

from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import Id, Kind, encode, request
from mcpcore_conformance.kit.model import LINES, STDIO, Page
from mcpcore_conformance.kit.probes import plain_request
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/transports/stdio")
case = page.server(bindings=LINES)

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


@case.must(
    "stdio/no-embedded-newlines",
    "The answer is one line, however many newlines its strings have.",
    bare=True,
)
async def no_embedded_newlines(talk: ServerTalk) -> None:
    """A message with newlines in its strings is sent as one line."""
    link = await talk.open()
    for identifier in ("one\ntwo", "one\r\ntwo\n\n", "\n", f"one{SEPARATORS}two"):
        line = plain(link, identifier) + b"\n"
        await written(talk, link, [line], [identifier], f"an id with {identifier!r}")


@case.must("stdio/separators-within-strings", "Only LF ends a line.")
async def separators_within_strings(talk: ServerTalk) -> None:
    """What Unicode has of line separators does not end a message."""
    link = await talk.open()
    for separator in "\u2028\u2029\u0085":
        line = plain(link, f"kit{separator}", f"one{separator}two") + b"\n"
        await written(talk, link, [line], [f"kit{separator}"], f"a string with {separator!r}")


@case.should("stdio/carriage-returns", "CR before LF is passed over.")
async def carriage_returns(talk: ServerTalk) -> None:
    """Lines that end with CR LF are messages as well."""
    link = await talk.open()
    data = plain(link, "kit-1") + b"\r\n" + plain(link, "kit-2") + b"\r\n"
    await written(talk, link, [data], ["kit-1", "kit-2"], "lines that end with CR LF")


@case.should("stdio/blank-lines", "They are passed over, without an answer.")
async def blank_lines(talk: ServerTalk) -> None:
    """Blank lines are no messages, and no mistake either."""
    link = await talk.open()
    data = b"\n\n" + plain(link, "kit-1") + b"\n\r\n\n" + plain(link, "kit-2") + b"\n\n"
    await written(talk, link, [data], ["kit-1", "kit-2"], "messages among blank lines")


@case.should("stdio/blanks-around", "They are white space of JSON.")
async def blanks_around(talk: ServerTalk) -> None:
    """Blanks and tabs around a message belong to it."""
    link = await talk.open()
    data = b" \t" + plain(link, "kit-1") + b" \t\n"
    await written(talk, link, [data], ["kit-1"], "a message with blanks around it")


@case.must("stdio/byte-by-byte", "The message is read when its newline is there.")
async def byte_by_byte(talk: ServerTalk) -> None:
    """A message that comes in single bytes is read."""
    link = await talk.open()
    line = plain(link, "kit-\u00e9\u4e16\U0001f600") + b"\n"
    pieces = [line[index : index + 1] for index in range(len(line))]
    await written(talk, link, pieces, ["kit-\u00e9\u4e16\U0001f600"], "single bytes")


@case.must("stdio/split-within-characters", "A character whose bytes come apart is whole again.")
async def split_within_characters(talk: ServerTalk) -> None:
    """A message may be cut within a character, and one cut may hold parts of two messages."""
    link = await talk.open()
    ids = ["kit-\u4e16-1", "kit-\U0001f600-2"]
    first, second = (plain(link, each) + b"\n" for each in ids)
    middle = first.index("\u4e16".encode()) + 1
    cut = second.index("\U0001f600".encode()) + 2
    pieces = [first[:middle], first[middle:] + second[:cut], second[cut:]]
    await written(talk, link, pieces, ids, "messages cut within characters")


@case.must("stdio/several-at-once", "Each of them is answered.")
async def several_at_once(talk: ServerTalk) -> None:
    """Several messages that come with one write are several messages."""
    link = await talk.open()
    ids = [f"kit-{number}" for number in range(20)]
    data = b"".join(plain(link, each) + b"\n" for each in ids)
    await written(talk, link, [data], ids, "twenty messages at once")


@case.should(
    "stdio/many-at-once",
    "All are answered: reading does not wait for writing, or the other way round.",
)
async def many_at_once(talk: ServerTalk) -> None:
    """More messages than the pipes hold do not bring the conversation to a halt."""
    link = await talk.open()
    ids = [f"kit-{number}" for number in range(300)]
    data = b"".join(plain(link, each, "x" * 500) + b"\n" for each in ids)
    await written(talk, link, [data], ids, "three hundred messages at once")


@case.should(
    "stdio/slow-reader",
    "All are answered: what cannot be written is kept, or nothing more is read meanwhile.",
    bindings=STDIO,
)
async def slow_reader(talk: ServerTalk) -> None:
    """A client that reads nothing while it asks for more than the pipe holds loses no answer."""
    link = await talk.open()
    spoilt = link.spoilt
    await talk.process(link).rest(RESTS)
    link.spoilt = spoilt
    ids = long_ids()
    lines = [plain(link, each) + b"\n" for each in ids]
    await written(talk, link, lines, ids, "512 requests before anything is read")


@case.should("stdio/large-message", "It is answered as a small one is.")
async def large_message(talk: ServerTalk) -> None:
    """A message of a mebibyte is read."""
    link = await talk.open()
    line = plain(link, "kit-large", "x" * MEBIBYTE) + b"\n"
    await written(talk, link, [line], ["kit-large"], "a message of 1 MiB")


@case.should("stdio/too-large-message", "It is refused or served, and the next line is read.")
async def too_large_message(talk: ServerTalk) -> None:
    """A line that is too long costs itself alone."""
    link = await talk.open()
    line = plain(link, "kit-large", "x" * 6 * MEBIBYTE) + b"\n"
    await talk.lines(link).write(line)
    await talk.lines(link).write(plain(link, "kit-next") + b"\n")
    reply = await link.until(lambda: [each for each in link.inbox if each.id == "kit-next"])
    check(reply, "behind a line of 6 MiB nothing is read any more")
    await link.alive()


@case.must(
    "stdio/nothing-but-messages",
    "Every line of standard output is a message, from the start to the end.",
    bindings=STDIO,
    bare=True,
)
async def nothing_but_messages(talk: ServerTalk) -> None:
    """The server writes messages to its standard output, and nothing else."""
    link = await talk.connect()
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


@case.must(
    "stdio/noise-kept-away",
    "What handlers, libraries and child processes print goes elsewhere.",
    bindings=STDIO,
    needs=("tool:test_noise",),
)
async def noise_kept_away(talk: ServerTalk) -> None:
    """What a handler prints does not get between the messages."""
    link = await talk.open()
    reply = await link.request("tools/call", {"name": "test_noise"})
    check(not reply.result.get("isError"), f"the call got {reply.result}")
    await link.quiet()
    link.check_noise()


@case.may("stdio/stderr-is-text", "UTF-8, if anything.", bindings=STDIO)
async def stderr_is_text(talk: ServerTalk) -> None:
    """What the server writes to standard error is text in UTF-8."""
    link = await talk.open()
    await link.request("kit/unknown")
    await link.quiet()
    found = talk.process(link).stderr()
    try:
        found.decode()
    except UnicodeDecodeError as error:
        check(False, f"standard error has {found[error.start : error.start + 20]!r}")
