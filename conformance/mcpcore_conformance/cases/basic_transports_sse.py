"""Cases of the page basic/transports: HTTP with SSE, the transport of 2024-11-05."""

import re
from collections.abc import Callable, Iterator
from typing import cast
from urllib.parse import urljoin, urlsplit

from mcpcore_conformance.kit.bindings.sse import SseWire
from mcpcore_conformance.kit.endpoint import (
    ACCEPTED,
    BAD_REQUEST,
    CLIENT_ERRORS,
    EVENT_STREAM,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    OK,
    Answer,
)
from mcpcore_conformance.kit.heard import Event
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import Id, Kind, encode, notification, request
from mcpcore_conformance.kit.model import LEGACY_SSE, ONLY_2024_11_05, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check
from mcpcore_conformance.kit.wire import Refused

page = Page("basic/transports")

FIRST = ONLY_2024_11_05
"""The revision that has this transport."""
case = page.server(FIRST, bindings=LEGACY_SSE)
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


@case.must(
    "http-with-sse/endpoint-first", "An event named endpoint, with a URI, before anything else."
)
async def endpoint_first(talk: ServerTalk) -> None:
    """The event stream opens with the event that says where to post."""
    link = await talk.connect()
    found = await endpoint_of(link)
    events = [each for each in link.events if not each.comment]
    check(events[0] is found, f"the first event is {events[0].name or 'one without a name'}")
    check(not link.inbox, "a message came before the endpoint event")
    check(found.data.strip(), "the endpoint event has no data")


@case.should(
    "http-with-sse/endpoint-of-same-origin",
    "A path, or a URL with the scheme, host and port of the event stream.",
)
async def endpoint_same_origin(talk: ServerTalk) -> None:
    """Messages are posted to where the event stream is."""
    link = await talk.connect()
    said = (await endpoint_of(link)).data.decode()
    own, other = urlsplit(wire_of(link).url), urlsplit(urljoin(wire_of(link).url, said))
    check(
        (own.scheme, own.netloc) == (other.scheme, other.netloc),
        f"the endpoint {said} is not of the origin of {wire_of(link).url}",
    )


@case.must("http-with-sse/event-stream", "Status 200 and text/event-stream.")
async def event_stream(talk: ServerTalk) -> None:
    """A GET of the first endpoint opens an event stream."""
    link = await talk.connect()
    exchange = await wire_of(link).fetch("GET", headers=[ACCEPTS])
    await link.until(lambda: link.heads.get(exchange))
    answer = Answer(exchange, link.heads.get(exchange))
    check(answer.streams, f"GET got {answer}, as {answer.kind!r}")


@case.should("http-with-sse/post-accepted", "A status of 2xx, 202 as a rule.")
async def post_accepted(talk: ServerTalk) -> None:
    """The POST of a message is answered when it is taken."""
    link = await talk.open()
    target = await target_of(link)
    for message in (ping("kit-1"), encode(notification("notifications/roots/list_changed"))):
        answer = await post(link, target, message)
        check(OK <= answer.status < 300, f"the POST of a message got {answer}")
        talk.should(answer.status == ACCEPTED, f"the POST of a message got {answer}, not 202")


@case.must(
    "http-with-sse/answers-on-the-stream",
    "The response is a message event on the stream, not the body of the POST.",
)
async def answers_on_stream(talk: ServerTalk) -> None:
    """Responses come as message events."""
    link = await talk.open()
    method, params = talk.any_request()
    for each in (("ping", {}), (method, params)):
        sent = await link.send(*each)
        message = await link.wait_for(lambda found, sent=sent: found.id == sent.id)  # type: ignore[misc]
        check(message is not None, f"no message event answered {each[0]}")
        assert message is not None
        check(message.source.exchange == 0, f"{each[0]} was answered in the body of the POST")


@case.should("http-with-sse/posted-elsewhere", "A status of 4xx, and no answer.")
async def posted_elsewhere(talk: ServerTalk) -> None:
    """A message that is posted anywhere else than the endpoint is refused."""
    link = await talk.open()
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


@case.should("http-with-sse/unknown-session", "A status of 4xx, 404 as a rule.")
async def unknown_session(talk: ServerTalk) -> None:
    """A message for a stream that never was is refused."""
    link = await talk.open()
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


@case.should(
    "http-with-sse/endpoints-differ",
    "Each stream has an endpoint of its own, which nobody can guess.",
)
async def endpoints_differ(talk: ServerTalk) -> None:
    """The endpoints of two clients differ in more than a number."""
    one, other = [await target_of(await talk.connect()) for _ in range(2)]
    alike = sum(a == b for a, b in zip(one, other, strict=False))
    differ = max(len(one), len(other)) - alike
    check(differ >= 12, f"two endpoints differ in {differ} characters only: {one}, {other}")


@case.must(
    "http-with-sse/streams-apart", "Each client is answered on its own stream, whatever the ids."
)
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


@case.should(
    "http-with-sse/end-of-the-stream", "A status of 4xx: who has closed the stream has left."
)
async def end_of_stream(talk: ServerTalk) -> None:
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


@case.should("http-with-sse/malformed", "A status of 4xx; the stream goes on.")
async def malformed(talk: ServerTalk) -> None:
    """A POST without a message in it is refused, and costs nothing else."""
    link = await talk.open()
    target = await target_of(link)
    for body in (b"{", b"", b'"ping"'):
        answer = await post(link, target, body)
        check(answer.status in CLIENT_ERRORS, f"the body {body!r} got {answer}")
    link.inbox = [each for each in link.inbox if each.id is not None]
    await link.alive()


@case.may("http-with-sse/get-at-the-endpoint", "405: messages are posted there.")
async def get_at_endpoint(talk: ServerTalk) -> None:
    """There is nothing to GET where messages are posted."""
    link = await talk.open()
    exchange = await wire_of(link).fetch("GET", target=await target_of(link), headers=[ACCEPTS])
    await link.until(lambda: link.heads.get(exchange) or link.ended.get(exchange))
    answer = Answer(exchange, link.heads.get(exchange))
    check(answer.status in (METHOD_NOT_ALLOWED, NOT_FOUND), f"GET of the endpoint got {answer}")


@case.must("security-warning/foreign-origin-stream", "A status of 4xx (403).")
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


@case.must("security-warning/foreign-origin-post", "A status of 4xx (403), and no answer.")
async def foreign_origin_post(talk: ServerTalk) -> None:
    """A foreign page cannot post, though it knew the endpoint."""
    link = await talk.open()
    target = await target_of(link)
    for origin in (EVIL, "http://localhost.evil.example", "null"):
        answer = await post(link, target, ping("kit-evil"), ("origin", origin))
        check(answer.status in CLIENT_ERRORS, f"a POST with Origin: {origin} got {answer}")
    await link.alive()
    strays = [each for each in link.inbox if each.id == "kit-evil"]
    check(not strays, "a message of a foreign page was answered")
