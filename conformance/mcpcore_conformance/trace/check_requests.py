"""Checks of params and results, progress and cancellation."""

import msgspec
from msgspec import Struct

from mcpcore.spec.decoding import decode
from mcpcore.spec.methods import Method
from mcpcore.spec.revisions import Revision
from mcpcore_conformance.trace.book import Asked, Book, Conversation, id_key, other, sender_of
from mcpcore_conformance.trace.check_messages import replayed
from mcpcore_conformance.trace.dialogue import Said

_HIDDEN = "got `str`"
"""What a decoder says where a number was that has been hidden."""


def check_params(book: Book, said: Said, row: Method, revision: Revision | None) -> None:
    """Params are of the type of their method."""
    _check_shape(book, "params-shape", said, said.params, row.params, revision)


def check_result(book: Book, said: Said, asked: Asked) -> None:
    """A result is of the type of its method."""
    result, row = said.result, asked.row
    if said.message is None or row is None or row.result is None:
        return
    if result.get("resultType", "complete") != "complete" or "task" in asked.said.params:
        return
    if asked.said.method == "ping" and set(result) - {"_meta", "resultType"}:
        book.find(
            "ping-answered", said.line, other(asked.sender), "it is not empty", asked.revision
        )
    _check_shape(book, "result-shape", said, result, row.result, asked.revision)


def _check_shape(
    book: Book,
    rule: str,
    said: Said,
    value: object,
    kind: type[Struct],
    revision: Revision | None,
) -> None:
    if said.message is None:
        return
    try:
        decode(msgspec.json.encode(value), kind)
    except msgspec.DecodeError as error:
        if said.record.redactions and _HIDDEN in str(error):
            return
        sender = sender_of(said.direction)
        clause = f"schema#{kind.__name__}"
        book.find(rule, said.line, sender, str(error), revision, clause)


# Progress


def check_token(book: Book, talk: Conversation, asked: Asked) -> None:
    """A request that wants progress has a token of its own."""
    meta = asked.said.meta
    if "progressToken" not in meta:
        return
    token = asked.token = meta["progressToken"]
    line, sender, revision = asked.said.line, asked.sender, asked.revision
    if isinstance(token, bool) or not isinstance(token, (str, int)):
        book.find("token-type", line, sender, f"the token is {token!r}", revision)
        return
    earlier = talk.tokens.get((sender, id_key(token)))
    gone = earlier is None or earlier.answered or earlier.cancelled or earlier.refused
    if earlier is not None and not gone:
        text = f"the token {token!r} is that of the request of line {earlier.said.line}"
        book.find("token-unique", line, sender, text, revision)
    talk.tokens[sender, id_key(token)] = asked


def check_progress(book: Book, talk: Conversation, said: Said) -> None:
    """Progress is of a request that runs, and grows."""
    sender = sender_of(said.direction)
    token, value = said.params.get("progressToken"), said.params.get("progress")
    if token is None or talk.blind or _told_before(talk, said):
        return
    key = (other(sender), id_key(token))
    asked = talk.tokens.get(key)
    if asked is None and key in talk.reports:
        talk.reports[key] = _grown(book, said, value, talk.reports[key], talk.revision)
        return
    if asked is None:
        if not talk.loose and not talk.reports.forgetful:
            text = f"the token {token!r} is of no request"
            book.find("progress-token", said.line, sender, text, talk.revision)
        return
    if asked.answered and not asked.keeps_token:
        text = f"the request of line {asked.said.line} was answered in line {asked.answered}"
        book.find("progress-stops", said.line, sender, text, asked.revision)
    if asked.cancelled and book.side == sender:
        _after_cancel(book, said, asked)
    asked.progress = _grown(book, said, value, asked.progress, asked.revision)


def _grown(
    book: Book, said: Said, value: object, before: float | None, revision: Revision | None
) -> float | None:
    """The progress after a notification, which is more than it was before."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return before
    if before is not None and value <= before:
        text = f"{value:g} after {before:g}"
        book.find("progress-increases", said.line, sender_of(said.direction), text, revision)
    return float(value)


def _told_before(talk: Conversation, said: Said) -> bool:
    """It is an event of an earlier stream, which this one resumes."""
    first = talk.event_ids.get(said.record.event_id or "", said.line)
    return first != said.line and replayed(said)


# Cancellation


def check_cancelled(book: Book, talk: Conversation, said: Said, revision: Revision | None) -> None:
    """What is cancelled is a request of its sender that runs."""
    sender = sender_of(said.direction)
    target = said.params.get("requestId")
    if target is None:
        return
    modern_server = sender == "server" and revision is not None and revision.modern
    asker = "client" if modern_server else sender
    asked = talk.requests.get((asker, id_key(target)))
    if asked is None:
        if not talk.blind and not talk.loose:
            text = f"{sender} never asked {target!r}"
            book.find("cancel-own", said.line, sender, text, revision)
        return
    if modern_server and asked.said.method != "subscriptions/listen":
        text = f"the request of line {asked.said.line} is {asked.said.method}"
        book.find("cancel-listen", said.line, sender, text, revision)
        return
    if asked.said.method == "initialize":
        text = f"initialize of line {asked.said.line} is cancelled"
        book.find("initialize-cancelled", said.line, sender, text, revision)
    elif asked.answered and book.side == sender and not modern_server:
        # Only who had seen the answer knew that nothing was left to cancel.
        text = f"the request of line {asked.said.line} was answered in line {asked.answered}"
        book.find("cancel-own", said.line, sender, text, revision)
    if not modern_server:
        book.cancel(talk, asked, said.line)


def _after_cancel(book: Book, said: Said, asked: Asked) -> None:
    text = f"the request of line {asked.said.line} was cancelled in line {asked.cancelled}"
    book.find("cancelled-silent", said.line, sender_of(said.direction), text, asked.revision)
