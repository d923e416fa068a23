"""Protection of ``requestState`` on its way through the client: the interface.

The maker of a state seals it, so that the client, which the specification treats as an attacker,
can neither alter it nor use it for another request, for another principal, or later than allowed.
:mod:`mcpcore_transports.server.seal` has two implementations.

Source: 2026-07-28, patterns, "Multi Round-Trip Requests", server requirements 4 and 5.
"""

from enum import StrEnum
from typing import Protocol

import msgspec
from msgspec import Raw, Struct

_NOT_BOUND = frozenset({"_meta", "inputResponses", "requestState"})
"""Params that differ between a request and its retry: trace ids and progress tokens, answers."""


class Binding(Struct, frozen=True):
    """Request that a state belongs to; made by :func:`request_binding`."""

    principal: str | None
    """Authenticated principal, None if there was none."""
    method: str
    params: bytes
    """Digest of the salient parameters."""


class SealRefusal(StrEnum):
    """Reasons to refuse a state; the values may be shown to anybody."""

    FOREIGN = "requestState was not given out by this server, or under a key that it has no more"
    ALTERED = "requestState was altered"
    EXPIRED = "requestState has expired; send the request again without it"
    PRINCIPAL = "requestState was given to another principal"
    METHOD = "requestState belongs to a request of another method"
    PARAMS = "requestState belongs to a request with other parameters"


class Seal(Protocol):
    """Seals states and opens them again. ``wall``: seconds since the epoch, for the expiry."""

    def seal(self, payload: bytes, binding: Binding, *, wall: float) -> str:
        """Return a text that :meth:`open` turns back into ``payload`` for the same ``binding``.

        Raises ValueError if the payload is larger than allowed.
        """
        ...

    def open(self, text: str, binding: Binding, *, wall: float) -> bytes:
        """Return the payload.  Raises :class:`SealBroken` for any text that is not to be used."""
        ...


def request_binding(principal: str | None, method: str, params: Raw | bytes) -> Binding:
    """Return the binding of a request, which its retries share.

    ``params``: the JSON object as sent.  All of it counts but ``_meta``, ``inputResponses`` and
    ``requestState``, regardless of the order of members and of blanks.
    """
    try:
        members = msgspec.json.decode(params)
    except msgspec.DecodeError:  # no float holds a number of it: take values as written
        members = msgspec.json.decode(params, type=dict[str, Raw])
    salient = {name: value for name, value in members.items() if name not in _NOT_BOUND}
    import hashlib  # imported late: it takes longer than all of this module

    digest = hashlib.sha256(msgspec.json.encode(salient, order="deterministic")).digest()
    return Binding(principal, method, digest)
