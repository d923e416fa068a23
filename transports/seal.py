"""Seals for ``requestState``: authenticated, bound to its request, with an expiry.

The state of an input round travels through the client, which the specification treats as an
attacker (2026-07-28, "Multi Round-Trip Requests", server requirements 4 and 5).  A seal is
readable by the client but cannot be altered, moved to another principal, method or parameters, or
used after its expiry.  What must stay secret does not belong into it; what must happen only once
must be enforced by the server itself.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable

import msgspec
from msgspec import Raw

from mcpcore.spec.errors import LocalError

_VERSION = b"\x01"
_EXPIRY_SIZE = 8
_TAG_SIZE = 32
_NOT_BOUND = frozenset({"_meta", "inputResponses", "requestState"})


class SealBroken(LocalError):
    """The token was not made here, was altered, belongs to another request, or has expired."""


class Seal:
    """Seals payloads with HMAC-SHA-256 (RFC 2104) under one key.

    ``key``: at least 32 random bytes; workers that serve the same clients share it.
    ``lifetime``: seconds until a token expires.  ``limit``: bytes of a payload.  ``wall``: the
    clock of the expiry, in seconds since the epoch, as tokens outlive the process.
    """

    def __init__(
        self,
        key: bytes,
        *,
        lifetime: float = 3600.0,
        limit: int = 256 * 1024,
        wall: Callable[[], float] = time.time,
    ) -> None:
        if len(key) < _TAG_SIZE:
            raise ValueError(f"the key of a seal has at least {_TAG_SIZE} bytes, not {len(key)}")
        self._key = bytes(key)
        self._lifetime = lifetime
        self._limit = limit
        self._wall = wall

    def seal(self, payload: bytes, binding: bytes) -> str:
        """Return a token of URL-safe ASCII that :meth:`open` accepts with the same ``binding``.

        Raises ValueError if ``payload`` is over the limit.
        """
        if len(payload) > self._limit:
            raise ValueError(
                f"the state of an input round is {len(payload)} bytes, over the limit of "
                f"{self._limit}"
            )
        expiry = int((self._wall() + self._lifetime) * 1000).to_bytes(_EXPIRY_SIZE, "big")
        body = _VERSION + expiry + payload
        return _encode(self._tag(body, binding) + body)

    def open(self, token: str, binding: bytes) -> bytes:
        """Return the payload.  Raises :class:`SealBroken` with a reason safe to show."""
        if len(token) > self._limit * 2 + 256:
            raise SealBroken("requestState is longer than any that was given out")
        try:
            data = base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        except (UnicodeEncodeError, binascii.Error):
            data = b""
        if _encode(data) != token:  # the decoder skips what it does not know
            raise SealBroken("requestState was altered or is not one that was given out")
        tag, body = data[:_TAG_SIZE], data[_TAG_SIZE:]
        genuine = hmac.compare_digest(tag, self._tag(body, binding))
        if not genuine or len(body) < 1 + _EXPIRY_SIZE or body[:1] != _VERSION:
            raise SealBroken("requestState was altered or belongs to another request")
        expiry = int.from_bytes(body[1 : 1 + _EXPIRY_SIZE], "big")
        if self._wall() * 1000 >= expiry:
            raise SealBroken("requestState has expired")
        return body[1 + _EXPIRY_SIZE :]

    def _tag(self, body: bytes, binding: bytes) -> bytes:
        bound = len(binding).to_bytes(8, "big") + binding + body
        return hmac.new(self._key, bound, hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def request_binding(principal: str | None, method: str, params: Raw | bytes) -> bytes:
    """Digest what a state is bound to: who asks, for what, with which parameters.

    ``params`` counts without ``_meta``, ``inputResponses`` and ``requestState``, and regardless of
    the order of members, so that an honest retry has the same binding.
    """
    members = msgspec.json.decode(params)
    salient = {name: value for name, value in members.items() if name not in _NOT_BOUND}
    identity = msgspec.json.encode([principal, method, salient], order="deterministic")
    return hashlib.sha256(identity).digest()
