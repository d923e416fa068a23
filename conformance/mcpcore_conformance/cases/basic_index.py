"""Cases of the page basic/index: what is no message, and how much of one is taken."""

import json
from typing import Any

from msgspec import UNSET

from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import INVALID_REQUEST, PARSE_ERROR, Kind, encode, request
from mcpcore_conformance.kit.model import EVERY, STREAMABLE, Binding, Page
from mcpcore_conformance.kit.probes import (
    CLIENT_ERRORS,
    check_code,
    headers_as_for,
    outcome,
    plain_request,
    rejected,
)
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Broken, check

page = Page("basic/index")
case = page.server()

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


@case.must(
    "messages/not-json",
    "Nothing of it is carried out, the connection stays, the next request is served.",
)
async def not_json(talk: ServerTalk) -> None:
    """Text that is no JSON is not taken for a message, and does no harm."""
    link = await talk.open()
    for what, text in _not_json(link).items():
        await _refused(link, text, what)
    await link.alive()


@case.must("messages/not-json-status", "An HTTP status from 400 to 499.", bindings=STREAMABLE)
async def not_json_status(talk: ServerTalk) -> None:
    """A body that is no JSON, or no body at all, is answered with a status of 4xx."""
    link = await talk.open()
    bodies = {**_not_json(link), "an empty body": b""}
    for what, text in bodies.items():
        reply = await _refused(link, text, what)
        check(reply.status in CLIENT_ERRORS, f"{what} got {reply}, not a status of 4xx")


@case.should(
    "error-codes/parse-error",
    "The error -32700 without an id; over HTTP a status of 4xx without a message will do.",
)
async def parse_error(talk: ServerTalk) -> None:
    """Text that is no JSON gets the error that JSON-RPC has for it."""
    link = await talk.open()
    for what, text in _not_json(link).items():
        check_code(await _refused(link, text, what, owed=True), what, [PARSE_ERROR])


@case.must(
    "error-responses/no-invented-id",
    "An error about it has no id, or the one that can be read in it.",
)
async def no_invented_id(talk: ServerTalk) -> None:
    """An error about something unreadable does not answer a request that nobody made."""
    link = await talk.open()
    for what, text in _not_json(link).items():
        reply = await _refused(link, text, what)
        id = None if reply.message is None else reply.message.id
        check(id in (None, UNSET, NUMBER), f"{what} got an error with the id {id!r}")


@case.should(
    "messages/json-by-the-letter",
    "What RFC 8259 does not allow is refused: NaN, comments, commas too many, and so on.",
)
async def json_by_the_letter(talk: ServerTalk) -> None:
    """Requests that only a lenient reader would take for JSON are not carried out."""
    link = await talk.open()
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


@case.should(
    "messages/invalid-utf8",
    "The message is refused; nothing of it is carried out or put right silently.",
    bindings=EVERY - {Binding.WS},
)
async def invalid_utf8(talk: ServerTalk) -> None:
    """Bytes that are not UTF-8 make a message unreadable."""
    link = await talk.open()
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


@case.should(
    "messages/lone-surrogate",
    "An answer, or a refusal; the server goes on, and says nothing that is not UTF-8.",
)
async def lone_surrogate(talk: ServerTalk) -> None:
    """Half of a surrogate pair, escaped, is JSON but no text; it does no harm."""
    link = await talk.open()
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


@case.should(
    "messages/not-an-object", "The error -32600 without an id, or over HTTP a bare status of 4xx."
)
async def not_an_object(talk: ServerTalk) -> None:
    """JSON that is no object (and no batch) is an invalid request."""
    link = await talk.open()
    values: tuple[Any, ...] = ("text", 17, 0.5, True, None, {})
    for value in values:
        text = json.dumps(value)
        reply = await _refused(link, text.encode(), text, owed=True)
        check_code(reply, text, [INVALID_REQUEST])


def _deep(link: Link, value: str) -> bytes:
    return _spoilt(link, '"id":', f'"x":{value},"id":')


@case.should(
    "messages/depth",
    "A result or an error, over HTTP no status of 5xx; the next request is served.",
)
async def depth(talk: ServerTalk) -> None:
    """Thousands of brackets in each other are refused or read, and do no harm."""
    link = await talk.open()
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


@case.should(
    "messages/many-members",
    "A result or an error, over HTTP no status of 5xx; the next request is served.",
)
async def many_members(talk: ServerTalk) -> None:
    """Tens of thousands of members in one object are refused or read, and do no harm."""
    link = await talk.open()
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


@case.should(
    "messages/size",
    "An answer, an error, HTTP status 413 or the end of a WebSocket; then it goes on.",
)
async def size(talk: ServerTalk) -> None:
    """A message of many megabytes is taken or refused, and does no harm."""
    link = await talk.open()
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


@case.should("messages/large-taken", "A result.", needs=("tools",))
async def large_taken(talk: ServerTalk) -> None:
    """A message of a hundred kilobytes is nothing special."""
    link = await talk.open()
    method, params = talk.any_request()
    meta = {"org.example/note": "x" * 100_000}
    reply = await link.request(method, params, meta=meta)
    check(
        reply.message is not None and reply.message.kind is Kind.RESULT,
        f"a request of 100 KB got {reply}",
    )


@case.must(
    "messages/content-type",
    "Content-Type is application/json or text/event-stream, and the message is readable.",
    bindings=STREAMABLE,
)
async def content_type(talk: ServerTalk) -> None:
    """Whatever has a message in it says that it is JSON, or a stream of events."""
    link = await talk.open()
    method, params = talk.any_request()
    for reply in (
        await link.request(method, params),
        await link.request("kit/no-such-method"),
    ):
        check(reply.message is not None, f"{reply.sent.method} got {reply}")
        kind = header(reply.head.headers, "content-type") if reply.head else None
        plain = (kind or "").partition(";")[0].strip().lower()
        check(plain in ("application/json", "text/event-stream"), f"the Content-Type is {kind!r}")
