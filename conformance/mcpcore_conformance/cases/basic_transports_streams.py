"""Cases of the page basic/transports: which message goes over which stream of Streamable HTTP."""

import json
from collections import Counter
from typing import Any

from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.asking import QUESTIONS, at_rest
from mcpcore_conformance.kit.endpoint import (
    ACCEPTED,
    CLIENT_ERRORS,
    EVENT_STREAM,
    METHOD_NOT_ALLOWED,
    OK,
    WITH_SESSIONS,
    Answer,
    Endpoint,
    check_served,
    endpoint,
)
from mcpcore_conformance.kit.messages import Kind, Message, result
from mcpcore_conformance.kit.model import STREAMABLE, Page
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.running import AFTERWARDS, over_too_soon, reporting
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.trying import asker, own_questions, unanswering
from mcpcore_conformance.kit.verdicts import check
from mcpcore_conformance.kit.watched import Watched
from mcpcore_conformance.kit.watching import PROGRESS, any_call, watched

page = Page("basic/transports")
case = page.server(WITH_SESSIONS, bindings=STREAMABLE)

LISTS_CHANGED = "notifications/tools/list_changed"
CHANGES = "test_trigger_tool_change"
RESPONSES = (Kind.RESULT, Kind.ERROR)
WITH_PROGRESS = ("found:progress",)


async def listening(talk: ServerTalk, point: Endpoint) -> Answer:
    """An open GET stream; servers need not have any."""
    stream = await point.open()
    if not stream.streams:
        talk.skip("the server opens no stream by GET")
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


@case.must(
    "listening-for-messages-from-the-server/stream-or-405",
    "Status 200 with text/event-stream, or 405.",
)
async def stream_or_405(talk: ServerTalk) -> None:
    """A GET is answered with an event stream or with 405."""
    point = await endpoint(talk)
    answer = await point.open()
    if answer.status == OK:
        check(answer.kind == EVENT_STREAM, f"GET was answered as {answer.kind!r}")
    else:
        check(answer.status == METHOD_NOT_ALLOWED, f"GET got {answer}, not an event stream or 405")


@case.may(
    "listening-for-messages-from-the-server/accept",
    "406, 405 or 400: a client that takes no events gets no stream of them.",
)
async def get_accept(talk: ServerTalk) -> None:
    """A GET that does not accept events is given none."""
    point = await endpoint(talk)
    answer = await point.open(
        headers=[("accept", "application/json"), *point.wire.headers_for(None)]
    )
    check(answer.status in CLIENT_ERRORS, f"a GET that accepts JSON only got {answer}")


@case.must(
    "listening-for-messages-from-the-server/no-responses",
    "Answers come on the responses to their POSTs.",
)
async def no_responses(talk: ServerTalk) -> None:
    """No response goes over a GET stream."""
    point = await endpoint(talk)
    stream = await listening(talk, point)
    method, params = talk.any_request()
    for message in (point.message(), point.message(method, params), point.message("kit/none")):
        answer = await point.post(message)
        check(any(each.kind in RESPONSES for each in answer.messages), f"got {answer} alone")
    await point.link.quiet()
    strays = [each for each in point.so_far(stream.exchange).messages if each.kind in RESPONSES]
    check(not strays, f"the GET stream brought {len(strays)} responses")


@case.should(
    "listening-for-messages-from-the-server/unrelated-only",
    "Progress of a running request comes on the stream of its POST, if it has one.",
    needs=WITH_PROGRESS,
)
async def unrelated_only(talk: ServerTalk) -> None:
    """What belongs to a running request does not go over the GET stream."""
    point = await endpoint(talk)
    stream = await listening(talk, point)
    token = str(talk.fresh_id())
    answer = await point.answer((await calling(point, token)).exchange)
    check_served(answer, "a call with progress")
    await point.link.quiet()
    strays = reported(point.so_far(stream.exchange), token)
    check(not strays, "the progress of a call came on the GET stream")


@case.should(
    "listening-for-messages-from-the-server/questions-on-their-stream",
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
    if not found:
        talk.skip("the call asks nothing")
    for one in found:
        check(one.placed, f"{one.message.method} of a call came on the GET stream")


@case.must(
    "sending-messages-to-the-server/answer-accepted",
    "Status 202 and no body.",
    needs=("found:question",),
)
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
    if not found():
        talk.skip("the call asks nothing")
    return found()[0]


def _none(_message: Message) -> None:
    return None


def silent() -> Answering:
    """A client that leaves questions to its model open."""
    return Answering({"sampling/createMessage": _none})


def sampled(text: str) -> dict[str, Any]:
    """What a client's model said."""
    return {"role": "assistant", "content": {"type": "text", "text": text}, "model": "kit"}


@case.should("sending-messages-to-the-server/unknown-answer", "202 or 4xx; the session goes on.")
async def unknown_answer(talk: ServerTalk) -> None:
    """An answer to nothing does no harm."""
    point = await endpoint(talk)
    answer = await point.post(result("kit-none", {}))
    taken = answer.status == ACCEPTED or answer.status in CLIENT_ERRORS
    check(taken, f"an answer to nothing got {answer}")
    await point.link.alive()


@case.should(
    "sending-messages-to-the-server/stream-kept-open",
    "The response comes on the stream of its POST.",
)
async def stream_kept_open(talk: ServerTalk) -> None:
    """The stream of a request brings its response before it ends."""
    point = await endpoint(talk, by_hand=not talk.revision.priming)
    answer = await point.answer((await point.call(any_call(talk), "kit")).exchange)
    came = any(each.kind in RESPONSES for each in answer.messages)
    check(came, f"the stream of a call ended with {answer}")


@case.must(
    "sending-messages-to-the-server/each-on-its-own",
    "Every response is on the response to the POST of its request.",
)
async def each_on_its_own(talk: ServerTalk) -> None:
    """Of several requests at a time, each is answered on its own stream, once."""
    point = await endpoint(talk)
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


@case.must(
    "multiple-connections/beside-a-call",
    "The other requests are answered while the call runs.",
    needs=("tool:test_wait",),
)
async def beside_a_call(talk: ServerTalk) -> None:
    """A running call holds up neither requests nor streams of its session."""
    point = await endpoint(talk)
    method, params = talk.slow_call()
    sent = await point.link.say(point.message(method, params))
    check_served(await point.post(point.message()), "a request beside a running call")
    await point.link.cancel(sent)


@case.must(
    "multiple-connections/no-broadcast",
    "A notification comes on one of the open streams, not on several.",
    needs=("tools.listChanged", "tool:test_trigger_tool_change", "tool:test_tool_with_progress"),
)
async def no_broadcast(talk: ServerTalk) -> None:
    """With two GET streams and a POST stream open, a notification goes over one of them.

    Only of the fixture it is known what changes a list, and what leaves its stream open meanwhile.
    """
    point = await endpoint(talk)
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
        if not seen:
            talk.skip(f"{LISTS_CHANGED} came on no stream")
        # one that comes besides may be of another change: not if it comes twice
        several += len(seen) > 1
        check(several < 2, f"{LISTS_CHANGED} came on {len(seen)} streams of one session")
        if not early and len(seen) == 1:
            return
    raise over_too_soon("the call that changes the list")


@case.must(
    "multiple-connections/progress-once",
    "Each report of progress comes once, on one stream.",
    needs=WITH_PROGRESS,
)
async def progress_once(talk: ServerTalk) -> None:
    """With a GET stream and three calls, no report of progress comes twice."""
    point = await endpoint(talk)
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
