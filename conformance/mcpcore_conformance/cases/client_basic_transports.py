"""Cases of the page basic/transports for clients: sessions, streams, resumption, HTTP+SSE."""

from mcpcore_conformance.kit.client_link import ClientLink
from mcpcore_conformance.kit.client_serving import text
from mcpcore_conformance.kit.client_steps import call, pause, scripted, texts
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk, ReadyLink
from mcpcore_conformance.kit.client_wire import Asked
from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.messages import Kind, Message, encode, notification, result
from mcpcore_conformance.kit.model import (
    LEGACY_SINCE_2025_03_26,
    LEGACY_SINCE_2025_06_18,
    LEGACY_SSE,
    ONLY_2024_11_05,
    ONLY_2025_11_25,
    STREAMABLE,
    Page,
)
from mcpcore_conformance.kit.verdicts import Broken, check, need

page = Page("basic/transports")

case = page.client(LEGACY_SINCE_2025_03_26, bindings=STREAMABLE)
listening_for_messages_from_the_server = case.at("listening-for-messages-from-the-server")
resumability_and_redelivery = case.at("resumability-and-redelivery")
POLLING = ONLY_2025_11_25
SESSION = "!~kit-{Session}/+=%20;,"
"""Visible ASCII, and nothing that a client might be tempted to tidy up."""
RETRY = 600
"""Milliseconds."""


# Sessions


@case.must(
    "session-management",
    "Mcp-Session-Id, exactly as it was given, on every request after initialize.",
)
async def sends_session(talk: ClientTalk) -> None:
    """The id of the session goes with every later POST, GET and DELETE."""
    talk.serving.session = SESSION
    link = await talk.open()
    await talk.finished()
    found = link.header(link.requests("initialize")[0], "mcp-session-id")
    check(found is None, f"initialize came with the session {found!r}")
    for asked in _after_initialize(link):
        found = header(asked.headers, "mcp-session-id")
        check(found == SESSION, f"{asked.method} came with the session {found!r}")


def _after_initialize(link: ClientLink) -> list[Asked]:
    """The HTTP requests that have come after the first initialize."""
    opening = link.requests("initialize")[0].source.exchange
    place = next(n for n, each in enumerate(link.asked) if each.exchange == opening)
    return link.asked[place + 1 :]


@case.may("session-management", "No Mcp-Session-Id, and no DELETE; the call succeeds.")
async def without_session(talk: ClientTalk) -> None:
    """Where the server gave no session, a client has none."""
    talk.serving.session = None
    talk.serving.get_stream = False
    link = await talk.open()
    await talk.succeeded()
    for asked in link.asked:
        found = header(asked.headers, "mcp-session-id")
        check(found is None, f"{asked.method} came with the session {found!r}")
    check(not link.posts("DELETE"), "a session that there is not was deleted")


@case.must("session-management", "initialize, without the id of the session that is lost, once.")
async def initializes_again(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """404 for a session makes a client begin a new one."""
    talk.serving.session = "another-session"
    await talk.http(link).reply(message.source.exchange, 404)
    again = await link.until(lambda: link.requests("initialize")[1:])
    check(again, f"after 404 the client did not initialize again: {talk.state(link)}")
    await talk.finished()
    openings = link.requests("initialize")
    check(len(openings) == 2, f"after one 404 the client initialized {len(openings) - 1} times")
    found = link.header(openings[1], "mcp-session-id")
    check(found is None, f"the new initialize came with the session {found!r}")
    later = link.seen[link.seen.index(openings[1]) + 1 :]
    strange = [each for each in later if link.header(each, "mcp-session-id") != "another-session"]
    check(not strange, f"{[each.method for each in strange]} did not come with the new session")


@case.must("session-management", "initialize, without the id of the session that is lost, once.")
async def initializes_again_by_get(talk: ClientTalk) -> None:
    """404 to a GET that names the session makes a client begin a new one, too."""
    talk.serving.hold.add("GET")
    link = await talk.begin()
    await link.until(lambda: link.posts("GET") or link.requests("tools/call"))
    asked = await link.wait_for_http("GET", within=2.0)
    if asked is None or header(asked.headers, "mcp-session-id") is None:
        talk.skip("the client does not listen by GET")
    waiting = None
    if link.notifications("notifications/initialized"):
        # It has said then what it has to say, and nothing crosses the 404.
        waiting = await link.wait_for("tools/call")
    talk.serving.hold.remove("GET")
    talk.serving.session = "another-session"
    await talk.http(link).reply(asked.exchange, 404)
    again = await link.until(lambda: link.requests("initialize")[1:])
    check(again, f"after 404 the client did not initialize again: {talk.state(link)}")
    if waiting is not None:
        await link.serve_one(waiting)
    await talk.finished()
    openings = link.requests("initialize")
    check(len(openings) == 2, f"after one 404 the client initialized {len(openings) - 1} times")
    found = link.header(openings[1], "mcp-session-id")
    check(found is None, f"the new initialize came with the session {found!r}")


@case.should("session-management", "One DELETE with the id of the session.")
async def deletes(talk: ClientTalk, link: ReadyLink) -> None:
    """A client that leaves ends its session."""
    await talk.finished()
    found = link.posts("DELETE")
    check(len(found) == 1, f"the session was deleted {len(found)} times")
    session = header(found[0].headers, "mcp-session-id")
    check(session == talk.serving.session, f"the session {session!r} was deleted")


@case.should("session-management", "It is no failure.")
async def delete_refused(talk: ClientTalk) -> None:
    """A server may refuse to have its session ended, with 405."""
    talk.serving.hold.add("DELETE")
    link = await talk.open()
    await link.serve_one(await link.expect("tools/call"))
    asked = await link.wait_for_http("DELETE")
    if asked is None:
        talk.skip("the client does not end its session")
    await talk.http(link).reply(asked.exchange, 405, [("allow", "POST")])
    await talk.succeeded()


# Versions


@case.must(
    "protocol-version-header",
    "MCP-Protocol-Version on every request after initialize.",
    LEGACY_SINCE_2025_06_18,
)
async def sends_version(talk: ClientTalk, link: ReadyLink) -> None:
    """Every request after initialize names the version of the protocol."""
    await talk.finished()
    for asked in _after_initialize(link):
        found = header(asked.headers, "mcp-protocol-version")
        check(found, f"{asked.method} came without a version")
        talk.should(
            found == talk.revision.name,
            f"{asked.method} came with the version {found!r}, not the negotiated one",
        )


# Streams


@listening_for_messages_from_the_server.must("Accept lists text/event-stream.")
async def accept(talk: ClientTalk, link: ReadyLink) -> None:
    """A GET says that it wants a stream."""
    await talk.finished()
    need(link.posts("GET"), "the client does not listen by GET")
    for asked in link.posts("GET"):
        found = header(asked.headers, "accept") or ""
        check("text/event-stream" in found, f"GET came with Accept: {found!r}")


@listening_for_messages_from_the_server.must("It is no failure.")
async def takes_405(talk: ClientTalk) -> None:
    """A server may have no stream for GET, and say so by 405."""
    talk.serving.get_stream = False
    await talk.open()
    await talk.succeeded()


@listening_for_messages_from_the_server.must("A ping on the GET stream is answered by POST.")
async def hears(talk: ClientTalk, link: ReadyLink) -> None:
    """What a server asks on the stream of a GET is answered."""
    http = talk.http(link)

    def listening() -> list[Asked]:
        return [each for each in link.posts("GET") if http.streaming(each.exchange)]

    need(await link.until(listening, within=2.0), "the client does not listen by GET")
    ping = {"jsonrpc": "2.0", "id": "by-get", "method": "ping"}
    await http.event(listening()[-1].exchange, encode(ping))
    answer = await link.expect(lambda each: each.kind is Kind.RESULT and each.id == "by-get")
    posted = link.heads[answer.source.exchange].method
    check(posted == "POST", f"the answer came by {posted}")


# Resumption


async def _broken(talk: ClientTalk, *ids: str, retry: int | None = None) -> tuple[ClientLink, str]:
    """Let the stream of a call break off after events with ids."""
    link, message = await _streamed(talk, *ids, retry=retry)
    await talk.http(link).end(message.source.exchange)
    return link, encode(_answer(message)).decode()


async def _streamed(
    talk: ClientTalk, *ids: str, retry: int | None = None
) -> tuple[ClientLink, Message]:
    """Begin the stream of a call by events with ids."""
    link = await talk.open()
    talk.serving.hold.add("GET")
    message = await link.expect("tools/call")
    http, exchange = talk.http(link), message.source.exchange
    await http.stream(exchange)
    for each in ids:
        await http.event(exchange, b"", id=each, retry=retry)
    return link, message


def _answer(message: Message) -> dict[str, object]:
    return result(message.id, text("resumed"))


async def _resumption(link: ClientLink) -> Asked:
    """Wait for the GET that resumes."""
    asked = await _returned(link)
    if asked is None:
        raise Broken(f"the client did not come back to the stream: {link.talk.state(link)}")
    return asked


async def _returned(link: ClientLink, within: float | None = None) -> Asked | None:
    """Wait for the GET that resumes; one without Last-Event-ID gets a stream of its own."""
    while (asked := await link.wait_for_http("GET", within)) is not None:
        if header(asked.headers, "last-event-id") is not None:
            return asked
        await link.serve_http(asked)
    return None


@resumability_and_redelivery.should(
    "GET with Last-Event-ID, the id of the last event; the answer is taken from there."
)
async def resumes(talk: ClientTalk) -> None:
    """A stream that breaks off before the answer is resumed."""
    link, answer = await _broken(talk, "event/1", "event/2", retry=10)
    asked = await _resumption(link)
    found = header(asked.headers, "last-event-id")
    check(found == "event/2", f"the stream was resumed after {found!r}, not event/2")
    http = talk.http(link)
    await http.stream(asked.exchange)
    await http.event(asked.exchange, answer.encode(), id="event/3")
    await http.end(asked.exchange)
    await talk.succeeded()


@resumability_and_redelivery.should("GET again, after the newest event.")
async def resumes_again(talk: ClientTalk) -> None:
    """A stream that was resumed, and breaks off again, is resumed again."""
    link, answer = await _broken(talk, "1", retry=10)
    http = talk.http(link)
    asked = await _resumption(link)
    await http.stream(asked.exchange)
    log = {"level": "info", "data": "half of it"}
    await http.event(asked.exchange, encode(notification("notifications/message", log)), id="2")
    await talk.advance(0.2)  # what is cut off takes with it what has not been read
    await http.cut(asked.exchange)
    asked = await _resumption(link)
    found = header(asked.headers, "last-event-id")
    check(found == "2", f"the stream was resumed after {found!r}, not 2")
    await http.stream(asked.exchange)
    await http.event(asked.exchange, answer.encode(), id="3")
    await http.end(asked.exchange)
    await talk.succeeded()


@case.must(
    "sending-messages-to-the-server",
    f"Not before {RETRY} ms are over.",
    POLLING,
    scenario="sse-retry",
)
async def retry(talk: ClientTalk) -> None:
    """A client waits for as long as the server says before it comes back to a stream."""
    link, message = await _streamed(talk, "1", retry=RETRY)
    started = talk.host.now()  # before the end: a client may hear of it before the kit goes on
    await talk.http(link).end(message.source.exchange)
    asked = await _returned(link)
    if asked is None:
        talk.skip("the client does not come back to a stream")
    waited = (asked.at - started) * 1000
    check(waited > RETRY * 0.95, f"of {RETRY} ms the client waited {waited:.0f}")
    http = talk.http(link)
    await http.stream(asked.exchange)
    await http.event(asked.exchange, encode(_answer(message)))
    await http.end(asked.exchange)
    await talk.succeeded()


@resumability_and_redelivery.may(
    "The call fails in the end, after fewer than fifty attempts.", **scripted(call(timeout=10))
)
async def gives_up(talk: ClientTalk) -> None:
    """A stream that cannot be resumed is not tried for ever."""
    link, _ = await _broken(talk, "1", retry=10)
    talk.serving.by["tools/call"] = lambda message: None  # nor is it answered if it is made again
    http = talk.http(link)
    attempts = 0
    while (asked := await _returned(link, within=12.0)) is not None:
        attempts += 1
        check(attempts < 50, "the client tried fifty times to resume")
        await http.reply(asked.exchange, 400 if attempts % 2 else 503)
    step = await talk.step()
    check(not step.good, "a call without an answer succeeded")


@resumability_and_redelivery.should(
    "Each call gets its own answer, once.", **scripted(call(), call(), pause(0.1))
)
async def one_answer(talk: ClientTalk) -> None:
    """An answer that is replayed, after it had been taken, does no harm."""
    link, answer = await _broken(talk, "1", retry=10)
    http = talk.http(link)
    asked = await _resumption(link)
    await http.stream(asked.exchange)
    await http.event(asked.exchange, answer.encode(), id="2")
    await http.event(asked.exchange, answer.encode(), id="2")
    await http.end(asked.exchange)
    await link.respond(await link.expect("tools/call"), text("the second"))
    report = await talk.report()
    found = [texts(each.result) if each.good else str(each) for each in report.steps[:2]]
    check(found == [["resumed"], ["the second"]], f"the calls got {found}")


# HTTP+SSE


@case.must(
    "http-with-sse",
    "Every message is posted to the address of the endpoint event.",
    ONLY_2024_11_05,
    bindings=LEGACY_SSE,
    scenario="initialize",
)
async def posts_to_endpoint(talk: ClientTalk) -> None:
    """Messages are posted to the address that the endpoint event names, relative or not."""
    talk.host.settings.endpoint = "messages/deep"
    link = await talk.open()
    await talk.finished()
    for each in link.posts("POST"):
        path = each.target.partition("?")[0]
        check(path == "/messages/deep", f"a message was posted to {each.target}")
    check(link.requests("tools/list"), "the client did not go on")


@case.should(
    "security-warning",
    "Nothing is posted there.",
    ONLY_2024_11_05,
    bindings=LEGACY_SSE,
    scenario="initialize",
)
async def foreign_endpoint(talk: ClientTalk) -> None:
    """An endpoint of another origin is refused."""
    other = talk.host.address.replace("127.0.0.1", "localhost").replace("/sse", "/messages")
    talk.host.settings.endpoint = other
    await talk.accept()
    if await talk.until(lambda: talk.ended) is None:
        talk.note(f"the client does not end within {talk.timing.answer:g} s")
    posted = [each for link in talk.links for each in link.posts("POST")]
    check(not posted, f"a message was posted to {other}")
