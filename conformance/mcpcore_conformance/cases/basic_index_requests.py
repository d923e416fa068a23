"""Cases of the page basic/index: requests, their ids, batches and ``_meta``."""

from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from msgspec import UNSET

from mcpcore.spec.revisions import LATEST_LEGACY
from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_PROTOCOL_VERSION,
)
from mcpcore_conformance.kit.asking import needs_input
from mcpcore_conformance.kit.heard import Head
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    UNSUPPORTED_VERSION,
    Kind,
    Message,
    error,
    notification,
    request,
    result,
)
from mcpcore_conformance.kit.model import (
    ALL,
    EVERY,
    MODERN,
    ONE_CHANNEL,
    ONLY_2025_03_26,
    SINCE_2025_06_18,
    SINCE_2025_11_25,
    Binding,
    Page,
)
from mcpcore_conformance.kit.probes import (
    CLIENT_ERRORS,
    answers,
    check_code,
    check_good,
    headers_as_for,
    outcome,
    plain_request,
    rejected,
    unanswered,
)
from mcpcore_conformance.kit.reply import Reply, Sent
from mcpcore_conformance.kit.running import LONGER, over_too_soon
from mcpcore_conformance.kit.talk import AnyMethod, AnyParams, NewLink, OpenLink, ServerTalk
from mcpcore_conformance.kit.trying import ask, needy
from mcpcore_conformance.kit.usable import members
from mcpcore_conformance.kit.verdicts import Broken, check, need

page = Page("basic/index")
case = page.server()
result_responses = case.at("result-responses")
requests_cases = case.at("requests")

SAFE = 2**53 - 1
"""The largest integer that every reader of JSON keeps."""


async def _echoed(link: Link, id: Any) -> None:
    reply = await outcome(link, await link.send(plain_request(link), id=id))
    others = [each.id for each in answers(link)]
    check(
        reply.good and reply.message is not None and reply.message.answers(id),
        f"the request with the id {_shown(id)} got {others or reply}, no result with its id",
    )


def _shown(id: Any) -> str:
    text = repr(id)
    return text if len(text) <= 60 else f"{text[:60]}... ({len(text)} characters)"


@result_responses.must("The answer carries the same integer: as a number, with the same value.")
async def integer_ids(link: OpenLink) -> None:
    """Integer ids come back as they were: zero, negative, and up to 2^53 - 1."""
    for id in (0, -1, -SAFE, 2**31, 2**32 + 1, SAFE):
        await _echoed(link, id)


@result_responses.must("The answer carries the same string: also one that looks like a number.")
async def string_ids(link: OpenLink) -> None:
    """String ids come back as they were: empty, like a number, long, with any characters."""
    odd = (
        'quote"backslash\\',
        "line\nbreak\ttab",
        "\u2028\u2029",
        "é ẞ 漢字 🎉",
        "\x00",
        "e\u0301",
    )
    for id in ("", "0", "17", "1.5", "null", "true", " padded ", "x" * 2000, *odd):
        await _echoed(link, id)


@result_responses.should("The answer carries exactly the same integer.")
async def large_integer_ids(link: OpenLink) -> None:
    """Integer ids beyond 2^53, as 64 bits have them, are not rounded."""
    for id in (2**53 + 1, 2**63 - 1, -(2**63)):
        await _echoed(link, id)


@result_responses.may("The same integer, or an error without an id; never another number.")
async def huge_integer_ids(link: OpenLink) -> None:
    """Integer ids of more than 64 bits are kept, or refused as invalid requests."""
    for id in (2**64, 10**29 + 1):
        reply = await outcome(link, await link.send(plain_request(link), id=id))
        others = [each.id for each in answers(link)]
        check(
            reply.message is not None or (reply.status or 0) >= 400,
            f"the request with the id {id} got {others or reply}",
        )


@result_responses.must('7 and "7" are two ids: each request gets the answer with its own.')
async def number_and_string(link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """An integer id and a string id with the same digits are in flight together."""
    first = await link.send(method, params, id=7)
    other = "ping" if link.revision.handshake else plain_request(link)
    second = await link.send(other, id="7")
    plain, listed = await link.reply(second), await link.reply(first)
    check_good(plain, 'the request with the id "7"')
    check_good(listed, "the request with the id 7")
    check(
        not link.revision.handshake or not set(plain.result) - {"_meta"},
        f'the ping with the id "7" was answered with {plain.result!r:.80}',
        "ping",
    )


@result_responses.must("Every request gets an answer with its id, in whatever order.")
async def many_in_flight(link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """Many requests that are sent without waiting are each answered."""
    sent = [
        await link.send(*((method, params) if number % 2 else (plain_request(link),)))
        for number in range(20)
    ]
    for each in sent:
        check_good(await link.reply(each), f"{each.method} with the id {each.id}")
    await link.alive()


@requests_cases.should(
    "An error (-32600) without an id, or over HTTP a bare 4xx; it is not carried out."
)
async def id_null(link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """A request whose id is null is an invalid request, and not a notification."""
    payload = request(None, method, link.params(params))
    reply = await rejected(link, payload, "a request with the id null")
    check_code(reply, "a request with the id null", [INVALID_REQUEST])


@requests_cases.should(
    "An error (-32600) without an id, or over HTTP a bare 4xx; it is not carried out."
)
async def id_type(link: OpenLink) -> None:
    """A request whose id is neither a string nor an integer is an invalid request."""
    for id in (1.5, True, False, {}, {"id": 1}, [], [1]):
        payload = request(id, plain_request(link), link.params())
        what = f"a request with the id {id!r}"
        check_code(await rejected(link, payload, what), what, [INVALID_REQUEST])


@requests_cases.should(
    "An error (-32600), or over HTTP a bare status of 4xx; it is not carried out."
)
async def version_member(link: OpenLink) -> None:
    """A request that does not say jsonrpc 2.0 is an invalid request."""
    for version in (UNSET, "1.0", "2", "2.0 ", 2, 2.0, None, ["2.0"]):
        id = link.id()
        payload = request(id, plain_request(link), link.params())
        if version is UNSET:
            del payload["jsonrpc"]
        else:
            payload["jsonrpc"] = version
        what = "no jsonrpc member" if version is UNSET else f"jsonrpc {version!r}"
        check_code(await rejected(link, payload, what, id=id), what, [INVALID_REQUEST])


@requests_cases.should(
    "An error (-32600), or over HTTP a bare status of 4xx; it is not carried out."
)
async def method_type(link: OpenLink) -> None:
    """A request whose method is no string, or that has none, is an invalid request."""
    for method in (UNSET, None, 1, True, ["ping"], {"name": "ping"}):
        id = link.id()
        payload = request(id, "", link.params())
        if method is UNSET:
            del payload["method"]
        else:
            payload["method"] = method
        what = "no method" if method is UNSET else f"the method {method!r}"
        headers = {"mcp-method": str(method)} if link.revision.mirror_headers else None
        reply = await rejected(link, payload, what, id=id, headers=headers)
        check_code(reply, what, [INVALID_REQUEST])


@requests_cases.should(
    "The error -32602 or -32600 with the request's id, or over HTTP a bare status of 4xx."
)
async def params_type(talk: ServerTalk, link: OpenLink) -> None:
    """Params that are no object are refused."""
    method, _ = talk.any_request()
    for params in ([], [1], "text", 5, True):
        id = link.id()
        what = f"params {params!r}"
        reply = await rejected(link, request(id, method, params), what, id=id)
        check_code(reply, what, [INVALID_PARAMS, INVALID_REQUEST])


@requests_cases.must("A result; in the modern era with nothing but _meta in the params.")
async def without_params(talk: ServerTalk, link: OpenLink) -> None:
    """A request whose parameters are all optional may leave them out, or send none of them."""
    for method in talk.features.lists or [plain_request(link)]:
        check_good(await link.request(method), f"{method} without parameters")
        check_good(await link.request(method, {}), f"{method} with empty params")


@requests_cases.should("A result: what is not known is left alone.")
async def unknown_members(link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """Members that nobody knows, in the envelope or in the params, are no reason to refuse."""
    spoilt = link.spoilt
    id = link.id()
    extra = {"org.example/x": {"deep": [1, None, {"er": True}]}, "trace": "t-1"}
    payload = {**request(id, method, link.params({**params, **extra})), **extra}
    check_good(await link.reply(await link.say(payload)), "a request with unknown members")
    link.spoilt = spoilt


@case.must("error-responses", "The error -32601 with the request's id.")
async def unknown_method(link: OpenLink) -> None:
    """A method that does not exist gets the error that JSON-RPC has for it."""
    methods = (
        "kit/no-such-method",
        "tools",
        "tools/",
        "tools/list/all",
        "rpc.discover",
        "constructor",
        "__proto__",
        "__class__",
        "x" * 1000,
    )
    for method in methods:
        (await link.request(method)).failed_with(METHOD_NOT_FOUND)


@case.should("error-responses", "The error -32601: methods are compared character by character.")
async def method_case(link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """The name of a method in other letters is the name of no method."""
    for other in (method.upper(), method.title(), method.replace("/", ".")):
        if other == method:
            continue
        (await link.request(other, params)).failed_with(METHOD_NOT_FOUND)


@requests_cases.should(
    "Both requests are answered, the second perhaps with an error; nobody waits for ever."
)
async def duplicate_in_flight(talk: ServerTalk, link: OpenLink) -> None:
    """Two requests with one id, sent without waiting, are both answered."""
    method, params = talk.any_request()
    id = talk.fresh_id()
    await _both_answered(link, [await link.send(method, params, id=id) for _ in range(2)])


@requests_cases.should(
    "Both are answered, each on its own way; the second perhaps with an error.",
    needs=("tool:test_wait",),
)
async def duplicate_of_slow(talk: ServerTalk, link: OpenLink) -> None:
    """A request with the id of a call that still runs is answered, and so is the call."""
    for seconds in LONGER:
        id, began = talk.fresh_id(), talk.stage.now()
        sent = [await link.send(*talk.slow_call(seconds), id=id)]
        sent.append(await link.send(plain_request(link), id=id))
        behind = talk.stage.now() - began
        await _both_answered(link, sent, link.patience + seconds)
        if behind < seconds:
            return
    raise over_too_soon("a request with its id")


async def _both_answered(link: Link, sent: list[Sent], within: float | None = None) -> None:
    id = sent[0].id

    def found() -> list[Any]:
        return [each for each in answers(link) if each.answers(id) or each.id in (None, UNSET)]

    await link.until(lambda: len(found()) == len(sent) or all(map(link.over, sent)), within)
    # over HTTP a refusal may be a status alone
    statuses = [
        head
        for each in sent
        if (head := link.heads.get(each.exchange)) is not None
        and not any(one.source.exchange == each.exchange for one in found())
        and head.status >= 400
    ]
    count = len(found()) + len(statuses)
    check(count == len(sent), f"{len(sent)} requests with the id {id!r} got {count} answers")
    if link.wire.binding is Binding.HTTP:
        exchanges = {each.source.exchange for each in found()}
        check(
            exchanges <= {each.exchange for each in sent},
            "an answer came on the stream of neither request",
        )
        check(len(exchanges) + len(statuses) == len(sent), "both answers came on one response")
    for each in sent:
        await link.reply(each, 0.0)
    await link.alive()


# Batches, which 2025-03-26 has and later revisions do not

case = page.server(ONLY_2025_03_26)
batching = case.at("batching")
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


@batching.must("Each request is answered once, with its id; the order is free.")
async def requests(talk: ServerTalk, link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """A batch of requests is received, and each of them is answered."""
    batch = [*_pings(talk, 2), request(talk.fresh_id(), method, params)]
    found = await _answered(link, batch, 3)
    wanted = Counter(each["id"] for each in batch)
    check(_ids(found) == wanted, f"the ids {list(wanted)} were answered with {list(_ids(found))}")
    check(all(each.kind is Kind.RESULT for each in found), "a request of the batch failed")


@batching.must("Its result.")
async def one_request(talk: ServerTalk, link: OpenLink) -> None:
    """A batch may have one element."""
    (ping,) = batch = _pings(talk, 1)
    (found,) = await _answered(link, batch, 1)
    check(found.answers(ping["id"]), f"the request {ping['id']} was answered with {found.value}")


@batching.must("The requests are answered, the notifications are not.")
async def with_notifications(talk: ServerTalk, link: OpenLink) -> None:
    """In a batch of requests and notifications only the requests are answered."""
    first, second = _pings(talk, 2)
    silent = notification("notifications/cancelled", {"requestId": talk.fresh_id()})
    found = await _answered(link, [silent, first, notification("kit/nothing"), second], 2)
    check(_ids(found) == Counter([first["id"], second["id"]]), f"the ids are {list(_ids(found))}")


@batching.must("Nothing; over HTTP 202 without a body.")
async def notifications_only(talk: ServerTalk, link: OpenLink) -> None:
    """A batch of notifications is not answered, not even with an empty array."""
    batch = [notification("notifications/cancelled", {"requestId": talk.fresh_id()})] * 2
    _accepted(await unanswered(link, {"a batch of notifications": batch}))


@batching.must("Nothing; over HTTP 202 without a body, or a status of 4xx.")
async def answers_only(talk: ServerTalk, link: OpenLink) -> None:
    """A batch of answers is not answered."""
    batch = [result(talk.fresh_id(), {}), error(talk.fresh_id(), -32603, "nothing")]
    await unanswered(link, {"a batch of answers": batch})
    await link.alive()


def _accepted(heads: dict[str, Head]) -> None:
    for what, head in heads.items():
        check(head.status == 202, f"{what} got HTTP status {head.status}, not 202")


@batching.must(
    "One error -32600 without an id, not an array; over HTTP a bare status of 4xx will do."
)
async def empty(link: OpenLink) -> None:
    """An empty batch is an invalid request."""
    reply = await rejected(link, [], "an empty batch")
    check_code(reply, "an empty batch", [INVALID_REQUEST])
    data = reply.message.source.data if reply.message is not None else b""
    check(not data.lstrip().startswith(b"["), f"an empty batch was answered with {data!r}")


@batching.must("The error -32601 with its id, and the results of the others.")
async def errors(talk: ServerTalk, link: OpenLink) -> None:
    """A request of a batch that fails does not take the others with it."""
    ping, bad = _pings(talk, 2)
    bad["method"] = "kit/no-such-method"
    found = {each.id: each for each in await _answered(link, [bad, ping], 2)}
    check(set(found) == {ping["id"], bad["id"]}, f"the ids are {list(found)}")
    check(found[ping["id"]].kind is Kind.RESULT, "the good request failed as well")
    check(found[bad["id"]].kind is Kind.ERROR, "the bad request succeeded")
    code = found[bad["id"]].code
    check(code == METHOD_NOT_FOUND, f"the bad request got the error {code}, not -32601")


@batching.should("An error -32600 without an id for each element; over HTTP a bare 4xx will do.")
async def invalid_elements(link: OpenLink) -> None:
    """A batch of things that are no messages is refused, element by element."""
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


@batching.should("The result of the request, and an error -32600 without an id.")
async def partly_invalid(talk: ServerTalk, link: OpenLink) -> None:
    """In a batch with one element that is no message, the request is served all the same."""
    (ping,) = _pings(talk, 1)
    found = await _answered(link, [17, ping], 2)
    check(_ids(found) == Counter([ping["id"], None]), f"the ids are {list(_ids(found))}")
    codes = [each.code for each in found if each.kind is Kind.ERROR]
    check(codes == [INVALID_REQUEST], f"the errors are {codes}, not one -32600")


@batching.should("An error; nothing of it is carried out.")
async def nested(talk: ServerTalk, link: OpenLink) -> None:
    """A batch inside a batch is no message."""
    reply = await rejected(link, [_pings(talk, 2)], "a batch inside a batch")
    check_code(reply, "a batch inside a batch", [INVALID_REQUEST])
    await link.alive()


@batching.should("Two answers with the id, the second perhaps an error; nobody waits for ever.")
async def duplicate_ids(talk: ServerTalk, link: OpenLink) -> None:
    """Two requests with one id in a batch are both answered."""
    (ping,) = _pings(talk, 1)
    found = await _answered(link, [ping, ping], 2)
    check(set(_ids(found)) <= {ping["id"], None}, f"the ids are {list(_ids(found))}")


@batching.should("Each request is answered once.")
async def many(talk: ServerTalk, link: OpenLink) -> None:
    """A batch of fifty requests is nothing special."""
    batch = _pings(talk, 50)
    found = await _answered(link, batch, 50)
    check(_ids(found) == Counter(each["id"] for each in batch), "the ids are not those asked for")


@batching.should("One array with an answer to each request.", bindings=ONE_CHANNEL)
async def one_array(talk: ServerTalk, link: OpenLink) -> None:
    """The answers to a batch come as a batch."""
    found = await _answered(link, _pings(talk, 2), 2)
    same = found[0].source is found[1].source
    check(same, "the answers came as two messages")


@case.should(
    "messages/no-batches",
    "An error -32600, over HTTP a bare status of 4xx; none of its requests is carried out.",
    WITHOUT,
)
async def removed(talk: ServerTalk, link: OpenLink) -> None:
    """A batch is no message any more."""
    method = plain_request(link)
    single = [request(talk.fresh_id(), method, link.params())]
    several = [request(talk.fresh_id(), method, link.params()) for _ in range(2)]
    for what, batch in {"a batch of one": single, "a batch": several, "an empty batch": []}.items():
        reply = await rejected(link, batch, what, headers=headers_as_for(link, method))
        check_code(reply, what, [INVALID_REQUEST])
    await link.alive()


# ``_meta``, and requests that stand on their own

case = page.server(MODERN)
statelessness = case.at("statelessness")

BAD_REQUEST = 400
VENDOR: dict[str, Any] = {
    "org.example/note": {"deep": [1, {"er": None}]},
    "org.example.kit/": "a name may be empty",
    "plain": True,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
    "tracestate": "kit=1",
    "baggage": "userId=alice",
}


async def _with_meta(link: Link, method: str, params: dict[str, Any], meta: Any) -> Reply:
    """Send a request whose ``_meta`` is exactly this one; None leaves it out."""
    bare = {**params} if meta is None else {**params, "_meta": meta}
    return await link.request(method, bare, bare=True)


async def _incomplete(talk: ServerTalk, meta: Any, what: str) -> None:
    """At the beginning, when nothing has told the era yet, and later on."""
    link = await talk.connect()
    await _refused(talk, link, link.plain, {}, meta, what)
    link = await talk.open()
    await link.alive()
    for method, params in ((link.plain, {}), talk.any_request()):
        await _refused(talk, link, method, params, meta, what)
    await link.alive()


async def _refused(
    talk: ServerTalk, link: Link, method: str, params: dict[str, Any], meta: Any, what: str
) -> None:
    reply = await _with_meta(link, method, params, meta)
    if reply.message is None or reply.message.kind is not Kind.ERROR:
        raise Broken(f"{method} with {what} got {reply}, not the error -32602")
    if talk.binding is Binding.HTTP or method == "server/discover":
        if reply.message.code == INVALID_PARAMS or not await _legacy_too(talk, meta):
            reply.failed_with(INVALID_PARAMS, status=BAD_REQUEST)
        else:
            talk.note(f"{method} with {what} got {reply}, as of a request of an older revision")
    # elsewhere only the method says of which era a request is: this might be a legacy one


async def _legacy_too(talk: ServerTalk, meta: Any) -> bool:
    """Whether a request with this ``_meta`` may be taken for one of an older revision.

    A server of both eras serves by this revision what carries its ``_meta`` (basic/versioning,
    backward compatibility); over HTTP the header says the version, too.
    """
    if talk.binding is Binding.HTTP or (isinstance(meta, dict) and META_PROTOCOL_VERSION in meta):
        return False
    link = await talk.connect(revision=LATEST_LEGACY)
    reply = await link.request("initialize", link.opening())
    return reply.good


def _without(link: Link, *names: str) -> dict[str, Any]:
    return {name: value for name, value in link.meta.items() if name not in names}


@case.must("meta/missing", "The error -32602, over HTTP with the status 400.")
async def meta_missing(talk: ServerTalk) -> None:
    """A request without any _meta is malformed."""
    await _incomplete(talk, None, "no _meta")


@case.must("meta", "The error -32602, over HTTP with the status 400.")
async def version_missing(talk: ServerTalk, link: OpenLink) -> None:
    """A request that does not say its protocol version is malformed."""
    await _incomplete(talk, _without(link, META_PROTOCOL_VERSION), "no protocolVersion in _meta")


@case.must("meta", "The error -32602, over HTTP with the status 400.")
async def capabilities_missing(talk: ServerTalk, link: OpenLink) -> None:
    """A request that does not say what the client can do is malformed."""
    meta = _without(link, META_CLIENT_CAPABILITIES)
    await _incomplete(talk, meta, "no clientCapabilities in _meta")


@case.should("meta", "The error -32602, over HTTP with the status 400 (and perhaps -32020).")
async def field_types(talk: ServerTalk, link: OpenLink) -> None:
    """Required fields of _meta that have a wrong type count as missing."""
    # a method of this era only: of another one it could not be
    method = "server/discover"
    need(link.plain == method, f"the server does not serve {method}")
    good = link.meta
    wrong: tuple[Any, ...] = (
        {**good, META_CLIENT_CAPABILITIES: None},
        {**good, META_CLIENT_CAPABILITIES: []},
        {**good, META_CLIENT_CAPABILITIES: "all"},
        {**good, META_PROTOCOL_VERSION: None},
        {**good, META_PROTOCOL_VERSION: 20260728},
        {**good, META_PROTOCOL_VERSION: [link.revision.name]},
        [],
        "text",
    )
    for meta in wrong:
        reply = await _with_meta(link, method, {}, meta)
        if reply.message is None or reply.message.kind is not Kind.ERROR:
            raise Broken(f"{method} with the _meta {meta!r} got {reply}, not the error -32602")
        # over HTTP such a version does not match its header either
        codes = (
            (INVALID_PARAMS, HEADER_MISMATCH) if talk.binding is Binding.HTTP else (INVALID_PARAMS,)
        )
        if reply.message.code in codes or not await _legacy_too(talk, meta):
            reply.failed_with(*codes, status=BAD_REQUEST)


@case.must("meta", "A result.")
async def client_info_optional(talk: ServerTalk, link: OpenLink) -> None:
    """A request that does not say who the client is, is served."""
    for method, params in ((link.plain, {}), talk.any_request()):
        reply = await _with_meta(link, method, params, _without(link, META_CLIENT_INFO))
        check(reply.good, f"{method} without clientInfo got {reply}")


@case.should("meta", "The same result, whoever the client says it is.")
async def client_info_decides_nothing(link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """Who the client says it is does not change what it gets."""
    infos = (
        {"name": "mcpcore-conformance", "version": "1"},
        {"name": "claude-ai", "version": "0.1.0", "title": "Somebody else"},
        {"name": "", "version": ""},
    )
    seen = [_plain(await link.ask(method, params, meta={META_CLIENT_INFO: info})) for info in infos]
    check(
        all(each == seen[0] for each in seen),
        f"the result of {method} depends on the clientInfo",
    )


@case.should("meta", "A result: keys of vendors, and those of tracing, are left alone.", ALL)
async def other_keys(link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """Keys in _meta that the server does not know are no reason to refuse."""
    reply = await link.request(method, params, meta=VENDOR)
    check(reply.good, f"{method} with {', '.join(VENDOR)} in _meta got {reply}")


@case.must(
    "meta",
    "The error -32021 whose data.requiredCapabilities names it, over HTTP with 400.",
    needs=("found:input",),
)
async def undeclared_capability(talk: ServerTalk) -> None:
    """What needs a capability that the client does not declare is refused by name."""
    which, wanted = await needy(talk)
    reply = await ask(await talk.open(capabilities={}), which)
    if not which.known and not reply.refused:
        talk.skip(f"no tool is refused without a capability: {which} got {reply}")
    error = reply.failed_with(MISSING_CAPABILITY, status=BAD_REQUEST)
    data = error.get("data")
    needed = data.get("requiredCapabilities") if isinstance(data, dict) else None
    named = {name for name in wanted if isinstance(members(needed).get(name), dict)}
    check(
        named,
        f"data.requiredCapabilities is {needed!r}, not an object with {' or '.join(wanted)}",
    )


@case.must("meta", "A result.", needs=("found:input",))
async def declared_capability(talk: ServerTalk) -> None:
    """What needs a capability is served when the request declares it."""
    which, declared = await needy(talk)
    reply = await ask(await talk.open(capabilities=declared), which)
    check(not reply.result.get("isError"), f"the call failed: {reply.result}")


@case.should(
    "icons/sources",
    "src is a URI of http, https or data; mimeType is a string, sizes a list of strings.",
    SINCE_2025_11_25,
)
async def icons(talk: ServerTalk, link: OpenLink) -> None:
    """Icons are found where every client may look for them."""
    owners = [talk.features.server_info]
    lists = (
        ("tools", "tools/list", "tools"),
        ("resources", "resources/list", "resources"),
        ("prompts", "prompts/list", "prompts"),
    )
    for capability, method, member in lists:
        if talk.features.declares(capability):
            owners += (await link.ask(method))[member]
    seen = 0
    for owner in owners:
        listed = owner.get("icons", [])
        name = owner.get("name")
        check(isinstance(listed, list), f"the icons of {name} are no list")
        for icon in listed:
            seen += 1
            source = icon.get("src") if isinstance(icon, dict) else None
            scheme = urlsplit(source).scheme.lower() if isinstance(source, str) else ""
            check(scheme in ("http", "https", "data"), f"an icon of {name} is at {source!r}")
            sizes = icon.get("sizes", [])
            check(
                isinstance(sizes, list) and all(isinstance(each, str) for each in sizes),
                f"an icon of {name} has the sizes {sizes!r}",
            )
    talk.note(f"{seen} icons")


# Statelessness


@case.must(
    "statelessness/capabilities",
    "The error -32021, although an earlier request on the connection declared it.",
    needs=("found:input",),
)
async def capabilities_not_kept(talk: ServerTalk) -> None:
    """Capabilities are those of the request, not those of an earlier one."""
    which, able = await needy(talk)
    link = await talk.open()
    turns: tuple[dict[str, Any], ...] = (able, {}, able)
    for declared in turns:
        params = {**which.params, "_meta": {META_CLIENT_CAPABILITIES: declared}}
        reply = await link.request(which.method, params)
        if declared:
            check(not reply.result.get("isError"), f"with {declared} the call got {reply}")
        elif which.known:
            reply.failed_with(MISSING_CAPABILITY)
        else:
            asks = f"{which} asks a client that has declared nothing"
            check(not needs_input(reply), f"{asks}, as it did before")


@statelessness.must("Each request is judged by its own version, whatever the one before it said.")
async def versions(link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """A request with a version that the server speaks follows one with another version."""
    for version in ("1999-12-31", link.revision.name, "2999-12-31", link.revision.name):
        reply = await link.request(method, params, meta={META_PROTOCOL_VERSION: version})
        if version == link.revision.name:
            check(reply.good, f"after a request of another version, {method} got {reply}")
        else:
            reply.failed_with(UNSUPPORTED_VERSION)


@statelessness.must("A result: nothing has to be said before.")
async def nothing_before(link: NewLink, method: AnyMethod, params: AnyParams) -> None:
    """The first message of a connection may be any request."""
    await link.ask(method, params)


@statelessness.should(
    "Requests that go together may come over two connections, and after one has ended.",
    bindings=EVERY - {Binding.STDIO},
)
async def any_connection(talk: ServerTalk) -> None:
    """A server is the same on every connection."""
    first, second = await talk.connect(), await talk.connect()
    method, params = talk.any_request()
    seen = [_plain(await link.ask(method, params)) for link in (first, second)]
    await first.wire.close()
    talk.links.remove(first)
    seen.append(_plain(await second.ask(method, params)))
    check(all(each == seen[0] for each in seen), f"{method} differs between connections")


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    """Without what may be another one each time."""
    changing = ("_meta", "nextCursor", "ttlMs")
    return {name: value for name, value in result.items() if name not in changing}


@statelessness.should("Each request is served by its own metadata, however they are mixed.")
async def several_conversations(link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """Requests of several clients, with other names and capabilities, are mixed on a connection."""
    sent = []
    for number in range(12):
        meta = {
            META_CLIENT_INFO: {"name": f"client {number % 3}", "version": "1"},
            META_CLIENT_CAPABILITIES: ({}, {"sampling": {}}, {"elicitation": {}})[number % 3],
        }
        sent.append(await link.send(method, params, id=f"{number % 3}/{number}", meta=meta))
    for each in sent:
        reply = await link.reply(each)
        check(reply.good, f"the request {each.id} got {reply}")
