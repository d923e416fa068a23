"""Checks of envelopes, ids, answers, errors and batches."""

from typing import Any

from mcpcore.spec.errors import INVALID_PARAMS, INVALID_REQUEST, RESERVED
from mcpcore.spec.methods import KNOWN_METHODS
from mcpcore.spec.revisions import Revision
from mcpcore_conformance.trace.book import Asked, Book, Conversation, id_key, other, sender_of
from mcpcore_conformance.trace.dialogue import Said

_DEFINED = frozenset((-32020, -32021, -32022))
_RETIRED = frozenset((-32002, -32042))
_LEGACY_CODES = range(-32019, -31999)
_STANDARD = frozenset((-32700, -32600, -32601, -32602, -32603))
_RANGE = range(-32768, -31999)
_UNLIKE_UNKNOWN = frozenset((INVALID_PARAMS, -32603, INVALID_REQUEST))


def check_form(book: Book, talk: Conversation, said: Said, binding: str) -> None:
    """What is sent is a message."""
    sender = sender_of(said.direction)
    revision = talk.revision
    if said.record.data is not None and said.record.cut:
        talk.blind = True
        return
    if said.record.data is not None:
        book.find("utf8", said.line, sender, "this is not UTF-8", revision)
        talk.unreadable[sender] = talk.unreadable.get(sender, 0) + 1
        return
    message = said.message
    if message is None:
        if said.record.cut:
            talk.blind = True
            return
        talk.unreadable[sender] = talk.unreadable.get(sender, 0) + 1
        shown = (said.record.text or "")[:60]
        if binding == "stdio" and not said.batch:
            rule = "stdin-clean" if sender == "client" else "stdout-clean"
            book.find(rule, said.line, sender, f"{shown!r} is no message", revision)
        else:
            book.find("jsonrpc", said.line, sender, f"{shown!r} is no message", revision)
        return
    if message.get("jsonrpc") != "2.0":
        book.find("jsonrpc", said.line, sender, 'the member jsonrpc is not "2.0"', revision)
    if isinstance(message.get("method"), str):
        _check_request_id(book, talk, said, sender)
    elif "result" in message and "error" in message:
        book.find("result-xor-error", said.line, sender, "it has result and error", revision)
    elif "result" not in message and "error" not in message:
        text = "it has neither method nor result nor error"
        book.find("jsonrpc", said.line, sender, text, revision)
        talk.unreadable[sender] = talk.unreadable.get(sender, 0) + 1


def _check_request_id(book: Book, talk: Conversation, said: Said, sender: str) -> None:
    if said.message is None or "id" not in said.message:
        return
    value = said.message["id"]
    if value is None:
        book.find("request-id-not-null", said.line, sender, "the id is null", talk.revision)
    elif isinstance(value, bool) or not isinstance(value, (str, int)):
        text = f"the id is {_kind(value)}"
        book.find("request-id-type", said.line, sender, text, talk.revision)
    else:
        return
    talk.unreadable[sender] = talk.unreadable.get(sender, 0) + 1


def check_batch(book: Book, talk: Conversation, said: Said, messages: list[Said]) -> None:
    """A batch as a whole; called with its first message."""
    sender = sender_of(said.direction)
    revision = talk.revision
    posted = talk.http and sender == "client"
    if revision is not None and not revision.batches and not posted:
        book.find(
            "batch-revision",
            said.line,
            sender,
            f"a batch, which {revision.name} does not have",
            revision,
        )
    if revision is None or not revision.batches:
        talk.unreadable[sender] = talk.unreadable.get(sender, 0) + 1
    if posted:
        book.find("body-single", said.line, sender, "the body is a batch", revision)
        asks = any(item.kind in ("request", "notification") for item in messages)
        answers = any(item.kind in ("result", "error") for item in messages)
        if asks and answers and revision is not None and revision.batches:
            text = "a batch of requests and responses"
            book.find("batch-kinds", said.line, sender, text, revision)


def check_new_id(book: Book, talk: Conversation, asked: Asked) -> None:
    """The id of a request is its own."""
    said = asked.said
    key = (asked.sender, id_key(said.id))
    earlier = talk.requests.get(key)
    if earlier is not None and earlier.refused:
        return  # it was not carried out, and comes again
    modern = asked.revision is not None and asked.revision.modern
    waits = earlier is not None and not earlier.answered and not earlier.cancelled
    if waits and earlier is not None:
        text = f"id {said.id!r} is that of the request of line {earlier.said.line}, which waits"
        book.find("request-id-used", said.line, asked.sender, text, asked.revision)
    elif key in talk.used and not modern:
        text = f"id {said.id!r} was used before"
        book.find("request-id-used", said.line, asked.sender, text, asked.revision)
    talk.used[key] = None


def check_answer(book: Book, talk: Conversation, said: Said) -> Asked | None:
    """An answer is for a request that waits; which one that is."""
    sender = sender_of(said.direction)
    asker = other(sender)
    rule = "result-id" if said.kind == "result" else "error-id"
    value = said.id
    posted = said.exchange is not None and said.exchange.request is not None
    if talk.piped and posted and said.record.event is None:
        return None  # why a POST is refused; answers come as events
    if value is None:
        if said.kind == "result":
            book.find(rule, said.line, sender, "a result without id", talk.revision)
        elif not _may_lack_id(talk, said, asker):
            last = talk.last.get(asker)
            if last is not None and last.kind == "notification":
                text = f"it answers the notification of line {last.line}"
                book.find("notification-unanswered", said.line, sender, text, talk.revision)
            else:
                text = "an error without id, and nothing was unreadable"
                book.find(rule, said.line, sender, text, talk.revision)
        return None
    asked = talk.requests.get((asker, id_key(value)))
    if asked is None:
        if said.kind == "error" and talk.unreadable.get(asker, 0) > 0:
            talk.unreadable[asker] -= 1  # an id can be read in what is no message
        elif not talk.blind and not talk.loose:
            text = f"id {value!r} is that of no request"
            book.find(rule, said.line, sender, text, talk.revision)
        return None
    if asked.answered:
        if asked.beside:
            asked.beside -= 1  # which of them it answers, nobody can tell
        elif not replayed(said):
            text = f"the request of line {asked.said.line} was answered in line {asked.answered}"
            book.find("one-answer", said.line, sender, text, asked.revision)
        return None
    if asked.cancelled and book.side == sender:
        late = f"the request of line {asked.said.line} was cancelled in line {asked.cancelled}"
        listen = asked.said.method == "subscriptions/listen"
        if not listen:
            book.find("cancelled-answered", said.line, sender, late, asked.revision)
    book.answer(talk, asked, said.line)
    return asked


def _may_lack_id(talk: Conversation, said: Said, asker: str) -> bool:
    response = said.exchange.response if said.exchange else None
    if response is not None and response.status >= 400:
        return True  # it was refused before anybody looked into it
    if talk.unreadable.get(asker, 0) > 0 or talk.blind:
        talk.unreadable[asker] = max(0, talk.unreadable.get(asker, 0) - 1)
        return True
    return not talk.last.get(asker)  # nothing was read: a server that has no room says so


def replayed(said: Said) -> bool:
    """It came on a stream that resumes another one."""
    request = said.exchange.request if said.exchange else None
    return request is not None and request.get("last-event-id") is not None


def check_error(book: Book, talk: Conversation, said: Said, asked: Asked | None) -> None:
    """The error object, and its code."""
    message = said.message
    if message is None or "error" not in message:
        return
    sender = sender_of(said.direction)
    revision = asked.revision if asked is not None else talk.revision
    error = message["error"]
    code = error.get("code") if isinstance(error, dict) else None
    if not isinstance(error, dict) or "code" not in error or "message" not in error:
        book.find("error-shape", said.line, sender, "it lacks code or message", revision)
        return
    if isinstance(code, bool) or not isinstance(code, int):
        book.find("error-shape", said.line, sender, f"the code is {_kind(code)}", revision)
        return
    if not isinstance(error["message"], str):
        book.find("error-shape", said.line, sender, "the message is no string", revision)
    if revision is not None and revision.modern:
        _check_modern_code(book, said, sender, code, revision)
    elif (
        asked is not None
        and asked.row is None
        and asked.said.method not in KNOWN_METHODS
        and revision is not None
        and code in _UNLIKE_UNKNOWN
    ):
        text = f"nobody knows {asked.said.method!r}, and the error is {code}"
        book.find("method-unknown", said.line, sender, text, revision)


def _check_modern_code(book: Book, said: Said, sender: str, code: int, revision: Revision) -> None:
    if code in _RETIRED:
        book.find("error-retired", said.line, sender, f"the code is {code}", revision)
    elif code in RESERVED and code not in _DEFINED:
        book.find("error-reserved", said.line, sender, f"the code is {code}", revision)
    elif code in _LEGACY_CODES:
        book.find("error-legacy", said.line, sender, f"the code is {code}", revision)
    elif code in _RANGE and code not in _STANDARD and code not in RESERVED:
        book.find("error-new", said.line, sender, f"the code is {code}", revision)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", bool: "a boolean", float: "a float"}
    return names.get(type(value), "null" if value is None else f"a {type(value).__name__}")
