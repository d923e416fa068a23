"""Checks of the handshake, of what a revision has, and of what was declared."""

from typing import TypeVar

import msgspec

from mcpcore.spec.capabilities import declares
from mcpcore.spec.methods import KNOWN_METHODS, Method, lookup
from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore_conformance.trace.book import Asked, Book, Conversation, sender_of
from mcpcore_conformance.trace.dialogue import Said

C = TypeVar("C", ClientCapabilities, ServerCapabilities)

_INITIALIZE, _INITIALIZED = "initialize", "notifications/initialized"
_ANY_TIME = frozenset(("ping", "notifications/cancelled", "notifications/progress"))
_EARLY = frozenset((*_ANY_TIME, "notifications/message"))
_RULES = {"notifications/message": "logging-declared"}


def check_order(book: Book, talk: Conversation, said: Said, modern: bool) -> None:
    """A legacy message comes when it may."""
    sender, method = sender_of(said.direction), said.method
    if sender == "client" and said.batch and method == _INITIALIZE:
        book.find("initialize-batched", said.line, sender, "initialize in a batch", talk.revision)
    if modern or talk.loose:
        return
    begun = talk.initialize
    if sender == "client":
        if method == _INITIALIZE:
            return
        if begun is None:
            if method not in _ANY_TIME:
                text = f"{method} before initialize"
                book.find("initialize-first", said.line, sender, text, talk.revision)
        elif not begun.answered:
            if said.kind == "request" and method != "ping":
                text = f"{method} before initialize (line {begun.said.line}) was answered"
                book.find("client-waits", said.line, sender, text, talk.revision)
        elif method == _INITIALIZED:
            talk.initialized = talk.initialized or said.line
        elif not talk.initialized and said.kind == "request" and method != "ping":
            text = f"{method} before {_INITIALIZED}"
            book.find("initialized", said.line, sender, text, talk.revision)
            talk.initialized = said.line  # told once
    elif begun is not None and not talk.initialized and method not in _EARLY:
        text = f"{method} before {_INITIALIZED}"
        book.find("server-waits", said.line, sender, text, talk.revision)


def begin(talk: Conversation, asked: Asked) -> None:
    """A client initializes: what was agreed before no longer holds."""
    talk.initialize, talk.initialized, talk.revision = asked, 0, None
    talk.server, talk.lost = None, 0
    params = asked.said.params
    talk.client = _read(params.get("capabilities"), ClientCapabilities)


def agreed(book: Book, talk: Conversation, said: Said) -> None:
    """The result of initialize."""
    result = said.result
    missing = [
        name for name in ("protocolVersion", "capabilities", "serverInfo") if name not in result
    ]
    name = result.get("protocolVersion")
    talk.revision = BY_NAME.get(name) if isinstance(name, str) else None
    talk.server = _read(result.get("capabilities"), ServerCapabilities)
    if missing and said.message is not None:
        text = f"it lacks {' and '.join(missing)}"
        book.find("initialize-answered", said.line, "server", text, talk.revision)


def discovered(talk: Conversation, said: Said) -> None:
    """The result of server/discover."""
    talk.server = _read(said.result.get("capabilities"), ServerCapabilities) or talk.server


def served_before(book: Book, talk: Conversation, said: Said, asked: Asked) -> None:
    """A result for what came before initialize."""
    modern = asked.revision is not None and asked.revision.modern
    early = asked.sender == "client" and asked.said.method not in ("ping", _INITIALIZE)
    if early and talk.initialize is None and not talk.loose and not modern:
        text = f"{asked.said.method} of line {asked.said.line} was served before initialize"
        book.find("initialize-before-all", said.line, "server", text, talk.revision)


def check_method(
    book: Book, talk: Conversation, said: Said, revision: Revision | None
) -> Method | None:
    """The method is one of the revision and of its sender, and what it needs was declared."""
    sender, method = sender_of(said.direction), said.method
    if revision is None:
        return None
    if revision.modern and sender == "server" and said.kind == "request":
        text = f"{method} is a request of the server"
        book.find("no-server-requests", said.line, sender, text, revision)
        return None
    row = lookup(method, sender, revision)
    if row is None:
        if method in KNOWN_METHODS and method != _INITIALIZE:
            text = f"{method} is nothing that a {sender} sends in {revision.name}"
            book.find("method-revision", said.line, sender, text, revision)
        return None
    _check_declared(book, talk, said, row, revision)
    return row


def _check_declared(
    book: Book, talk: Conversation, said: Said, row: Method, revision: Revision
) -> None:
    sender = sender_of(said.direction)
    request = said.kind == "request"
    for path, of_receiver in ((row.capability, request), (row.peer_capability, not request)):
        if path is None:
            continue
        server = (sender == "client") is of_receiver
        declared = talk.server if server else talk.client
        if declared is None or (revision.modern and not server):
            continue
        if path == "tasks" and not request:
            continue
        if not declares(declared, path):
            who = "server" if server else "client"
            rule = _RULES.get(row.name, "capability")
            text = f"{row.name} needs {path}, which the {who} has not declared"
            book.find(rule, said.line, sender, text, revision)


def _read(value: object, kind: type[C]) -> C | None:
    if not isinstance(value, dict):
        return None
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None
