"""Cases of the page basic/transports: streams of Streamable HTTP, and HTTP with SSE."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.asking import QUESTIONS, at_rest
from mcpcore_conformance.kit.bindings.sse import SseWire
from mcpcore_conformance.kit.endpoint import (
    ACCEPTED,
    BAD_REQUEST,
    CLIENT_ERRORS,
    EVENT_STREAM,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    OK,
    WITH_SESSIONS,
    Answer,
    Endpoint,
    OpenEndpoint,
    check_served,
    endpoint,
)
from mcpcore_conformance.kit.heard import Event
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import (
    Id,
    Kind,
    Message,
    encode,
    notification,
    request,
    result,
)
from mcpcore_conformance.kit.model import LEGACY_SSE, ONLY_2024_11_05, STREAMABLE, Page
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.running import AFTERWARDS, over_too_soon, reporting
from mcpcore_conformance.kit.talk import AnyMethod, AnyParams, NewLink, OpenLink, ServerTalk
from mcpcore_conformance.kit.trying import asker, own_questions, unanswering
from mcpcore_conformance.kit.verdicts import check, need
from mcpcore_conformance.kit.watched import Watched
from mcpcore_conformance.kit.watching import PROGRESS, any_call, watched
from mcpcore_conformance.kit.wire import Refused

page = Page("basic/transports")
case = page.server(WITH_SESSIONS, bindings=STREAMABLE)
listening_for_messages_from_the_server = case.at("listening-for-messages-from-the-server")
multiple_connections = case.at("multiple-connections")

LISTS_CHANGED = "notifications/tools/list_changed"
CHANGES = "test_trigger_tool_change"
RESPONSES = (Kind.RESULT, Kind.ERROR)
WITH_PROGRESS = ("found:progress",)


async def listening(talk: ServerTalk, point: Endpoint) -> Answer:
    """An open GET stream; servers need not have any."""
    stream = await point.open()
    need(stream.streams, "the server opens no stream by GET")
    return stream


async def calling(point: Endpoint, token: str, *, id: Any = None) -> Sent:
    """Begin a call that reports its progress."""
    return await point.call(await watched(point.talk, "progress"), token, id=id)


def reported(answer: Answer, token: str) -> list[Any]:
    """The progress with that token that a stream has brought."""
    found = (each.params for each in answer.messages if each.method == PROGRESS)
    return [each.get("progress") for each in found if each.get("progressToken") == token]


async def check_apart(point: Endpoint, call: Watched, values: list[Any], whose: str) -> None:
    """Check that the progress of a call is its own: the other one says the same once more.

    Who says it twice when nothing runs beside it has another fault, of which there is a case.
    """
    if len(values) == len(set(values)):
        return
    token = str(point.talk.fresh_id())
    alone = reported(await point.answer((await point.call(call, token)).exchange), token)
    check(len(alone) > len(set(alone)), f"{whose} got the progress of another one: {values}")


@listening_for_messages_from_the_server.must("Status 200 with text/event-stream, or 405.")
async def stream_or_405(point: OpenEndpoint) -> None:
    """A GET is answered with an event stream or with 405."""
    answer = await point.open()
    if answer.status == OK:
        check(answer.kind == EVENT_STREAM, f"GET was answered as {answer.kind!r}")
    else:
        check(answer.status == METHOD_NOT_ALLOWED, f"GET got {answer}, not an event stream or 405")


@case.may(
    "listening-for-messages-from-the-server/accept",
    "406, 405 or 400: a client that takes no events gets no stream of them.",
)
async def get_accept(point: OpenEndpoint) -> None:
    """A GET that does not accept events is given none."""
    answer = await point.open(
        headers=[("accept", "application/json"), *point.wire.headers_for(None)]
    )
    check(answer.status in CLIENT_ERRORS, f"a GET that accepts JSON only got {answer}")


@listening_for_messages_from_the_server.must("Answers come on the responses to their POSTs.")
async def no_responses(talk: ServerTalk, point: OpenEndpoint) -> None:
    """No response goes over a GET stream."""
    stream = await listening(talk, point)
    method, params = talk.any_request()
    for message in (point.message(), point.message(method, params), point.message("kit/none")):
        answer = await point.post(message)
        check(any(each.kind in RESPONSES for each in answer.messages), f"got {answer} alone")
    await point.link.quiet()
    strays = [each for each in point.so_far(stream.exchange).messages if each.kind in RESPONSES]
    check(not strays, f"the GET stream brought {len(strays)} responses")


@listening_for_messages_from_the_server.should(
    "Progress of a running request comes on the stream of its POST, if it has one.",
    needs=WITH_PROGRESS,
)
async def unrelated_only(talk: ServerTalk, point: OpenEndpoint) -> None:
    """What belongs to a running request does not go over the GET stream."""
    stream = await listening(talk, point)
    token = str(talk.fresh_id())
    answer = await point.answer((await calling(point, token)).exchange)
    check_served(answer, "a call with progress")
    await point.link.quiet()
    strays = reported(point.so_far(stream.exchange), token)
    check(not strays, "the progress of a call came on the GET stream")


@listening_for_messages_from_the_server.should(
    "A request of the server that a call gives rise to comes on the stream of that call.",
    needs=("found:question",),
)
async def questions_on_their_stream(talk: ServerTalk) -> None:
    """What a call asks of the client comes on the call's stream, though there is a GET stream."""
    which = await asker(talk, "question", "test_sampling")
    point = await endpoint(talk)
    await listening(talk, point)
    await at_rest(point.link)
    found = await own_questions(point.link, which)
    need(found, "the call asks nothing")
    for one in found:
        check(one.placed, f"{one.message.method} of a call came on the GET stream")


@case.must("sending-messages-to-the-server", "Status 202 and no body.", needs=("found:question",))
async def answer_accepted(talk: ServerTalk) -> None:
    """The POST of an answer to the server's request gets 202 without a body."""
    which = await asker(talk, "question", "test_sampling")
    point = Endpoint(talk, await talk.open(answering=unanswering()))
    message = point.message(which.method, which.params)
    sent = await point.link.say(message)
    question = await asked(talk, point, sent)
    answer = await point.post(result(question.id, Answering().result(question) or {}))
    check(answer.status == ACCEPTED, f"an answer got {answer}, not status 202")
    check(not answer.body and not answer.messages, "the 202 for an answer has a body")
    if which.known:
        # any other tool may ask for more, or not take what the kit makes up
        check_served(await point.answer(sent.exchange), "the call that was answered")


async def asked(talk: ServerTalk, point: Endpoint, sent: Sent) -> Message:
    """Wait for what a call asks of the client; servers without streams cannot ask."""
    link = point.link

    def found() -> list[Message]:
        own = [each for each in link.asked if each.source.exchange == sent.exchange]
        return [each for each in own if each.method in QUESTIONS]

    await link.until(lambda: found() or link.ended.get(sent.exchange), talk.timing.answer)
    need(found(), "the call asks nothing")
    return found()[0]


def _none(_message: Message) -> None:
    return None


def silent() -> Answering:
    """A client that leaves questions to its model open."""
    return Answering({"sampling/createMessage": _none})


def sampled(text: str) -> dict[str, Any]:
    """What a client's model said."""
    return {"role": "assistant", "content": {"type": "text", "text": text}, "model": "kit"}


@case.should("sending-messages-to-the-server", "202 or 4xx; the session goes on.")
async def unknown_answer(point: OpenEndpoint) -> None:
    """An answer to nothing does no harm."""
    answer = await point.post(result("kit-none", {}))
    taken = answer.status == ACCEPTED or answer.status in CLIENT_ERRORS
    check(taken, f"an answer to nothing got {answer}")
    await point.link.alive()


@case.should("sending-messages-to-the-server", "The response comes on the stream of its POST.")
async def stream_kept_open(talk: ServerTalk) -> None:
    """The stream of a request brings its response before it ends."""
    point = await endpoint(talk, by_hand=not talk.revision.priming)
    answer = await point.answer((await point.call(any_call(talk), "kit")).exchange)
    came = any(each.kind in RESPONSES for each in answer.messages)
    check(came, f"the stream of a call ended with {answer}")


@case.must(
    "sending-messages-to-the-server",
    "Every response is on the response to the POST of its request.",
)
async def each_on_its_own(talk: ServerTalk, point: OpenEndpoint) -> None:
    """Of several requests at a time, each is answered on its own stream, once."""
    ids = [talk.fresh_id() for _ in range(5)]
    call = any_call(talk)
    sent = [await point.call(call, f"kit-{each}", id=each) for each in ids]
    plain = [await point.link.say(point.message(id=f"{each}-plain")) for each in ids]
    for identifier, exchange in [
        *zip(ids, [each.exchange for each in sent], strict=True),
        *zip([f"{each}-plain" for each in ids], [each.exchange for each in plain], strict=True),
    ]:
        answer = await point.answer(exchange)
        found = [each.id for each in answer.messages if each.kind in RESPONSES]
        check(found == [identifier], f"the stream of request {identifier!r} brought {found}")


# Several streams


@multiple_connections.must(
    "The other requests are answered while the call runs.", needs=("tool:test_wait",)
)
async def beside_a_call(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A running call holds up neither requests nor streams of its session."""
    method, params = talk.slow_call()
    sent = await point.link.say(point.message(method, params))
    check_served(await point.post(point.message()), "a request beside a running call")
    await point.link.cancel(sent)


@multiple_connections.must(
    "A notification comes on one of the open streams, not on several.",
    needs=("tools.listChanged", "tool:test_trigger_tool_change", "tool:test_tool_with_progress"),
)
async def no_broadcast(talk: ServerTalk, point: OpenEndpoint) -> None:
    """With two GET streams and a POST stream open, a notification goes over one of them.

    Only of the fixture it is known what changes a list, and what leaves its stream open meanwhile.
    """
    streams = [await listening(talk, point)]
    second = await point.open()
    if second.streams:
        streams.append(second)
    several = 0
    for pause, params in [each for each in reporting(talk) for _ in range(2)]:
        call = {**params, "_meta": {"progressToken": "kit"}}
        running = await point.link.say(point.message("tools/call", call))
        await point.begun(running.exchange)
        # other conversations change the server's list, too: what came so far may be theirs
        point.link.inbox = [each for each in point.link.inbox if each.method != LISTS_CHANGED]
        answer = await point.post(point.message("tools/call", {"name": CHANGES}))
        check_served(answer, "the call that changes the list")
        early = point.so_far(running.exchange).result is not None
        await point.answer(running.exchange, point.link.patience + AFTERWARDS * pause)
        await point.link.quiet()
        exchanges = [*(each.exchange for each in streams), running.exchange, answer.exchange]
        seen = Counter(
            each.source.exchange
            for each in point.link.inbox
            if each.method == LISTS_CHANGED and each.source.exchange in exchanges
        )
        need(seen, f"{LISTS_CHANGED} came on no stream")
        # one that comes besides may be of another change: not if it comes twice
        several += len(seen) > 1
        check(several < 2, f"{LISTS_CHANGED} came on {len(seen)} streams of one session")
        if not early and len(seen) == 1:
            return
    raise over_too_soon("the call that changes the list")


@multiple_connections.must(
    "Each report of progress comes once, on one stream.", needs=WITH_PROGRESS
)
async def progress_once(point: OpenEndpoint) -> None:
    """With a GET stream and three calls, no report of progress comes twice."""
    await point.open()
    sent = [await calling(point, f"kit-{number}") for number in range(3)]
    for each in sent:
        check_served(await point.answer(each.exchange), "a call with progress")
    await point.link.quiet()
    seen = Counter(
        json.dumps(each.params, sort_keys=True)
        for each in point.link.inbox
        if each.method == PROGRESS
    )
    twice = [params for params, times in seen.items() if times > 1]
    check(not twice, f"progress came more than once: {', '.join(twice)}")


# HTTP with SSE, the transport of 2024-11-05

FIRST = ONLY_2024_11_05
"""The revision that has this transport."""
case = page.server(FIRST, bindings=LEGACY_SSE)
http_with_sse = case.at("http-with-sse")
EVIL = "http://evil.example"
ACCEPTS = ("accept", EVENT_STREAM)
JSON = ("content-type", "application/json")
_SEPARATORS = re.compile(r"([/?&;=])")
_ALTERED: tuple[Callable[[str], str], ...] = (
    lambda text: text[:-1] + ("0" if text[-1:] != "0" else "1"),
    lambda text: text[:-8] + "deadbeef",
    lambda text: f"{text}0",
)


def wire_of(link: Link) -> SseWire:
    """The link's wire as what it is."""
    return cast("SseWire", link.wire)


async def endpoint_of(link: Link) -> Event:
    """The event that says where to post."""
    found = await link.until(lambda: [each for each in link.events if each.name == "endpoint"])
    check(found, "the event stream brought no endpoint event")
    assert found
    return found[0]


async def target_of(link: Link) -> str:
    """Path and query of where to post."""
    said = (await endpoint_of(link)).data.decode()
    parts = urlsplit(urljoin(wire_of(link).url, said))
    return parts.path + (f"?{parts.query}" if parts.query else "")


async def post(
    link: Link, target: str, payload: bytes, *headers: tuple[str, str], method: str = "POST"
) -> Answer:
    """Post a message somewhere, and wait for the end of the response."""
    wire = wire_of(link)
    exchange = await wire.fetch(method, target=target, headers=[JSON, *headers], body=payload)
    return await answered(link, exchange)


async def answered(link: Link, exchange: int) -> Answer:
    """Wait for the end of a response."""
    await link.until(lambda: link.ended.get(exchange) or link.gone)
    return Answer(exchange, link.heads.get(exchange), done=link.ended.get(exchange))


def ping(id: Id) -> bytes:
    """A request that every server answers."""
    return encode(request(id, "ping"))


@http_with_sse.must("An event named endpoint, with a URI, before anything else.")
async def endpoint_first(link: NewLink) -> None:
    """The event stream opens with the event that says where to post."""
    found = await endpoint_of(link)
    events = [each for each in link.events if not each.comment]
    check(events[0] is found, f"the first event is {events[0].name or 'one without a name'}")
    check(not link.inbox, "a message came before the endpoint event")
    check(found.data.strip(), "the endpoint event has no data")


@http_with_sse.should("A path, or a URL with the scheme, host and port of the event stream.")
async def endpoint_of_same_origin(link: NewLink) -> None:
    """Messages are posted to where the event stream is."""
    said = (await endpoint_of(link)).data.decode()
    own, other = urlsplit(wire_of(link).url), urlsplit(urljoin(wire_of(link).url, said))
    check(
        (own.scheme, own.netloc) == (other.scheme, other.netloc),
        f"the endpoint {said} is not of the origin of {wire_of(link).url}",
    )


@http_with_sse.must("Status 200 and text/event-stream.")
async def event_stream(link: NewLink) -> None:
    """A GET of the first endpoint opens an event stream."""
    exchange = await wire_of(link).fetch("GET", headers=[ACCEPTS])
    await link.until(lambda: link.heads.get(exchange))
    answer = Answer(exchange, link.heads.get(exchange))
    check(answer.streams, f"GET got {answer}, as {answer.kind!r}")


@http_with_sse.should("A status of 2xx, 202 as a rule.")
async def post_accepted(talk: ServerTalk, link: OpenLink) -> None:
    """The POST of a message is answered when it is taken."""
    target = await target_of(link)
    for message in (ping("kit-1"), encode(notification("notifications/roots/list_changed"))):
        answer = await post(link, target, message)
        check(OK <= answer.status < 300, f"the POST of a message got {answer}")
        talk.should(answer.status == ACCEPTED, f"the POST of a message got {answer}, not 202")


@http_with_sse.must("The response is a message event on the stream, not the body of the POST.")
async def answers_on_the_stream(link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """Responses come as message events."""
    for each in (("ping", {}), (method, params)):
        sent = await link.send(*each)
        message = await link.wait_for(lambda found, sent=sent: found.id == sent.id)  # type: ignore[misc]
        check(message is not None, f"no message event answered {each[0]}")
        assert message is not None
        check(message.source.exchange == 0, f"{each[0]} was answered in the body of the POST")


@http_with_sse.should("A status of 4xx, and no answer.")
async def posted_elsewhere(link: OpenLink) -> None:
    """A message that is posted anywhere else than the endpoint is refused."""
    target = await target_of(link)
    path, _, query = target.partition("?")
    places = [f"{path}/kit", "/kit-none", urlsplit(wire_of(link).url).path]
    if query:
        places.append(path)
    for place in places:
        answer = await post(link, place, ping("kit-elsewhere"))
        check(answer.status in CLIENT_ERRORS, f"a POST to {place} got {answer}")
    await link.alive()
    strays = [each for each in link.inbox if each.id == "kit-elsewhere"]
    check(not strays, "a message that was posted elsewhere was answered")


@http_with_sse.should("A status of 4xx, 404 as a rule.")
async def unknown_session(talk: ServerTalk, link: OpenLink) -> None:
    """A message for a stream that never was is refused."""
    for other in _unknown(await target_of(link), await target_of(await talk.connect())):
        answer = await post(link, other, ping("kit-unknown"))
        check(answer.status in CLIENT_ERRORS, f"a POST for an unknown session got {answer}")
        talk.should(
            answer.status in (NOT_FOUND, BAD_REQUEST),
            f"a POST for an unknown session got {answer}",
        )
    await link.alive()


def _unknown(target: str, another: str) -> Iterator[str]:
    """Endpoints of no stream: each part is another one that is not the same for two streams.

    What is the same is no session, and a server need not look at it.
    """
    parts, others = _SEPARATORS.split(target), _SEPARATORS.split(another)
    pairs = enumerate(zip(parts, others, strict=False))
    chosen = [number for number, (one, other) in pairs if one != other]
    if not chosen or len(parts) != len(others):
        # the values of all parameters, or what comes last
        chosen = [number for number, each in enumerate(parts[:-1], 1) if each == "="]
        chosen = chosen or [len(parts) - 1]
    for alter in _ALTERED:
        yield "".join(alter(each) if n in chosen else each for n, each in enumerate(parts))


@http_with_sse.should("Each stream has an endpoint of its own, which nobody can guess.")
async def endpoints_differ(talk: ServerTalk) -> None:
    """The endpoints of two clients differ in more than a number."""
    one, other = [await target_of(await talk.connect()) for _ in range(2)]
    alike = sum(a == b for a, b in zip(one, other, strict=False))
    differ = max(len(one), len(other)) - alike
    check(differ >= 12, f"two endpoints differ in {differ} characters only: {one}, {other}")


@http_with_sse.must("Each client is answered on its own stream, whatever the ids.")
async def streams_apart(talk: ServerTalk) -> None:
    """Two clients that use one id get their own answers."""
    one, other = await talk.open(), await talk.open()
    await post(one, await target_of(one), ping("same"))
    await one.until(lambda: [each for each in one.inbox if each.id == "same"])
    await other.alive()
    strays = [each for each in other.inbox if each.id == "same"]
    check(not strays, "a client got the answer to another one's request")
    await one.alive()
    found = [each for each in one.inbox if each.id == "same" and each.kind is Kind.RESULT]
    check(len(found) == 1, f"a client got {len(found)} answers to its request")


@http_with_sse.should("A status of 4xx: who has closed the stream has left.")
async def end_of_the_stream(talk: ServerTalk) -> None:
    """When a client has closed its stream, nothing more can be posted for it."""
    gone, other = await talk.open(), await talk.open()
    target = await target_of(gone)
    await gone.wire.cut()
    status = 0
    for _ in range(20):
        answer = await post(other, target, ping("kit-late"))
        status = answer.status
        if status in CLIENT_ERRORS:
            return
        await talk.advance(0.02)
    check(False, f"a POST for a stream that was closed still gets status {status}")


@http_with_sse.should("A status of 4xx; the stream goes on.")
async def malformed(link: OpenLink) -> None:
    """A POST without a message in it is refused, and costs nothing else."""
    target = await target_of(link)
    for body in (b"{", b"", b'"ping"'):
        answer = await post(link, target, body)
        check(answer.status in CLIENT_ERRORS, f"the body {body!r} got {answer}")
    link.inbox = [each for each in link.inbox if each.id is not None]
    await link.alive()


@case.may("http-with-sse/get-at-the-endpoint", "405: messages are posted there.")
async def get_at_endpoint(link: OpenLink) -> None:
    """There is nothing to GET where messages are posted."""
    exchange = await wire_of(link).fetch("GET", target=await target_of(link), headers=[ACCEPTS])
    await link.until(lambda: link.heads.get(exchange) or link.ended.get(exchange))
    answer = Answer(exchange, link.heads.get(exchange))
    check(answer.status in (METHOD_NOT_ALLOWED, NOT_FOUND), f"GET of the endpoint got {answer}")


@case.must("security-warning", "A status of 4xx (403).")
async def foreign_origin_stream(talk: ServerTalk) -> None:
    """A foreign page cannot open an event stream."""
    for origin in (EVIL, "http://localhost.evil.example", "null"):
        try:
            wire = await talk.wire(headers=[("origin", origin)])
        except Refused as error:
            fine = error.status is not None and error.status in CLIENT_ERRORS
            check(fine, f"Origin: {origin} got {error.reason}")
            continue
        await wire.close()
        check(False, f"a page of {origin} was given an event stream")


@case.must("security-warning", "A status of 4xx (403), and no answer.")
async def foreign_origin_post(link: OpenLink) -> None:
    """A foreign page cannot post, though it knew the endpoint."""
    target = await target_of(link)
    for origin in (EVIL, "http://localhost.evil.example", "null"):
        answer = await post(link, target, ping("kit-evil"), ("origin", origin))
        check(answer.status in CLIENT_ERRORS, f"a POST with Origin: {origin} got {answer}")
    await link.alive()
    strays = [each for each in link.inbox if each.id == "kit-evil"]
    check(not strays, "a message of a foreign page was answered")
