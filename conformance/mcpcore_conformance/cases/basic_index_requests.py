"""Cases of the page basic/index: requests, their ids and their envelope."""

from typing import Any

from msgspec import UNSET

from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Kind,
    request,
)
from mcpcore_conformance.kit.model import Binding, Page
from mcpcore_conformance.kit.probes import answers, check_code, outcome, plain_request, rejected
from mcpcore_conformance.kit.reply import Reply, Sent
from mcpcore_conformance.kit.running import LONGER, over_too_soon
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/index")
case = page.server()

SAFE = 2**53 - 1
"""The largest integer that every reader of JSON keeps."""


def _served(reply: Reply, what: str) -> None:
    served = reply.message is not None and reply.message.kind is Kind.RESULT
    check(served, f"{what} got {reply}", "ping" if reply.sent.method == "ping" else "")


async def _echoed(link: Link, id: Any) -> None:
    reply = await outcome(link, await link.send(plain_request(link), id=id))
    others = [each.id for each in answers(link)]
    check(
        reply.message is not None
        and reply.message.kind is Kind.RESULT
        and reply.message.answers(id),
        f"the request with the id {_shown(id)} got {others or reply}, no result with its id",
    )


def _shown(id: Any) -> str:
    text = repr(id)
    return text if len(text) <= 60 else f"{text[:60]}... ({len(text)} characters)"


@case.must(
    "result-responses/integer-ids",
    "The answer carries the same integer: as a number, with the same value.",
)
async def integer_ids(talk: ServerTalk) -> None:
    """Integer ids come back as they were: zero, negative, and up to 2^53 - 1."""
    link = await talk.open()
    for id in (0, -1, -SAFE, 2**31, 2**32 + 1, SAFE):
        await _echoed(link, id)


@case.must(
    "result-responses/string-ids",
    "The answer carries the same string: also one that looks like a number.",
)
async def string_ids(talk: ServerTalk) -> None:
    """String ids come back as they were: empty, like a number, long, with any characters."""
    link = await talk.open()
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


@case.should("result-responses/large-integer-ids", "The answer carries exactly the same integer.")
async def large_integer_ids(talk: ServerTalk) -> None:
    """Integer ids beyond 2^53, as 64 bits have them, are not rounded."""
    link = await talk.open()
    for id in (2**53 + 1, 2**63 - 1, -(2**63)):
        await _echoed(link, id)


@case.may(
    "result-responses/huge-integer-ids",
    "The same integer, or an error without an id; never another number.",
)
async def huge_integer_ids(talk: ServerTalk) -> None:
    """Integer ids of more than 64 bits are kept, or refused as invalid requests."""
    link = await talk.open()
    for id in (2**64, 10**29 + 1):
        reply = await outcome(link, await link.send(plain_request(link), id=id))
        others = [each.id for each in answers(link)]
        check(
            reply.message is not None or (reply.status or 0) >= 400,
            f"the request with the id {id} got {others or reply}",
        )


@case.must(
    "result-responses/number-and-string",
    '7 and "7" are two ids: each request gets the answer with its own.',
)
async def number_and_string(talk: ServerTalk) -> None:
    """An integer id and a string id with the same digits are in flight together."""
    link = await talk.open()
    method, params = talk.any_request()
    first = await link.send(method, params, id=7)
    other = "ping" if link.revision.handshake else plain_request(link)
    second = await link.send(other, id="7")
    plain, listed = await link.reply(second), await link.reply(first)
    _served(plain, 'the request with the id "7"')
    _served(listed, "the request with the id 7")
    check(
        not link.revision.handshake or not set(plain.result) - {"_meta"},
        f'the ping with the id "7" was answered with {plain.result!r:.80}',
        "ping",
    )


@case.must(
    "result-responses/many-in-flight",
    "Every request gets an answer with its id, in whatever order.",
)
async def many_in_flight(talk: ServerTalk) -> None:
    """Many requests that are sent without waiting are each answered."""
    link = await talk.open()
    method, params = talk.any_request()
    sent = [
        await link.send(*((method, params) if number % 2 else (plain_request(link),)))
        for number in range(20)
    ]
    for each in sent:
        _served(await link.reply(each), f"{each.method} with the id {each.id}")
    await link.alive()


@case.should(
    "requests/id-null",
    "An error (-32600) without an id, or over HTTP a bare 4xx; it is not carried out.",
)
async def id_null(talk: ServerTalk) -> None:
    """A request whose id is null is an invalid request, and not a notification."""
    link = await talk.open()
    method, params = talk.any_request()
    payload = request(None, method, link.params(params))
    reply = await rejected(link, payload, "a request with the id null")
    check_code(reply, "a request with the id null", [INVALID_REQUEST])


@case.should(
    "requests/id-type",
    "An error (-32600) without an id, or over HTTP a bare 4xx; it is not carried out.",
)
async def id_type(talk: ServerTalk) -> None:
    """A request whose id is neither a string nor an integer is an invalid request."""
    link = await talk.open()
    for id in (1.5, True, False, {}, {"id": 1}, [], [1]):
        payload = request(id, plain_request(link), link.params())
        what = f"a request with the id {id!r}"
        check_code(await rejected(link, payload, what), what, [INVALID_REQUEST])


@case.should(
    "requests/version-member",
    "An error (-32600), or over HTTP a bare status of 4xx; it is not carried out.",
)
async def version_member(talk: ServerTalk) -> None:
    """A request that does not say jsonrpc 2.0 is an invalid request."""
    link = await talk.open()
    for version in (UNSET, "1.0", "2", "2.0 ", 2, 2.0, None, ["2.0"]):
        id = link.id()
        payload = request(id, plain_request(link), link.params())
        if version is UNSET:
            del payload["jsonrpc"]
        else:
            payload["jsonrpc"] = version
        what = "no jsonrpc member" if version is UNSET else f"jsonrpc {version!r}"
        check_code(await rejected(link, payload, what, id=id), what, [INVALID_REQUEST])


@case.should(
    "requests/method-type",
    "An error (-32600), or over HTTP a bare status of 4xx; it is not carried out.",
)
async def method_type(talk: ServerTalk) -> None:
    """A request whose method is no string, or that has none, is an invalid request."""
    link = await talk.open()
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


@case.should(
    "requests/params-type",
    "The error -32602 or -32600 with the request's id, or over HTTP a bare status of 4xx.",
)
async def params_type(talk: ServerTalk) -> None:
    """Params that are no object are refused."""
    link = await talk.open()
    method, _ = talk.any_request()
    for params in ([], [1], "text", 5, True):
        id = link.id()
        what = f"params {params!r}"
        reply = await rejected(link, request(id, method, params), what, id=id)
        check_code(reply, what, [INVALID_PARAMS, INVALID_REQUEST])


@case.must(
    "requests/without-params", "A result; in the modern era with nothing but _meta in the params."
)
async def without_params(talk: ServerTalk) -> None:
    """A request whose parameters are all optional may leave them out, or send none of them."""
    link = await talk.open()
    for method in talk.features.lists or [plain_request(link)]:
        _served(await link.request(method), f"{method} without parameters")
        _served(await link.request(method, {}), f"{method} with empty params")


@case.should("requests/unknown-members", "A result: what is not known is left alone.")
async def unknown_members(talk: ServerTalk) -> None:
    """Members that nobody knows, in the envelope or in the params, are no reason to refuse."""
    link = await talk.open()
    method, params = talk.any_request()
    spoilt = link.spoilt
    id = link.id()
    extra = {"org.example/x": {"deep": [1, None, {"er": True}]}, "trace": "t-1"}
    payload = {**request(id, method, link.params({**params, **extra})), **extra}
    _served(await link.reply(await link.say(payload)), "a request with unknown members")
    link.spoilt = spoilt


@case.must("error-responses/unknown-method", "The error -32601 with the request's id.")
async def unknown_method(talk: ServerTalk) -> None:
    """A method that does not exist gets the error that JSON-RPC has for it."""
    link = await talk.open()
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


@case.should(
    "error-responses/method-case", "The error -32601: methods are compared character by character."
)
async def method_case(talk: ServerTalk) -> None:
    """The name of a method in other letters is the name of no method."""
    link = await talk.open()
    method, params = talk.any_request()
    for other in (method.upper(), method.title(), method.replace("/", ".")):
        if other == method:
            continue
        (await link.request(other, params)).failed_with(METHOD_NOT_FOUND)


@case.should(
    "requests/duplicate-in-flight",
    "Both requests are answered, the second perhaps with an error; nobody waits for ever.",
)
async def duplicate_in_flight(talk: ServerTalk) -> None:
    """Two requests with one id, sent without waiting, are both answered."""
    link = await talk.open()
    method, params = talk.any_request()
    id = talk.fresh_id()
    await _both_answered(link, [await link.send(method, params, id=id) for _ in range(2)])


@case.should(
    "requests/duplicate-of-slow",
    "Both are answered, each on its own way; the second perhaps with an error.",
    needs=("tool:test_wait",),
)
async def duplicate_of_slow(talk: ServerTalk) -> None:
    """A request with the id of a call that still runs is answered, and so is the call."""
    link = await talk.open()
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
