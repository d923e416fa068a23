"""Cases of the page basic/index: what is no message, and what answers, errors and results are."""

import json
from typing import Any

from msgspec import UNSET

from mcpcore.spec.types.base import META_CLIENT_CAPABILITIES, META_PROTOCOL_VERSION
from mcpcore_conformance.kit.account import Unasked
from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    PARSE_ERROR,
    UNSUPPORTED_VERSION,
    Kind,
    encode,
    error,
    notification,
    request,
    result,
)
from mcpcore_conformance.kit.model import EVERY, LEGACY, MODERN, STREAMABLE, Binding, Page
from mcpcore_conformance.kit.probes import (
    CLIENT_ERRORS,
    answers,
    check_code,
    headers_as_for,
    outcome,
    plain_request,
    rejected,
    unanswered,
)
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.talk import AnyMethod, AnyParams, OpenLink, ServerTalk
from mcpcore_conformance.kit.tour import AFTERWARDS, check_asked, check_notified
from mcpcore_conformance.kit.trying import ask, asker
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive, check

page = Page("basic/index")
case = page.server()
messages = case.at("messages")
error_codes = case.at("error-codes")
notifications = case.at("notifications")
requests = case.at("requests")

MANY = 20_000
"""Brackets in each other that no sensible message has."""
MEMBERS = 50_000
LARGE = 8 * 1024 * 1024
"""Bytes that a server may refuse, but has to survive."""
NUMBER = 0x6B6974
"""The id of requests inside what must not be carried out."""


def _spoilt(link: Link, before: str, after: str) -> bytes:
    """A request that would be served if a part of it were not replaced."""
    text = encode(request(NUMBER, plain_request(link), link.params())).decode()
    check(before in text, "the case is out of date")
    return text.replace(before, after, 1).encode()


def _not_json(link: Link) -> dict[str, bytes]:
    whole = encode(request(NUMBER, plain_request(link), link.params()))
    return {
        "half of a request": whole[: len(whole) // 2],
        "a request without its last brace": whole[:-1],
        "a request with a word behind it": whole + b" and more",
        "a request with a brace too many": whole + b"}",
        "two requests on end": whole + whole.replace(str(NUMBER).encode(), b"1"),
        "a word": b"hello",
        "a lone brace": b"{",
        "a string that does not end": b'"jsonrpc',
        "a header of another protocol": b"Content-Length: 17",
        "control characters": b"\x01\x02\x03",
    }


async def _refused(link: Link, text: bytes, what: str, *, owed: bool = False) -> Reply:
    headers = headers_as_for(link, plain_request(link))
    return await rejected(link, text, what, id=NUMBER, headers=headers, owed=owed)


@messages.must("Nothing of it is carried out, the connection stays, the next request is served.")
async def not_json(link: OpenLink) -> None:
    """Text that is no JSON is not taken for a message, and does no harm."""
    for what, text in _not_json(link).items():
        await _refused(link, text, what)
    await link.alive()


@messages.must("An HTTP status from 400 to 499.", bindings=STREAMABLE)
async def not_json_status(link: OpenLink) -> None:
    """A body that is no JSON, or no body at all, is answered with a status of 4xx."""
    bodies = {**_not_json(link), "an empty body": b""}
    for what, text in bodies.items():
        reply = await _refused(link, text, what)
        check(reply.status in CLIENT_ERRORS, f"{what} got {reply}, not a status of 4xx")


@error_codes.should(
    "The error -32700 without an id; over HTTP a status of 4xx without a message will do."
)
async def parse_error(link: OpenLink) -> None:
    """Text that is no JSON gets the error that JSON-RPC has for it."""
    for what, text in _not_json(link).items():
        check_code(await _refused(link, text, what, owed=True), what, [PARSE_ERROR])


@case.must("error-responses", "An error about it has no id, or the one that can be read in it.")
async def no_invented_id(link: OpenLink) -> None:
    """An error about something unreadable does not answer a request that nobody made."""
    for what, text in _not_json(link).items():
        reply = await _refused(link, text, what)
        id = None if reply.message is None else reply.message.id
        check(id in (None, UNSET, NUMBER), f"{what} got an error with the id {id!r}")


@messages.should(
    "What RFC 8259 does not allow is refused: NaN, comments, commas too many, and so on."
)
async def json_by_the_letter(link: OpenLink) -> None:
    """Requests that only a lenient reader would take for JSON are not carried out."""
    number = str(NUMBER)
    inside = f'"id":{number},'
    lenient = {
        "a comment": _spoilt(link, "{", "{/* hello */"),
        "a comma too many": _spoilt(link, inside, f'"id":{number},,'),
        "single quotes": _spoilt(link, '"2.0"', "'2.0'"),
        "a name without quotes": _spoilt(link, '"id"', "id"),
        "a number with a leading zero": _spoilt(link, inside, f'"id":0{number},'),
        "a number with a plus": _spoilt(link, inside, f'"id":+{number},'),
        "a hexadecimal number": _spoilt(link, inside, f'{inside}"x":0x10,'),
        "NaN": _spoilt(link, inside, f'{inside}"x":NaN,'),
        "Infinity": _spoilt(link, inside, f'{inside}"x":-Infinity,'),
        "True with a capital": _spoilt(link, inside, f'{inside}"x":True,'),
        "a tab inside a string": _spoilt(link, inside, f'{inside}"x":"a\tb",'),
        "an escape that does not exist": _spoilt(link, inside, f'{inside}"x":"\\q",'),
        "half of an escape": _spoilt(link, inside, f'{inside}"x":"\\u12",'),
    }
    for what, text in lenient.items():
        await _refused(link, text, what)
    await link.alive()


@messages.should(
    "The message is refused; nothing of it is carried out or put right silently.",
    bindings=EVERY - {Binding.WS},
)
async def invalid_utf8(link: OpenLink) -> None:
    """Bytes that are not UTF-8 make a message unreadable."""
    whole = _spoilt(link, '"id":', '"x":"?","id":')
    broken = {
        "a lone continuation byte": b"\x80",
        "a sequence that is cut off": b"\xc3",
        "an overlong sequence": b"\xc0\xaf",
        "a surrogate": b"\xed\xa0\x80",
        "a code point behind the last": b"\xf4\x90\x80\x80",
        "a byte that never occurs": b"\xff",
        "Latin-1": "é".encode("latin-1"),
    }
    for what, octets in broken.items():
        text = whole.replace(b'"?"', b'"' + octets + b'"')
        await _refused(link, text, what)
    await link.alive()


@messages.should("An answer, or a refusal; the server goes on, and says nothing that is not UTF-8.")
async def lone_surrogate(link: OpenLink) -> None:
    """Half of a surrogate pair, escaped, is JSON but no text; it does no harm."""
    spoilt = link.spoilt
    for half in ("\\ud800", "\\udfff", "\\udc00\\ud800"):
        text = _spoilt(link, '"id":', f'"x":"{half}","id":')
        headers = headers_as_for(link, plain_request(link))
        sent = await link.say(text, headers=headers)
        sent.id = NUMBER
        reply = await outcome(link, sent)
        check(
            reply.message is not None or reply.status in CLIENT_ERRORS,
            f"a string with {half} got {reply}",
        )
    link.spoilt = spoilt
    await link.alive()


@messages.should("The error -32600 without an id, or over HTTP a bare status of 4xx.")
async def not_an_object(link: OpenLink) -> None:
    """JSON that is no object (and no batch) is an invalid request."""
    values: tuple[Any, ...] = ("text", 17, 0.5, True, None, {})
    for value in values:
        text = json.dumps(value)
        reply = await _refused(link, text.encode(), text, owed=True)
        check_code(reply, text, [INVALID_REQUEST])


def _deep(link: Link, value: str) -> bytes:
    return _spoilt(link, '"id":', f'"x":{value},"id":')


@messages.should("A result or an error, over HTTP no status of 5xx; the next request is served.")
async def depth(link: OpenLink) -> None:
    """Thousands of brackets in each other are refused or read, and do no harm."""
    bombs = {
        "arrays in each other": _deep(link, "[" * MANY + "]" * MANY),
        "objects in each other": _deep(link, '{"a":' * MANY + "1" + "}" * MANY),
        "brackets that nobody closes": b"[" * MANY,
        "objects that nobody closes": b'{"a":' * MANY,
        "brackets inside params": _spoilt(link, '"params":{', f'"params":{{"x":{_nested()},')
        if link.revision.modern
        else encode(request(NUMBER, plain_request(link))).replace(
            b"}", f',"params":{{"x":{_nested()}}}}}'.encode()
        ),
    }
    await _survived(link, bombs)


def _nested() -> str:
    return "[" * MANY + "]" * MANY


@messages.should("A result or an error, over HTTP no status of 5xx; the next request is served.")
async def many_members(link: OpenLink) -> None:
    """Tens of thousands of members in one object are refused or read, and do no harm."""
    members = {f"member{number}": number for number in range(MEMBERS)}
    same = ",".join(['"same":1'] * MEMBERS)
    await _survived(
        link,
        {
            "many members": _deep(link, json.dumps(members)),
            "one member many times": _deep(link, f"{{{same}}}"),
        },
    )


async def _survived(link: Link, bombs: dict[str, bytes]) -> None:
    spoilt = link.spoilt
    for what, text in bombs.items():
        sent = await link.say(text, headers=headers_as_for(link, plain_request(link)))
        sent.id = NUMBER
        reply = await outcome(link, sent, owed=False)
        check(reply.gone is None, f"{what} ended the connection ({reply})")
        check((reply.status or 0) < 500, f"{what} got HTTP status {reply.status}")
    link.spoilt = spoilt
    await link.alive()


@messages.should("An answer, an error, HTTP status 413 or the end of a WebSocket; then it goes on.")
async def size(talk: ServerTalk, link: OpenLink) -> None:
    """A message of many megabytes is taken or refused, and does no harm."""
    spoilt = link.spoilt
    text = _deep(link, f'"{"x" * LARGE}"')
    sent = await link.say(text, headers=headers_as_for(link, plain_request(link)))
    sent.id = NUMBER
    reply = await _large(link, sent)
    check((reply.status or 0) < 500, f"it got HTTP status {reply.status}")
    if reply.gone is not None:
        check(talk.binding in (Binding.WS, Binding.TCP, Binding.UNIX), f"it got {reply}")
        link = await talk.open()
        spoilt = True
    link.spoilt = spoilt
    await link.alive()


async def _large(link: Link, sent: Any) -> Reply:
    try:
        return await outcome(link, sent, owed=False)
    except Broken:
        if link.gone is None:
            raise
        return Reply(sent, gone=link.gone)


@messages.should("A result.", needs=("tools",))
async def large_taken(link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """A message of a hundred kilobytes is nothing special."""
    meta = {"org.example/note": "x" * 100_000}
    reply = await link.request(method, params, meta=meta)
    check(reply.good, f"a request of 100 KB got {reply}")


@messages.must(
    "Content-Type is application/json or text/event-stream, and the message is readable.",
    bindings=STREAMABLE,
)
async def content_type(link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """Whatever has a message in it says that it is JSON, or a stream of events."""
    for reply in (await link.request(method, params), await link.request("kit/no-such-method")):
        check(reply.message is not None, f"{reply.sent.method} got {reply}")
        kind = header(reply.head.headers, "content-type") if reply.head else None
        plain = (kind or "").partition(";")[0].strip().lower()
        check(plain in ("application/json", "text/event-stream"), f"the Content-Type is {kind!r}")


# Errors, notifications, answers nobody asked for, results

STANDARD = {-32700, -32600, -32601, -32602, -32603}
DEFINED = {HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION}
RETIRED = {-32002, -32042}
FOREIGN = "test://no-such/resource-of-the-kit"


async def _errors(talk: ServerTalk, link: Link) -> list[tuple[str, dict[str, Any]]]:
    """Ask for what has to fail, in many ways; returns the errors that came."""
    method, params = talk.any_request()
    asked: list[tuple[str, dict[str, Any]]] = [
        ("kit/no-such-method", {}),
        (method, {**params, "cursor": "no cursor of this server"}),
        (method, {**params, "cursor": 17}),
    ]
    if talk.features.declares("tools"):
        asked += [("tools/call", {"name": "kit_no_such_tool"}), ("tools/call", {"name": 17})]
    if talk.features.declares("resources"):
        asked += [("resources/read", {"uri": FOREIGN}), ("resources/read", {"uri": ["x"]})]
    if talk.features.declares("prompts"):
        asked += [("prompts/get", {"name": "kit_no_such_prompt"}), ("prompts/get", {"name": {}})]
    if talk.features.declares("completions"):
        asked += [("completion/complete", {}), ("completion/complete", {"ref": 17})]
    found = []
    for name, given in asked:
        reply = await link.request(name, given)
        what = f"{name} {given}" if given else name
        if reply.message is not None and reply.message.kind is Kind.ERROR:
            check(
                reply.message.id == reply.sent.id,
                f"the error to {what} has the id {reply.message.id!r}, not {reply.sent.id!r}",
            )
            found.append((what, reply.error))
        elif reply.message is None:
            raise Broken(f"{what} got {reply}, neither a result nor an error")
    return found


@case.must("error-responses/request-id", "Every error has the id of its request, of the same type.")
async def error_ids(talk: ServerTalk, link: OpenLink) -> None:
    """Errors carry the id of the request that failed, be it an integer or a string."""
    await _errors(talk, link)
    for id in (0, -5, "", "17", talk.fresh_id()):
        reply = await link.request("kit/no-such-method", id=id)
        strays = [each.id for each in answers(link)]
        check(
            reply.message is not None and reply.message.answers(id),
            f"a request with the id {id!r} failed with the id {strays or reply}",
        )
    if not link.revision.modern:
        return
    for what, meta in (
        ("of a version that nobody speaks", {META_PROTOCOL_VERSION: "1900-01-01"}),
        ("without capabilities", {META_CLIENT_CAPABILITIES: None}),
    ):
        reply = await link.request("server/discover", meta=meta, id=talk.fresh_id())
        check(
            reply.message is not None and reply.message.answers(reply.sent.id),
            f"a request {what} failed without its id: {reply.message and reply.message.value}",
        )


@case.must("error-responses", "error is an object with an integer code and a string message.")
async def code_and_message(talk: ServerTalk, link: OpenLink) -> None:
    """Every error says what it is, by an integer and a text."""
    # what is no error by the letter is found out where messages are read
    found = await _errors(talk, link)
    check(found, "nothing that was asked for failed")


@case.should("error-responses/meaningful", "A code other than 0, and a message that is not empty.")
async def meaningful_errors(talk: ServerTalk, link: OpenLink) -> None:
    """Errors mean something: a code of 0, or no words, is lawful and helps nobody."""
    for what, found in await _errors(talk, link):
        check(found["code"] != 0, f"the error to {what} has the code 0: {found}")
        check(found["message"].strip(), f"the error to {what} has no message: {found}")


@error_codes.should(
    "The error -32602; over HTTP in the modern era also -32020, as Mcp-Name is missing.",
    needs=("tools",),
)
async def invalid_params(talk: ServerTalk, link: OpenLink) -> None:
    """Params without what the method needs, or of a wrong type, get the error for that."""
    mirrored = link.revision.mirror_headers and talk.binding is Binding.HTTP
    codes = (INVALID_PARAMS, HEADER_MISMATCH) if mirrored else (INVALID_PARAMS,)
    tool = talk.any_tool().name
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"name": None},
        {"name": 17},
        {"arguments": {}},
        {"name": tool, "arguments": []},
        {"name": tool, "arguments": "text"},
    )
    for params in wrong:
        reply = await link.request("tools/call", params)
        reply.failed_with(*codes, what=f"tools/call with the params {params}")


@error_codes.must(
    "No code from -32099 to -32020 but the defined ones, and neither -32002 nor -32042.", MODERN
)
async def reserved_codes(talk: ServerTalk, link: OpenLink) -> None:
    """Codes that the specification keeps for itself, or has given up, are not sent."""
    for what, found in await _errors(talk, link):
        code = found["code"]
        check(code not in RETIRED, f"{what} got the retired code {code}")
        reserved = -32099 <= code <= -32020 and code not in DEFINED
        check(not reserved, f"{what} got the reserved code {code}")


@error_codes.should("No code from -32019 to -32000.", MODERN)
async def legacy_codes(talk: ServerTalk, link: OpenLink) -> None:
    """Codes that implementations once took for themselves are not used any more."""
    for what, found in await _errors(talk, link):
        code = found["code"]
        check(not -32019 <= code <= -32000, f"{what} got the legacy code {code}")


@error_codes.should(
    "Codes that the specification does not define lie outside -32768 to -32000.", MODERN
)
async def own_codes(talk: ServerTalk, link: OpenLink) -> None:
    """Codes of one's own stay out of the range that JSON-RPC reserves."""
    for what, found in await _errors(talk, link):
        code = found["code"]
        own = code not in STANDARD | DEFINED
        check(not own or not -32768 <= code <= -32000, f"{what} got the code {code}")


# Notifications


@case.must("notifications/unknown", "No answer; over HTTP 202 or a status of 4xx.")
async def unknown_notification(link: OpenLink) -> None:
    """A notification that nobody knows is not answered."""
    methods = ("notifications/kit/nothing", "kit/nothing", "notifications/message")
    await unanswered(link, {method: notification(method, {"a": 1}) for method in methods})
    await link.alive()


@notifications.must("No answer; over HTTP a status of 4xx may come with an error that has no id.")
async def malformed(link: OpenLink) -> None:
    """A notification whose params are of a wrong type is not answered."""
    wrong: tuple[Any, ...] = ([1], "text", 5, None, {"requestId": {}}, {"progressToken": []})
    said = {
        f"{method} with the params {params!r}": notification(method, params)
        for method in ("notifications/cancelled", "notifications/progress")
        for params in wrong
    }
    await unanswered(link, said)
    await link.alive()


@notifications.must("No answer; over HTTP 202 or a status of 4xx.")
async def request_without_id(link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """The method of a request, sent without an id, is a notification, and is not answered."""
    asked: tuple[tuple[str, dict[str, Any]], ...] = ((plain_request(link), {}), (method, params))
    said = {f"{name} without an id": notification(name, link.params(it)) for name, it in asked}
    await unanswered(link, said)
    await link.alive()


@case.should(
    "notifications/with-id",
    "An error with the id (-32600 to -32602): whoever sends an id waits for an answer.",
)
async def notification_with_id(link: OpenLink) -> None:
    """A notification's method, sent with an id, is a request that fails."""
    for method in ("notifications/cancelled", "notifications/initialized"):
        reply = await link.request(method, {"requestId": "kit-none"})
        reply.failed_with(METHOD_NOT_FOUND, INVALID_REQUEST, INVALID_PARAMS)


# Answers that nobody asked for


def _strange_answers(talk: ServerTalk) -> dict[str, dict[str, Any]]:
    id = talk.fresh_id()
    return {
        "a result that nobody asked for": result(id, {}),
        "an error that nobody asked for": error(id, -32603, "nothing"),
        "an error without an id": error(None, -32700, "nothing"),
        "an answer with both a result and an error": {**result(id, {}), **error(id, 1, "both")},
        "a result that is no object": {"jsonrpc": "2.0", "id": id, "result": 17},
        "an error that is no object": {"jsonrpc": "2.0", "id": id, "error": "text"},
    }


@case.should("responses", "Nothing is said to it, and the next request is served.", LEGACY)
async def unknown_id(talk: ServerTalk, link: OpenLink) -> None:
    """Answers to requests that the server never made are dropped."""
    await unanswered(link, dict(list(_strange_answers(talk).items())[:3]))
    await link.alive()


@case.should(
    "responses/malformed",
    "The server goes on: at most an error without an id comes, no status of 5xx.",
)
async def malformed_answer(talk: ServerTalk, link: OpenLink) -> None:
    """Answers that are none, and that nobody asked for, do no harm."""
    heads = await unanswered(link, _strange_answers(talk), errors=True)
    for what, head in heads.items():
        check(head.status < 500, f"{what} got HTTP status {head.status}")
    await link.alive()


# Results


async def _results(talk: ServerTalk, link: Link) -> list[Reply]:
    """Ask for everything that the server offers; returns the good results."""
    asked: list[tuple[str, dict[str, Any]]] = [(plain_request(link), {}), talk.any_request()]
    features = talk.features
    if (tool := features.plainest_tool()) is not None:
        asked.append(("tools/call", {"name": tool.name, "arguments": talk.arguments(tool)}))
    if features.declares("resources"):
        asked += [("resources/list", {}), ("resources/templates/list", {})]
    if features.resources:
        asked.append(("resources/read", {"uri": features.resources[0]["uri"]}))
    if features.declares("prompts"):
        asked.append(("prompts/list", {}))
    plain = [each for each in features.prompts if not each.get("arguments")]
    if plain:
        asked.append(("prompts/get", {"name": plain[0]["name"]}))
    replies = [await link.request(method, params) for method, params in asked]
    return [reply for reply in replies if reply.good]


@case.must(
    "resulttype/named",
    "resultType is complete, input_required, or that of an extension that was declared.",
    MODERN,
)
async def result_type(talk: ServerTalk, link: OpenLink) -> None:
    """Every result says of which type it is."""
    for reply in await _results(talk, link):
        kind = reply.result.get("resultType")
        check(
            kind in ("complete", "input_required"),
            f"the result of {reply.sent.method} has the resultType {kind!r}",
        )


@case.should(
    "meta", "_meta has io.modelcontextprotocol/serverInfo, with a name and a version.", MODERN
)
async def server_info(talk: ServerTalk, link: OpenLink) -> None:
    """Every result says who the server is."""
    for reply in await _results(talk, link):
        meta = reply.result.get("_meta")
        info = meta.get("io.modelcontextprotocol/serverInfo") if isinstance(meta, dict) else None
        check(
            isinstance(info, dict)
            and isinstance(info.get("name"), str)
            and isinstance(info.get("version"), str),
            f"the result of {reply.sent.method} has the serverInfo {info!r}",
        )


@case.should("responses/not-for-clients", "No result; over HTTP a status of 4xx.", MODERN)
async def no_answers_from_clients(talk: ServerTalk, link: OpenLink) -> None:
    """A client does not send answers: one that comes is refused, or dropped."""
    said = {"an answer of a client": result(talk.fresh_id(), {})}
    for what, head in (await unanswered(link, said, errors=True)).items():
        refused = head.status in CLIENT_ERRORS
        check(refused, f"{what} got HTTP status {head.status}, not one of 4xx")
    await link.alive()


# Brackets a million deep

LEVELS = 1_000_000
"""Brackets in each other: more than any stack holds, and few enough for most limits of size."""
BOMB = 0x626F6D62
"""The id of the requests that have them."""
CLOSING = (Binding.WS, Binding.TCP, Binding.UNIX)
"""Where a message that is too large may end the connection."""
BOMBS = {
    "arrays in each other": ("[", "", "]"),
    "objects in each other": ('{"a":', "1", "}"),
    "arrays that nobody closes": ("[", "", ""),
}


def _bomb(link: Link, opening: str, middle: str, closing: str) -> bytes:
    found: Any = link.params()
    params = {**({} if found is UNSET or found is None else found), "bomb": "MARK"}
    text = encode(request(BOMB, plain_request(link), params))
    value = opening * LEVELS + middle + closing * LEVELS
    return text.replace(b'"MARK"', value.encode())


@page.server().should(
    "messages", "An answer, an error, HTTP status 413 or the end of a WebSocket; then it goes on."
)
async def bottomless(talk: ServerTalk) -> None:
    """A request with a million brackets within each other in its params does no harm."""
    for what, parts in BOMBS.items():
        link = await talk.open()
        spoilt = link.spoilt
        sent = await link.say(
            _bomb(link, *parts), headers=headers_as_for(link, plain_request(link))
        )
        sent.id = BOMB
        try:
            reply = await outcome(link, sent, owed=False)
        except Broken:
            if link.gone is None:
                raise
            reply = Reply(sent, gone=link.gone)
        check((reply.status or 0) < 500, f"{what} got HTTP status {reply.status}")
        if reply.gone is not None:
            check(talk.binding in CLOSING, f"{what} ended the connection ({reply})")
            link = await talk.open()
        link.spoilt = spoilt
        await link.alive()


# Answers that are one too many, and ids of the server's own


@case.must("result-responses", "One answer to each request, and no second one later.")
async def answered_once(talk: ServerTalk) -> None:
    """What has been answered is not answered again."""
    await check_asked(talk, Unasked.TWICE, afterwards=AFTERWARDS)


@case.must(
    "result-responses",
    "Every answer has the id of a request that was made, of the same type; none has none.",
)
async def of_a_request(talk: ServerTalk) -> None:
    """Nothing is answered that nobody has asked."""
    await check_asked(talk, Unasked.UNKNOWN, Unasked.NAMELESS)


@case.must("notifications/params", "They have the members of their method, each of its type.")
async def notification_params(talk: ServerTalk) -> None:
    """Whatever a server notifies of, the params are those that the schema of the revision has."""
    await check_notified(talk, Unasked.MISSHAPEN, logs=True)


@requests.must(
    "Another id for each ping, and whatever else the server asks of its own accord.", LEGACY
)
async def server_ids_differ(talk: ServerTalk) -> None:
    """No two requests that a server makes without being asked have one id."""
    await check_asked(talk, Unasked.AGAIN)


@requests.must("Another id for each request of the server.", LEGACY, needs=("found:question",))
async def server_id_fresh(talk: ServerTalk) -> None:
    """A server, too, never uses an id again within a session."""
    which = await asker(talk, "question", "test_sampling")
    link = await talk.open()
    for _ in range(3):
        await ask(link, which)
    ids = [(type(each.id), each.id) for each in link.asked if each.method != "ping"]
    if not ids:
        raise Inconclusive("the server has asked nothing")
    check(len(set(ids)) == len(ids), f"the ids are {[each for _, each in ids]}")
