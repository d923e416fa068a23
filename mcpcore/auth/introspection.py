"""Introspection of opaque tokens, and the cache of what was judged.

Tokens are known by their hash.  An active answer is kept until the token expires, at most for a
set time; an inactive one shortly.  One request is made for a token, however many wait for it.

Source: RFC 7662 sections 2 and 4.
"""

import hashlib
from collections import OrderedDict

from msgspec import Struct

from mcpcore.auth.metadata import read_object
from mcpcore.auth.tokens import ClaimRules, Grant, TokenFault, TokenRefused, judge_claims

_TYPES = {"bearer": False, "access_token": False, "dpop": True}
"""Values of ``token_type`` of access tokens, in lower case; True for those bound to a DPoP key."""


class CacheLimits(Struct, frozen=True, kw_only=True):
    """Limits of a cache of tokens; times in seconds."""

    active_for: float = 60.0
    """Most time for which a grant is used again: a revoked token works as long."""
    inactive_for: float = 5.0
    """Time for which a refusal is used again."""
    max_tokens: int = 10_000
    """Tokens of which judgements are kept."""
    max_waiting: int = 100
    """Tokens that are asked about at a time."""
    max_waiting_of_one: int | None = 25
    """Maximum of them that came from one address; None: no share."""


def token_key(token: str) -> bytes:
    """Return the name of a token in caches: its SHA-256."""
    return hashlib.sha256(token.encode()).digest()


def revocation_key(token: str) -> bytes:
    """Return the name of a token among revoked ones: the SHA-256 of what is signed of it.

    The holder of a JWT can write a signature of ECDSA in a second way, which verifies as well.  Of
    a token that is no JWT it is the SHA-256 of the whole.
    """
    return token_key(token.rpartition(".")[0] if token.count(".") == 2 else token)


def read_introspection(
    body: bytes, rules: ClaimRules, *, wall: float, lasts: float, bound: bool = False
) -> Grant:
    """Return what a token grants by the answer of the endpoint.

    ``lasts``: seconds for which an answer without ``exp`` holds.  ``bound``: True for a token that
    says itself that it is bound: an answer that names no binding would let any holder in.  Raises
    TokenRefused for a token that is not active, that is no access token, or whose claims do not
    hold; DocumentRefused for an answer that cannot be read.
    """
    answer = read_object(body, "the answer of the introspection endpoint")
    if answer.get("active") is not True:
        raise TokenRefused(TokenFault.REVOKED)
    kind = answer.get("token_type", "Bearer")
    by_key = _TYPES.get(kind.lower()) if isinstance(kind, str) else None
    if by_key is None:
        raise TokenRefused(TokenFault.TYPE)
    # Both are optional here (RFC 7662 section 2.2).
    claims = {"iss": rules.issuer, "exp": wall + lasts, **answer}
    grant = judge_claims(claims, rules, wall=wall, explicit=True)
    if (by_key and grant.thumbprint is None) or (bound and not grant.bound):
        raise TokenRefused(TokenFault.BINDING)
    return grant


class TokenCache:
    """Judgements of tokens that were seen before: grants, refusals, and questions under way."""

    def __init__(self, limits: CacheLimits | None = None) -> None:
        self.limits = limits or CacheLimits()
        self._known: OrderedDict[bytes, tuple[float, Grant | TokenFault]] = OrderedDict()
        self._waiting: dict[bytes, str | None] = {}
        """Addresses that the tokens came from, None where nobody knows."""

    def __len__(self) -> int:
        return len(self._known)

    def look(self, key: bytes, now: float) -> Grant | TokenFault | None:
        """Return what is known of a token and still holds, or None."""
        known = self._known.get(key)
        if known is None:
            return None
        until, judgement = known
        if now >= until:  # it stays the last one, by which is judged what the token has opened
            return None
        self._known.move_to_end(key)
        return judgement

    def last(self, key: bytes) -> tuple[float, Grant | TokenFault] | None:
        """Return the last judgement of a token and until when it holds; None: it is forgotten."""
        return self._known.get(key)

    def begin(self, key: bytes, address: str | None = None) -> bool | None:
        """Begin a question: True if the caller is to ask, False if another does already.

        None: too many are under way, in all or for this ``address``, which has no share if it is
        None.
        """
        if key in self._waiting:
            return False
        waiting = self._waiting
        share = None if address is None else self.limits.max_waiting_of_one
        if len(waiting) >= self.limits.max_waiting:
            return None
        if share is not None and sum(each == address for each in waiting.values()) >= share:
            return None
        waiting[key] = address
        return True

    def end(
        self, key: bytes, judgement: Grant | TokenFault | None, *, now: float, wall: float
    ) -> None:
        """End a question with a judgement to keep, or None if there was no answer.

        It is kept for a second at least, so that the request that asked is answered by it.
        """
        self._waiting.pop(key, None)
        if judgement is None:
            return
        limits = self.limits
        if isinstance(judgement, Grant):
            lives = max(1.0, min(limits.active_for, judgement.expires_at - wall))
        else:
            lives = limits.inactive_for
        self._known[key] = (now + lives, judgement)
        self._known.move_to_end(key)
        if len(self._known) > limits.max_tokens:
            self._known.popitem(last=False)

    def forget(self, key: bytes) -> None:
        """Forget what is known of a token, as it was revoked."""
        self._known.pop(key, None)
