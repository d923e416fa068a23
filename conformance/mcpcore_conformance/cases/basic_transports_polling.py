"""Cases of the page basic/transports: streams that a server opens to be polled."""

from mcpcore_conformance.cases.basic_transports_resumption import last_id
from mcpcore_conformance.kit.endpoint import WITH_PRIMING, endpoint
from mcpcore_conformance.kit.heard import Event
from mcpcore_conformance.kit.model import STREAMABLE, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check
from mcpcore_conformance.kit.watching import watched

page = Page("basic/transports")
case = page.server(WITH_PRIMING, bindings=STREAMABLE, needs=("found:polling",))


@case.should(
    "sending-messages-to-the-server/priming",
    "The first event of a stream has an id and no data.",
    needs=("found:event-ids",),
)
async def priming(talk: ServerTalk) -> None:
    """An event stream opens with an event by which it can be picked up."""
    point = await endpoint(talk)
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


@case.should(
    "sending-messages-to-the-server/retry-before-closing", "retry, then the end of the connection."
)
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


@case.should(
    "sending-messages-to-the-server/polling", "The response comes when the client is back."
)
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
