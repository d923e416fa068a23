"""Checks of the era without sessions: metadata, subscriptions, input, caching."""

import re
from hashlib import sha256
from typing import Any

import msgspec

from mcpcore.spec.capabilities import declares, input_capability
from mcpcore.spec.methods import METHODS, lookup_embedded
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_LOG_LEVEL,
    META_PROTOCOL_VERSION,
    META_SERVER_INFO,
    META_SUBSCRIPTION_ID,
)
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.lifecycle import SubscriptionFilter
from mcpcore_conformance.trace.book import Asked, Book, Conversation, id_key, other, sender_of
from mcpcore_conformance.trace.dialogue import Said, questions

_LABEL = r"[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_META_KEY = re.compile(
    rf"(?:{_LABEL}(?:\.{_LABEL})*/)?(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?)?"
)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_LISTEN, _ACKNOWLEDGED = "subscriptions/listen", "notifications/subscriptions/acknowledged"
_FILTERS = {field.name: field.encode_name for field in msgspec.structs.fields(SubscriptionFilter)}
_FILTERED = {row.name: _FILTERS[row.filter] for row in METHODS if row.filter is not None}
"""The member of a filter that asks for a notification."""


def check_meta(book: Book, talk: Conversation, said: Said, revision: Revision | None) -> None:
    """Keys of ``_meta``, whoever sends it."""
    sender = sender_of(said.direction)
    for key in said.meta:
        if not _META_KEY.fullmatch(key) or not key:
            text = f"{key[:60]!r} is no key of _meta"
            book.find("meta-key", said.line, sender, text, revision)
    parent = said.meta.get("traceparent")
    if parent is not None and not (isinstance(parent, str) and _TRACEPARENT.fullmatch(parent)):
        text = f"traceparent is {str(parent)[:60]!r}"
        book.find("trace-context", said.line, sender, text, revision)


def check_request(book: Book, asked: Asked, revision: Revision) -> None:
    """``_meta`` of a client's request."""
    said, meta = asked.said, asked.said.meta
    if said.message is None:
        return
    missing = [key for key in (META_PROTOCOL_VERSION, META_CLIENT_CAPABILITIES) if key not in meta]
    if missing:
        text = f"_meta lacks {' and '.join(missing)}"
        book.find("meta-required", said.line, "client", text, revision)
    if META_CLIENT_INFO not in meta:
        book.find("client-info", said.line, "client", f"_meta lacks {META_CLIENT_INFO}", revision)


def check_result(book: Book, talk: Conversation, said: Said, asked: Asked) -> None:
    """A result of the modern era."""
    result, revision, line = said.result, asked.revision, said.line
    if said.message is None or revision is None:
        return
    kind = result.get("resultType")
    if "resultType" not in result:
        book.find("result-type", line, "server", "it has no resultType", revision)
    if META_SERVER_INFO not in said.meta:
        book.find("server-info", line, "server", f"_meta lacks {META_SERVER_INFO}", revision)
    if kind == "input_required":
        _check_input(book, said, asked, revision)
        state = result.get("requestState")
        if isinstance(state, str):
            talk.states[_digest(state)] = asked.said.method, asked.said.line
    elif asked.row is not None and asked.row.cacheable and kind in (None, "complete"):
        missing = [name for name in ("ttlMs", "cacheScope") if name not in result]
        if missing:
            text = f"it lacks {' and '.join(missing)}"
            book.find("cache-hints", line, "server", text, revision)
    ttl = result.get("ttlMs")
    if isinstance(ttl, (int, float)) and ttl < 0:
        book.find("ttl", line, "server", f"ttlMs is {ttl}", revision)


def check_state(book: Book, talk: Conversation, asked: Asked) -> None:
    """State that comes back was given, for this request."""
    params = asked.said.params
    state = params.get("requestState")
    if not isinstance(state, str) or talk.blind or talk.loose:
        return
    method, given = talk.states.get(_digest(state), (None, 0))
    line = asked.said.line
    if method is None:
        if not talk.states.forgetful:
            text = "this requestState was never given"
            book.find("state-echoed", line, "client", text, asked.revision)
    elif method != asked.said.method:
        text = f"this requestState was given for {method} of line {given}"
        book.find("state-echoed", line, "client", text, asked.revision)


def _digest(state: str) -> bytes:
    """Return what is remembered of a state, which may be long."""
    return sha256(state.encode("utf-8", "surrogatepass")).digest()


def _check_input(book: Book, said: Said, asked: Asked, revision: Revision) -> None:
    result, line = said.result, said.line
    if asked.row is not None and not asked.row.needs_input:
        text = f"{asked.said.method} is answered with input_required"
        book.find("input-methods", line, "server", text, revision)
    if "inputRequests" not in result and "requestState" not in result:
        text = "it has neither inputRequests nor requestState"
        book.find("input-or-state", line, "server", text, revision)
    declared = _declared(asked)
    for name, method, params in questions(result):
        if lookup_embedded(method, revision) is None:
            text = f"{name!r} asks for {method!r}"
            book.find("input-kinds", line, "server", text, revision)
            continue
        needed = input_capability(method, params)
        if declared is not None and needed is not None and not declares(declared, needed):
            text = f"{name!r} needs {needed}, which the client has not declared"
            book.find("input-declared", line, "server", text, revision)


def _declared(asked: Asked) -> ClientCapabilities | None:
    value = asked.said.meta.get(META_CLIENT_CAPABILITIES)
    try:
        return msgspec.convert(value, ClientCapabilities)
    except msgspec.ValidationError:
        return None


# Notifications of a server


def check_notification(book: Book, talk: Conversation, said: Said, revision: Revision) -> None:
    """A notification that a server sends where there are no sessions."""
    method = said.method
    if method == "notifications/message":
        _check_log(book, talk, said, revision)
    identity = said.meta.get(META_SUBSCRIPTION_ID)
    filtered = _FILTERED.get(method)
    if identity is None:
        if (filtered is not None or method == _ACKNOWLEDGED) and not talk.blind:
            text = f"{method} without {META_SUBSCRIPTION_ID}"
            book.find("subscription-id", said.line, "server", text, revision)
        return
    asked = talk.requests.get(("client", id_key(identity)))
    if asked is None or asked.said.method != _LISTEN:
        if not talk.blind:
            text = f"{META_SUBSCRIPTION_ID} {identity!r} is that of no subscriptions/listen"
            book.find("subscription-id", said.line, "server", text, revision)
        return
    if method == _ACKNOWLEDGED:
        granted = said.params.get("notifications")
        asked.acknowledged = granted if isinstance(granted, dict) else {}
        return
    if asked.acknowledged is None:
        text = f"{method} comes before the acknowledgement of line {asked.said.line}"
        book.find("acknowledged-first", said.line, "server", text, revision)
        asked.acknowledged = {}
        return
    wanted = asked.said.params.get("notifications")
    if filtered is not None and not _wants(wanted, filtered, said.params):
        text = f"the subscription of line {asked.said.line} did not ask for {method}"
        book.find("requested-only", said.line, "server", text, revision)


def listen_ended(book: Book, said: Said, asked: Asked) -> None:
    """The result of a listen request: it was acknowledged before."""
    if asked.said.method == _LISTEN and asked.acknowledged is None and said.kind == "result":
        text = f"the subscription of line {asked.said.line} was never acknowledged"
        book.find("acknowledged-first", said.line, "server", text, asked.revision)


def _wants(wanted: Any, member: str, params: dict[str, Any]) -> bool:
    value = wanted.get(member) if isinstance(wanted, dict) else None
    if isinstance(value, list) and member == _FILTERS["task_ids"]:
        return params.get("taskId") in value
    return bool(value)  # what is told of a resource may be of one below it


def _check_log(book: Book, talk: Conversation, said: Said, revision: Revision) -> None:
    exchange = said.exchange
    asking = exchange.asked if exchange is not None else []
    if exchange is None:
        asking = [asked.said for asked in talk.waiting(other("server"))]
    if not any(META_LOG_LEVEL in each.meta for each in asking) and not talk.blind:
        text = "no request that runs has asked for log messages"
        book.find("log-level", said.line, "server", text, revision)
