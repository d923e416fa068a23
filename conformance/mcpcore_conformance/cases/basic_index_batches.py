"""Cases of the page basic/index: batches, which 2025-03-26 has and later revisions do not."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from mcpcore_conformance.kit.heard import Head
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Kind,
    Message,
    error,
    notification,
    request,
    result,
)
from mcpcore_conformance.kit.model import EVERY, ONLY_2025_03_26, SINCE_2025_06_18, Binding, Page
from mcpcore_conformance.kit.probes import (
    CLIENT_ERRORS,
    answers,
    check_code,
    headers_as_for,
    plain_request,
    rejected,
    unanswered,
)
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/index")

case = page.server(ONLY_2025_03_26)
WITHOUT = SINCE_2025_06_18


async def _answered(link: Link, batch: Sequence[Any], count: int) -> list[Message]:
    """Send a batch and wait for so many answers; there must be no more of them."""
    spoilt = link.spoilt
    sent = await link.say([*batch])
    await link.until(lambda: len(answers(link)) >= count or link.over(sent))
    if link.wire.binding is Binding.HTTP:
        await link.until(lambda: link.over(sent))
    found = answers(link)
    link.inbox[:] = [each for each in link.inbox if each not in found]
    await link.alive()
    found += answers(link)
    check(
        len(found) == count,
        f"{count} answers are owed, {len(found)} came: {[each.value for each in found]}",
    )
    link.spoilt = spoilt
    return found


def _ids(found: Sequence[Message]) -> Counter[Any]:
    return Counter(None if each.id is UNSET else each.id for each in found)


def _pings(talk: ServerTalk, count: int) -> list[dict[str, Any]]:
    return [request(talk.fresh_id(), "ping") for _ in range(count)]


@case.must("batching/requests", "Each request is answered once, with its id; the order is free.")
async def requests(talk: ServerTalk) -> None:
    """A batch of requests is received, and each of them is answered."""
    link = await talk.open()
    method, params = talk.any_request()
    batch = [*_pings(talk, 2), request(talk.fresh_id(), method, params)]
    found = await _answered(link, batch, 3)
    wanted = Counter(each["id"] for each in batch)
    check(_ids(found) == wanted, f"the ids {list(wanted)} were answered with {list(_ids(found))}")
    check(all(each.kind is Kind.RESULT for each in found), "a request of the batch failed")


@case.must("batching/one-request", "Its result.")
async def one_request(talk: ServerTalk) -> None:
    """A batch may have one element."""
    link = await talk.open()
    (ping,) = batch = _pings(talk, 1)
    (found,) = await _answered(link, batch, 1)
    check(found.answers(ping["id"]), f"the request {ping['id']} was answered with {found.value}")


@case.must("batching/with-notifications", "The requests are answered, the notifications are not.")
async def with_notifications(talk: ServerTalk) -> None:
    """In a batch of requests and notifications only the requests are answered."""
    link = await talk.open()
    first, second = _pings(talk, 2)
    silent = notification("notifications/cancelled", {"requestId": talk.fresh_id()})
    found = await _answered(link, [silent, first, notification("kit/nothing"), second], 2)
    check(_ids(found) == Counter([first["id"], second["id"]]), f"the ids are {list(_ids(found))}")


@case.must("batching/notifications-only", "Nothing; over HTTP 202 without a body.")
async def notifications_only(talk: ServerTalk) -> None:
    """A batch of notifications is not answered, not even with an empty array."""
    link = await talk.open()
    batch = [notification("notifications/cancelled", {"requestId": talk.fresh_id()})] * 2
    _accepted(await unanswered(link, {"a batch of notifications": batch}))


@case.must("batching/answers-only", "Nothing; over HTTP 202 without a body, or a status of 4xx.")
async def answers_only(talk: ServerTalk) -> None:
    """A batch of answers is not answered."""
    link = await talk.open()
    batch = [result(talk.fresh_id(), {}), error(talk.fresh_id(), -32603, "nothing")]
    await unanswered(link, {"a batch of answers": batch})
    await link.alive()


def _accepted(heads: dict[str, Head]) -> None:
    for what, head in heads.items():
        check(head.status == 202, f"{what} got HTTP status {head.status}, not 202")


@case.must(
    "batching/empty",
    "One error -32600 without an id, not an array; over HTTP a bare status of 4xx will do.",
)
async def empty(talk: ServerTalk) -> None:
    """An empty batch is an invalid request."""
    link = await talk.open()
    reply = await rejected(link, [], "an empty batch")
    check_code(reply, "an empty batch", [INVALID_REQUEST])
    data = reply.message.source.data if reply.message is not None else b""
    check(not data.lstrip().startswith(b"["), f"an empty batch was answered with {data!r}")


@case.must("batching/errors", "The error -32601 with its id, and the results of the others.")
async def errors(talk: ServerTalk) -> None:
    """A request of a batch that fails does not take the others with it."""
    link = await talk.open()
    ping, bad = _pings(talk, 2)
    bad["method"] = "kit/no-such-method"
    found = {each.id: each for each in await _answered(link, [bad, ping], 2)}
    check(set(found) == {ping["id"], bad["id"]}, f"the ids are {list(found)}")
    check(found[ping["id"]].kind is Kind.RESULT, "the good request failed as well")
    check(found[bad["id"]].kind is Kind.ERROR, "the bad request succeeded")
    code = found[bad["id"]].code
    check(code == METHOD_NOT_FOUND, f"the bad request got the error {code}, not -32601")


@case.should(
    "batching/invalid-elements",
    "An error -32600 without an id for each element; over HTTP a bare 4xx will do.",
)
async def invalid_elements(talk: ServerTalk) -> None:
    """A batch of things that are no messages is refused, element by element."""
    link = await talk.open()
    spoilt = link.spoilt
    sent = await link.say([1, "text", None])
    await link.until(lambda: len(answers(link)) >= 3 or link.over(sent))
    head = link.heads.get(sent.exchange)
    found = answers(link)
    refused = head is not None and head.status in CLIENT_ERRORS
    check(found or refused, "nothing came")
    for each in found:
        check(each.kind is Kind.ERROR, f"an element got a result: {each.value}")
        check(each.code == INVALID_REQUEST, f"an element got the error {each.code}, not -32600")
        link.inbox.remove(each)
    check(refused or len(found) == 3, f"3 errors are owed, {len(found)} came")
    link.spoilt = spoilt
    await link.alive()


@case.should(
    "batching/partly-invalid", "The result of the request, and an error -32600 without an id."
)
async def partly_invalid(talk: ServerTalk) -> None:
    """In a batch with one element that is no message, the request is served all the same."""
    link = await talk.open()
    (ping,) = _pings(talk, 1)
    found = await _answered(link, [17, ping], 2)
    check(_ids(found) == Counter([ping["id"], None]), f"the ids are {list(_ids(found))}")
    codes = [each.code for each in found if each.kind is Kind.ERROR]
    check(codes == [INVALID_REQUEST], f"the errors are {codes}, not one -32600")


@case.should("batching/nested", "An error; nothing of it is carried out.")
async def nested(talk: ServerTalk) -> None:
    """A batch inside a batch is no message."""
    link = await talk.open()
    reply = await rejected(link, [_pings(talk, 2)], "a batch inside a batch")
    check_code(reply, "a batch inside a batch", [INVALID_REQUEST])
    await link.alive()


@case.should(
    "batching/duplicate-ids",
    "Two answers with the id, the second perhaps an error; nobody waits for ever.",
)
async def duplicate_ids(talk: ServerTalk) -> None:
    """Two requests with one id in a batch are both answered."""
    link = await talk.open()
    (ping,) = _pings(talk, 1)
    found = await _answered(link, [ping, ping], 2)
    check(set(_ids(found)) <= {ping["id"], None}, f"the ids are {list(_ids(found))}")


@case.should("batching/many", "Each request is answered once.")
async def many(talk: ServerTalk) -> None:
    """A batch of fifty requests is nothing special."""
    link = await talk.open()
    batch = _pings(talk, 50)
    found = await _answered(link, batch, 50)
    check(_ids(found) == Counter(each["id"] for each in batch), "the ids are not those asked for")


@case.should(
    "batching/one-array",
    "One array with an answer to each request.",
    bindings=EVERY - {Binding.HTTP},
)
async def one_array(talk: ServerTalk) -> None:
    """The answers to a batch come as a batch."""
    link = await talk.open()
    found = await _answered(link, _pings(talk, 2), 2)
    same = found[0].source is found[1].source
    check(same, "the answers came as two messages")


@case.should(
    "messages/no-batches",
    "An error -32600, over HTTP a bare status of 4xx; none of its requests is carried out.",
    WITHOUT,
)
async def removed(talk: ServerTalk) -> None:
    """A batch is no message any more."""
    link = await talk.open()
    method = plain_request(link)
    single = [request(talk.fresh_id(), method, link.params())]
    several = [request(talk.fresh_id(), method, link.params()) for _ in range(2)]
    for what, batch in {"a batch of one": single, "a batch": several, "an empty batch": []}.items():
        reply = await rejected(link, batch, what, headers=headers_as_for(link, method))
        check_code(reply, what, [INVALID_REQUEST])
    await link.alive()
