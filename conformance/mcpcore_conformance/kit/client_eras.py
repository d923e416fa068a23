"""Requests by which clients of both eras find that of a server; they are no part of a session."""

from collections.abc import Iterable

from mcpcore.spec.types.base import META_PROTOCOL_VERSION
from mcpcore_conformance.kit.messages import Kind, Message, is_id


def is_modern(message: Message) -> bool:
    """Return True for a modern request: ``server/discover``, or one with a version in ``_meta``."""
    if message.kind is not Kind.REQUEST or message.method == "initialize":
        return False
    meta = message.params.get("_meta")
    versioned = isinstance(meta, dict) and META_PROTOCOL_VERSION in meta
    return versioned or message.method == "server/discover"


class Overture:
    """Follows a conversation of the older era up to ``initialize``.

    Requests of the newer era that come before it, and their cancellations, are how a client of both
    finds out what the server speaks.
    """

    def __init__(self) -> None:
        self._tried: set[object] = set()
        self._over = False

    def has(self, message: Message) -> bool:
        """Return True if ``message``, the next one, belongs to the overture."""
        self._over = self._over or message.method == "initialize"
        if message.kind is Kind.REQUEST:
            tried = not self._over and is_modern(message)
            if is_id(message.id):
                (self._tried.add if tried else self._tried.discard)(_key(message.id))
            return tried
        named = message.params.get("requestId")
        cancelled = message.method == "notifications/cancelled" and is_id(named)
        return cancelled and _key(named) in self._tried


def of_session(seen: Iterable[Message]) -> list[Message]:
    """Return the messages of a conversation of the older era, without the overture."""
    overture = Overture()
    return [each for each in seen if not overture.has(each)]


def _key(id: object) -> object:
    return type(id), id
