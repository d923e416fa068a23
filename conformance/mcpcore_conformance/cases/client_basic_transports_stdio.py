"""Cases of the page basic/transports/stdio for clients."""

import json
import signal
from functools import partial

from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from mcpcore_conformance.kit.client_serving import text
from mcpcore_conformance.kit.client_steps import (
    call,
    ends_by_force,
    ends_in_order,
    listing,
    scripted,
    texts,
    together,
)
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk, ReadyLink
from mcpcore_conformance.kit.messages import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    UNSUPPORTED_VERSION,
    encode,
    notification,
    result,
)
from mcpcore_conformance.kit.model import (
    EVERY,
    LINES,
    MODERN,
    SINCE_2025_11_25,
    STDIO,
    Binding,
    Page,
)
from mcpcore_conformance.kit.verdicts import ARRAY, MISMADE, check

page = Page("basic/transports/stdio")
case = page.client(bindings=LINES)
basic_transports_stdio = case.at("basic-transports-stdio")
of_process = page.client(MODERN, bindings=STDIO)
negotiating = page.client(MODERN, bindings=LINES, **scripted(listing(), negotiate=True))
negotiating_backward_compatibility = negotiating.at("backward-compatibility")

AWKWARD = 'a\nb\r\nc\u2028d\u2029e\x85f\tg"\\ø☃\U0001f600'
"""What must not end a line, and what must not be lost."""
BIG = 300_000
STDERR = 1_500_000
CALLS, PAD = 18, "a pipe holds less than all of these. " * 130
"""Calls that a pipe does not hold, in a context that an environment holds."""
WRITTEN = 2_000_000
SHARED = EVERY - {Binding.HTTP, Binding.SSE}


# Framing


@basic_transports_stdio.must(
    "Each message is one line, and its text is what it was.",
    **scripted(call(arguments={"text": AWKWARD})),
)
async def one_line(_: CalledLink, message: Call) -> None:
    """Text with line breaks of all kinds stays within one line, unchanged."""
    found = message.params["arguments"].get("text")
    check(found == AWKWARD, f"the text {AWKWARD!r} came as {found!r}")


@basic_transports_stdio.must("Nothing but messages.", bare=True)
async def nothing_else(talk: ClientTalk) -> None:
    """What a client writes to the server's input are messages, from the first byte to the last.

    One that is no good is none the less one.
    """
    talk.skips_noise, talk.forgives = False, MISMADE
    link = await talk.open()
    await talk.finished()
    for message in link.seen:
        data = message.source.data.strip(b"\r")
        value = json.loads(data)
        check(isinstance(value, (dict, list)), f"the client wrote {data[:60]!r}")
        check(data[:1] in b"{[", f"the client wrote {data[:60]!r}")


@basic_transports_stdio.must(
    "No arrays of messages, but in 2025-03-26, which has batches.", bare=True
)
async def individual_messages(talk: ClientTalk) -> None:
    """What a client writes are single requests, notifications and responses."""
    talk.forgives = MISMADE - {ARRAY}
    await talk.open()
    await talk.finished()


@basic_transports_stdio.may("They are read as if they were not there.")
async def takes_crlf(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """Lines that end with CR and LF, and blank lines, do no harm."""
    value = {**text("8"), "resultType": "complete"}
    await talk.lines(link).write(b"\r\n\n" + encode(result(message.id, value)) + b"\r\n\n")
    await talk.succeeded()


@basic_transports_stdio.should("They are put together.")
async def takes_pieces(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """A message that comes byte by byte, and several that come at once, are all read."""
    lines = talk.lines(link)
    log = {"jsonrpc": "2.0", "method": "notifications/com.example/odd", "params": {"n": "ø☃"}}
    value = {**text("é☃\U0001f600"), "resultType": "complete"}
    for byte in encode(log) + b"\n":
        await lines.write(bytes([byte]))
    answer = encode(result(message.id, value))
    await lines.write((encode(log) + b"\n") * 20 + answer[:30])
    await lines.write(answer[30:] + b"\n" + encode(log) + b"\n")
    await talk.succeeded()


@basic_transports_stdio.should("The whole text.", **scripted(call()))
async def takes_long_lines(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """A message of several hundred thousand bytes is read whole."""
    long = "ø☃\U0001f600x" * (BIG // 10)
    await link.respond(message, text(long))
    step = await talk.good_step()
    found = texts(step.result)
    check(found == [long], f"of {len(long)} characters came {sum(map(len, found))}")


@basic_transports_stdio.may("It is passed over, and the call succeeds.", bindings=STDIO)
async def skips_noise(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """What a server prints on its output that is no message does not end the conversation."""
    await talk.lines(link).write(b"Loading model ... 42%\n\x1b[31mwarning:\x1b[0m {oops\n")
    await link.serve_one(message)
    await talk.succeeded()


@case.should(
    "basic-transports-stdio/client-stderr",
    "It is read, or not, and is no failure.",
    SINCE_2025_11_25,
    bindings=STDIO,
)
async def stderr_is_no_error(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """A server that writes a lot to its standard error neither blocks nor fails a client."""
    process = talk.process(link)
    line = b"ERROR: nothing is wrong, only said loudly\n" * 100
    for _ in range(STDERR // len(line)):
        await process.stderr(line)
    await link.serve_one(message)
    await talk.succeeded()


@basic_transports_stdio.may(
    "It reads on meanwhile; all calls succeed once the server reads again.",
    bindings=STDIO,
    **scripted(together(*[call(arguments={"text": PAD}) for _ in range(CALLS)]), call()),
)
async def deaf_server(talk: ClientTalk) -> None:
    """A server that writes a lot while it reads nothing does not bring a client to a standstill."""
    link = await (talk.open() if talk.revision.handshake else talk.accept())
    process = talk.process(link)
    await process.deaf(True)
    await talk.advance(0.1)
    for _ in range(WRITTEN // len(PAD)):
        told = await link.say(notification("notifications/com.example/odd", {"pad": PAD}))
        check(told, "the client does not read while the server leaves its requests unread")
    await process.deaf(False)
    for _ in range(CALLS):
        await link.respond(await link.expect("tools/call"), text("8"))
    await link.respond(await link.expect("tools/call"), text("9"))
    report = await talk.report()
    bad = [str(each) for each in (*report.steps[0].steps, report.steps[-1]) if not each.good]
    check(not bad and len(report.steps) == 2, f"calls ended with {bad[:1] or report.opened}")


# The end


@of_process.should("shutdown", "Standard input is closed; no signal to a server that then ends.")
async def closes_input(talk: ClientTalk) -> None:
    """A client ends a server by closing its input, and waits for it."""
    await ends_in_order(talk)


@of_process.should("shutdown", "SIGTERM, then SIGKILL, after some time; nothing is left behind.")
async def uses_force(talk: ClientTalk) -> None:
    """A server that does not end by itself is ended."""
    await ends_by_force(talk)


@case.should(
    "unexpected-termination",
    "The call fails at once: it does not wait for its timeout.",
    bindings=SHARED,
    **scripted(call()),
)
async def notices(talk: ClientTalk, link: ReadyLink) -> None:
    """A call under way ends when the server dies."""
    await link.expect("tools/call")
    if talk.binding is Binding.STDIO:
        await talk.process(link).exit(3)
    else:
        await link.drop()
    talk.serving.by["tools/call"] = lambda message: None
    started = talk.host.now()
    step = await talk.step()
    check(not step.good, "the call of a server that is dead succeeded")
    check(step.failure != "timeout", f"the call waited {talk.host.now() - started:.1f} s")


@of_process.should(
    "unexpected-termination",
    "The server is started again, and the next request succeeds.",
    **scripted(call(timeout=3), listing("prompts", timeout=10)),
)
async def restarts(talk: ClientTalk, link: ReadyLink) -> None:
    """A server that died is started again."""
    await link.expect("tools/call")
    before = len(talk.links)
    await talk.process(link).exit(-signal.SIGKILL)
    step = await talk.step(1)
    check(len(talk.links) > before, "the server was not started again")
    check(step.good, f"the next request ended with {step}")


# Eras


async def _probed(talk: ClientTalk, code: int) -> int:
    """Start the client and refuse its probe; returns how many connections there were before."""
    before = len(talk.links)
    await talk.launch()
    talk.serving.hold.add("server/discover")
    link = await talk.accept()
    probe = await link.expect(lambda each: "id" in each.value)
    if probe.method != "server/discover":
        talk.skip(f"the client does not probe: it began with {probe.method}")
    data = {"supported": [LATEST.name], "requested": "1999-12-31"}
    await link.fail(probe, code, "refused by the kit", data)
    return before


def _initialized(talk: ClientTalk, since: int = 0) -> bool:
    """Whether the client has initialized: where it has probed, or on a connection after that."""
    return any(link.requests("initialize") for link in talk.links[since:])


@negotiating_backward_compatibility.should("server/discover, with the preferred version in _meta.")
async def probes(talk: ClientTalk) -> None:
    """A client that speaks both eras asks first which one the server speaks."""
    link = await talk.accept()
    await link.opened()
    first = link.seen[0]
    check(first.method == "server/discover", f"the client began with {first.method}")
    check(isinstance(first.params.get("_meta"), dict), "the probe has no _meta")
    await talk.good_step("the list")


@negotiating_backward_compatibility.must("initialize, whatever the code of the error is.")
async def falls_back(talk: ClientTalk) -> None:
    """A server that refuses the probe with any other error is one of the older era."""
    talk.revision = LATEST_LEGACY
    for code in (METHOD_NOT_FOUND, INVALID_PARAMS, INVALID_REQUEST, INTERNAL_ERROR, -32000, 1):
        before = await _probed(talk, code)
        await talk.until(partial(_initialized, talk, before))
        check(_initialized(talk, before), f"after the error {code} the client did not initialize")
        talk.stop(signal.SIGKILL)
        await talk.finished()


@negotiating_backward_compatibility.must("initialize, after a while.")
async def falls_back_on_silence(talk: ClientTalk) -> None:
    """A server that does not answer the probe is one of the older era."""
    talk.revision = LATEST_LEGACY
    talk.serving.by["server/discover"] = lambda message: None
    await talk.accept()
    await talk.until(lambda: _initialized(talk), within=30.0)
    check(_initialized(talk), "a server that did not answer the probe was not initialized")


@negotiating_backward_compatibility.must("No initialize.")
async def stays_modern(talk: ClientTalk) -> None:
    """A server that refuses the probe with an error of this era is never initialized."""
    for code in (UNSUPPORTED_VERSION, MISSING_CAPABILITY):
        before = await _probed(talk, code)
        talk.serving.hold.discard("server/discover")
        await talk.finished()
        check(not _initialized(talk, before), f"after the error {code} the client initialized")
