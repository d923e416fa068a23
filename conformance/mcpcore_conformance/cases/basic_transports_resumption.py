"""Cases of the page basic/transports: streams that break off, are closed, and are picked up."""

from collections import Counter
from typing import Annotated, Any

from msgspec import Struct

from mcpcore_conformance.cases.basic_transports_sessions import stateful
from mcpcore_conformance.cases.basic_transports_streams import LISTS_CHANGED, RESPONSES, listening
from mcpcore_conformance.kit.endpoint import (
    CLIENT_ERRORS,
    SERVER_ERRORS,
    WITH_PRIMING,
    WITH_SESSIONS,
    Answer,
    Endpoint,
    OpenEndpoint,
    check_served,
    endpoint,
)
from mcpcore_conformance.kit.heard import Event
from mcpcore_conformance.kit.messages import Kind, Message
from mcpcore_conformance.kit.model import STREAMABLE, Page
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.talk import NewLink, ServerTalk
from mcpcore_conformance.kit.verdicts import check, need
from mcpcore_conformance.kit.watching import PROGRESS, behind, parts_of, watched

page = Page("basic/transports")

STREAMED = ("found:event-ids",)
case = page.server(WITH_SESSIONS, bindings=STREAMABLE, needs=STREAMED)
resumability_and_redelivery = case.at("resumability-and-redelivery")
STEPS = [0, 50, 100]
"""What the fixture's tool reports."""
MARKS = 4
"""Event ids of one stream behind which it is picked up, at most; the last is one of them."""


class Cut(Struct):
    """A call whose stream was cut, and where."""

    point: Endpoint
    sent: Sent
    last_event_id: str
    seen: list[Any]
    """Progress that had come."""
    answered: bool = False
    """Whether the answer had."""


async def last_id(point: Endpoint, exchange: int, within: float | None = None) -> str | None:
    """The id of the last event on a stream; waits for the first."""
    found: list[tuple[float, str]] = []

    def look() -> bool:
        link = point.link
        marks = [(each.at, each.event_id) for each in link.events if each.exchange == exchange]
        marks += [
            (each.source.at, each.source.event_id)
            for each in link.inbox
            if each.source.exchange == exchange
        ]
        found[:] = sorted((at, mark) for at, mark in marks if mark)
        return bool(found)

    await point.link.until(lambda: look() or point.link.ended.get(exchange), within)
    look()
    return found[-1][1] if found else None


async def marked(talk: ServerTalk, point: Endpoint, token: str) -> Sent:
    """Begin a request whose answer comes as a stream of events with ids."""
    return await point.call(await watched(talk, "event-ids"), token, id=talk.fresh_id())


async def broken(talk: ServerTalk, name: str = "kit", point: Endpoint | None = None) -> Cut:
    """Cut the stream of a call behind its first report of progress, else its first event id."""
    point = point or await endpoint(talk, by_hand=True)
    reports = (await watched(talk, "event-ids")).reports
    sent = await marked(talk, point, name)
    if reports:
        await point.link.until(
            lambda: (
                [each for each in progress(point, sent.exchange) if each is not None]
                or point.link.ended.get(sent.exchange)
            )
        )
    mark = await last_id(point, sent.exchange)
    so_far = point.so_far(sent.exchange)
    if not so_far.streams or mark is None:
        talk.skip("the server's events have no ids")
    cut = Cut(point, sent, mark, progress(point, sent.exchange), so_far.result is not None)
    await point.wire.cut(sent.exchange)
    return cut


def check_unanswered(talk: ServerTalk, cut: Cut) -> None:
    """Go on only if the stream was cut before its answer: only then something is left of it."""
    need(not cut.answered, "the first event with an id is the answer: nothing follows it")


def progress(point: Endpoint, exchange: int) -> list[Any]:
    """The progress that a stream has brought."""
    brought = point.so_far(exchange).messages
    return [each.params.get("progress") for each in brought if each.method == PROGRESS]


async def resumed(talk: ServerTalk, cut: Cut) -> Answer:
    """Pick the stream of a call up, and wait for its end."""
    check_unanswered(talk, cut)
    opened = await cut.point.open(cut.last_event_id, whole=True)
    need(opened.streams, f"the server does not resume streams ({opened})")
    return await cut.point.answer(opened.exchange)


# Event ids


@resumability_and_redelivery.must("No id comes twice in a session, whatever the stream.")
async def ids_unique(talk: ServerTalk) -> None:
    """Event ids are unique over all streams of a session."""
    point = await endpoint(talk, by_hand=True)
    await point.open()
    sent = [await marked(talk, point, f"kit-{number}") for number in range(3)]
    for each in sent:
        await point.answer(each.exchange)
    ids = [each.event_id for each in point.link.events if each.event_id]
    ids += [each.source.event_id for each in point.link.inbox if each.source.event_id]
    need(ids, "the server's events have no ids")
    twice = [each for each, times in Counter(ids).items() if times > 1]
    check(not twice, f"the event ids {twice[:3]} came more than once")


@resumability_and_redelivery.should("Each of two broken streams is picked up by its own id.")
async def ids_name_their_stream(talk: ServerTalk) -> None:
    """An event id leads back to the stream that it came on."""
    first = await broken(talk, "kit-0")
    second = await broken(talk, "kit-1", first.point)
    for each in (second, first):
        answer = await resumed(talk, each)
        ids = [one.id for one in answer.messages if one.kind in (Kind.RESULT, Kind.ERROR)]
        check(
            ids == [each.sent.id],
            f"the stream of {each.sent.id!r}, picked up, brought the responses {ids}",
        )


# Picking up


@resumability_and_redelivery.may(
    "GET with Last-Event-ID brings what was missed, the response included."
)
async def replayed(talk: ServerTalk, cut: Annotated[Cut, broken]) -> None:
    """A stream that broke off can be picked up."""
    check_unanswered(talk, cut)
    opened = await cut.point.open(cut.last_event_id, whole=True)
    check(opened.streams, f"a GET with Last-Event-ID got {opened}")
    answer = await cut.point.answer(opened.exchange)
    check(answer.result is not None, "the response did not come on the stream picked up")


@resumability_and_redelivery.should("Every message after the last id, in order, and none before.")
async def exactly_what_followed(talk: ServerTalk, cut: Annotated[Cut, broken]) -> None:
    """What is replayed is exactly what followed on that stream."""
    answer = await resumed(talk, cut)
    if (await watched(talk, "event-ids")).known:
        values = progress(cut.point, answer.exchange)
        wanted = STEPS[len(cut.seen) :]
        check(values == wanted, f"after {cut.seen} came {values}, not {wanted}")
    ids = [each.id for each in answer.messages if each.kind is Kind.RESULT]
    check(ids == [cut.sent.id], f"the stream brought the responses {ids}")
    check(answer.messages[-1].kind is Kind.RESULT, "the response is not the last message")
    await _behind_each(talk, cut.point)


async def _behind_each(talk: ServerTalk, point: Endpoint) -> None:
    """Hear a stream to its end, and pick it up behind its ids: also where nothing is missing.

    What was delivered need not be kept: to bring nothing is no fault here.
    """
    link = point.link
    link.coming_back.by_hand = False
    sent = await marked(talk, point, "kit-whole")
    await point.answer(sent.exchange)
    parts = parts_of(link, sent.exchange)
    marks = [each.event_id for each in parts if each.event_id]
    said = [each.message.value for each in parts if each.message is not None]
    for mark in dict.fromkeys([*marks[: MARKS - 1], *marks[-1:]]):
        wanted = behind(parts, mark)
        opened = await point.open(mark, whole=bool(wanted))
        if not opened.streams:
            continue
        found = [
            each
            for each in await _brought(point, opened.exchange, len(wanted))
            if each.kind in RESPONSES or each.method == PROGRESS or each.value in said
        ]
        if wanted and not found:
            return
        check(
            [each.value for each in found] == [each.value for each in wanted],
            f"after the event id {mark!r} came {_told(found)}, not {_told(wanted)}",
        )
        await point.wire.cut(opened.exchange)


async def _brought(point: Endpoint, exchange: int, wanted: int) -> list[Message]:
    """So many messages of a stream, and what comes within a moment more."""
    link = point.link
    await link.until(
        lambda: link.ended.get(exchange) or len(point.so_far(exchange).messages) >= wanted,
        of=exchange,
    )
    await link.until(lambda: link.ended.get(exchange), point.talk.timing.quiet)
    return point.so_far(exchange).messages


def _told(messages: list[Message]) -> str:
    said = [each.method or f"the response to {each.id!r}" for each in messages]
    return ", ".join(said) or "nothing"


@resumability_and_redelivery.should("The response comes, and the stream ends.")
async def after_the_end(talk: ServerTalk, cut: Annotated[Cut, broken]) -> None:
    """A stream can be picked up when its request has long been answered, and again."""
    answers = [await resumed(talk, cut), await resumed(talk, cut)]
    check(answers[-1].result is not None, "picked up once more, the stream brings no response")
    check(all(answer.done for answer in answers), "the stream stays open behind the response")


@resumability_and_redelivery.may(
    "What was said meanwhile comes on the stream that is picked up.",
    needs=("tools.listChanged", "tool:test_trigger_tool_change"),
)
async def get_stream_resumed(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A GET stream that broke off can be picked up as well.

    Only of the fixture it is known what has the server say something there.
    """
    stream = await listening(talk, point)
    change = {"name": "test_trigger_tool_change"}
    check_served(await point.post(point.message("tools/call", change)), "the call")
    await point.link.quiet()
    mark = await last_id(point, stream.exchange, 0.0)
    if mark is None:
        talk.skip("the server's events have no ids")
    await point.wire.cut(stream.exchange)
    await point.answer(stream.exchange)
    check_served(await point.post(point.message("tools/call", change)), "the second call")
    again = await point.open(mark)
    check(again.streams, f"the GET stream was not picked up: {again}")
    found = await point.link.until(
        lambda: [
            each for each in point.so_far(again.exchange).messages if each.method == LISTS_CHANGED
        ]
    )
    check(found, "what was said while the stream was broken did not come")


@case.should(
    "sending-messages-to-the-server/disconnect-is-no-cancellation",
    "The call ends as if nothing had happened; its result is there to be picked up.",
)
async def disconnect_no_cancellation(talk: ServerTalk, cut: Annotated[Cut, broken]) -> None:
    """A connection that is lost does not cancel its request."""
    if (await cut.point.answer(cut.sent.exchange)).result is not None:
        talk.skip("the answer had come before the connection was cut")
    answer = await resumed(talk, cut)
    check(
        answer.result is not None and not answer.result.get("isError"),
        f"a call whose connection was lost ended with {answer}",
    )


# What is not to be had


@resumability_and_redelivery.must("Nothing that was or would be delivered on another stream.")
async def no_other_stream(talk: ServerTalk) -> None:
    """Picking up one stream brings nothing of another one."""
    point = await endpoint(talk, by_hand=True)
    first = await broken(talk, "kit-0", point)
    second = await broken(talk, "kit-1", point)
    for each in await _left(talk, first):
        origin = each.params.get("progressToken", "kit-0")
        check(origin == "kit-0", f"progress of {origin} came on the stream of kit-0")
        check(each.id != second.sent.id, "the response of another request came")


async def _left(talk: ServerTalk, cut: Cut) -> list[Message]:
    """What comes when a stream is picked up, of which the answer may have come already."""
    if not cut.answered:
        return (await resumed(talk, cut)).messages
    opened = await cut.point.open(cut.last_event_id)
    return await _brought(cut.point, opened.exchange, 0)


@resumability_and_redelivery.must("A refusal, or a stream without anything of the other session.")
async def no_other_session(talk: ServerTalk) -> None:
    """An event id of another session brings nothing of that session."""
    other, _ = await stateful(talk)
    cut = await broken(talk)
    # what comes on another stream is no more for others than what is left of this one
    more = await marked(talk, cut.point, "kit-more")
    await cut.point.answer(more.exchange)
    await cut.point.link.alive()
    opened = await other.open(cut.last_event_id)
    check(opened.status not in SERVER_ERRORS, f"the event id of another session got {opened}")
    await other.link.quiet()
    if opened.streams:
        await other.answer(opened.exchange, 0.3)
    found = other.so_far(opened.exchange).messages
    strays = [
        each.method or str(each.kind)
        for each in found
        if each.method == PROGRESS or each.kind is Kind.RESULT or each.id in (cut.sent.id, more.id)
    ]
    check(not strays, f"another session's {strays} were replayed")


@resumability_and_redelivery.should("A refusal with 4xx, or a stream on which nothing is replayed.")
async def made_up_ids(talk: ServerTalk, link: NewLink) -> None:
    """Event ids that were never given bring nothing, and do no harm."""
    # a conversation of its own, so that all the ids that there are have been heard
    await link.initialize()
    link.coming_back.by_hand = True
    point = Endpoint(talk, link)
    cut = await broken(talk, point=point)
    await link.alive()
    real = cut.last_event_id
    if not cut.answered:
        # what was not heard of the stream has ids, too
        rest = await point.open(real, whole=True)
        await point.answer(rest.exchange)
    for found in (
        "0",
        "-1",
        "' OR 1=1 --",
        "../../etc/passwd",
        "x" * 2000,
        f"{real[:-1]}{'a' if real[-1] != 'a' else 'b'}",
        real[::-1],
        f"{real}0",
    ):
        if found in point.link.event_ids:
            continue
        opened = await point.open(found)
        fine = opened.streams or opened.status in CLIENT_ERRORS
        check(fine, f"Last-Event-ID: {found[:40]} got {opened}")
        await point.link.alive()
        values = [
            each
            for each in point.so_far(opened.exchange).messages
            if (each.method == PROGRESS and each.params.get("progress") in cut.seen)
            or each.kind is Kind.RESULT
        ]
        check(not values, f"Last-Event-ID: {found[:40]} brought what nobody has missed")
        await point.wire.cut(opened.exchange)


# Streams that a server opens to be polled

case = page.server(WITH_PRIMING, bindings=STREAMABLE, needs=("found:polling",))
sending_messages_to_the_server = case.at("sending-messages-to-the-server")


@sending_messages_to_the_server.should(
    "The first event of a stream has an id and no data.", needs=("found:event-ids",)
)
async def priming(talk: ServerTalk, point: OpenEndpoint) -> None:
    """An event stream opens with an event by which it can be picked up."""
    sent = await point.call(await watched(talk, "event-ids"), "kit")
    answer = await point.answer(sent.exchange)
    marks = [each.source.event_id for each in answer.messages if each.source.event_id]
    if not answer.streams or not (marks or answer.events):
        talk.skip("the server answers with JSON, or its events have no ids")
    events = [each for each in answer.events if not each.comment]
    first = min((each.at for each in events), default=None)
    check(first is not None, "the stream does not open with an empty event")
    assert first is not None
    begins = events[0]
    check(bool(begins.event_id) and not begins.data, f"the first event is {_shown(begins)}")
    early = [each for each in answer.messages if each.source.at < first]
    check(not early, "the event with an id and no data comes after a message")


def _shown(event: Event) -> str:
    return f"id {event.event_id!r}, data {event.data[:40]!r}"


@sending_messages_to_the_server.should("retry, then the end of the connection.")
async def retry_before_closing(talk: ServerTalk) -> None:
    """A server that closes a connection before the response says when to come back."""
    point = await endpoint(talk, by_hand=True)
    sent = await point.call(await watched(talk, "polling"), "kit")
    answer = await point.answer(sent.exchange)
    if not answer.streams or answer.result is not None:
        talk.skip("the server does not close the connection before it answers")
    retries = [each.retry for each in answer.events]
    retries += [each.source.retry for each in answer.messages]
    check(any(each is not None for each in retries), "the connection was closed without retry")


@sending_messages_to_the_server.should("The response comes when the client is back.")
async def polling(talk: ServerTalk) -> None:
    """A stream whose connection the server closed brings its response in the end."""
    point = await endpoint(talk, by_hand=True)
    sent = await point.call(await watched(talk, "polling"), "kit")
    answer = await point.answer(sent.exchange)
    if not answer.streams or answer.result is not None:
        talk.skip("the server does not close the connection before it answers")
    for _ in range(20):
        mark = await last_id(point, answer.exchange)
        check(mark, "the connection was closed before an event with an id had come")
        retries = [each.retry for each in answer.events if each.retry is not None]
        await talk.advance(min(retries[-1] if retries else 100, 1000) / 1000)
        opened = await point.open(mark)
        check(opened.streams, f"the client that comes back got {opened}")
        answer = await point.answer(opened.exchange)
        if answer.result is not None:
            check(answer.messages[-1].id == sent.id, "the response is that of another request")
            return
        if await last_id(point, answer.exchange) is None:
            answer.exchange = sent.exchange
    check(False, "the response did not come, however often the client came back")
