"""Key sets of issuers: what is known, and when to fetch them anew.

A :class:`KeySet` is a machine for the keys of one issuer.  It is asked for the keys that may have
signed a token, and says by :meth:`KeySet.due` when its document is to be fetched.  Requests whose
keys are known and fresh never wait.  A fetch that fails changes nothing until the keys are too old.

Sources: RFC 7517 (JWK sets), RFC 7518 section 6 (keys), RFC 8725 sections 3.1 and 3.5, RFC 9111
section 5.2.2.1 (``max-age``).
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from mcpcore.auth.metadata import read_object
from mcpcore.auth.tokens import decode_base64url
from mcpcore.errors import DocumentRefused

_RSA_BITS = range(2048, 8193)
_RSA_EXPONENT = 4
"""Most bytes of the public exponent of an RSA key."""
_CURVES = {
    "ES256": ("P-256",),
    "ES384": ("P-384",),
    "ES512": ("P-521",),
    "EdDSA": ("Ed25519", "Ed448"),
    "Ed25519": ("Ed25519",),
}
_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_PUBLIC = {"RSA": ("n", "e"), "EC": ("x", "y", "crv"), "OKP": ("x", "crv")}


class KeySetLimits(Struct, frozen=True, kw_only=True):
    """Limits of the key set of an issuer; times in seconds."""

    min_age: float = 300.0
    """Least time between fetches that no unknown key asks for."""
    max_age: float = 86_400.0
    """Most time after which keys are fetched anew, and for which they outlive failed fetches."""
    burst: int = 4
    """Fetches for unknown keys that may follow one another at once."""
    interval: float = 5.0
    """Time after which an unknown key may ask for another fetch."""
    unknown_for: float = 30.0
    """Time for which a key that was not found is not looked for again, and after a fetch no key is
    taken for a new one because a signature was wrong."""
    max_unknown: int = 1024
    """Keys that were not found, of which is known that they were not."""
    max_keys: int = 64
    """Keys of one set; those behind them are left out."""
    max_bytes: int = 256 * 1024
    """Bytes of a document of the issuer; a larger one is refused, and what is known stays."""


class Key(Struct, frozen=True, kw_only=True):
    """Public key of an issuer."""

    jwk: Mapping[str, Any]
    kid: str | None
    kind: str
    """``kty``"""
    algorithm: str | None
    """``alg``: the only algorithm that it is used with; None: any that its kind fits."""

    def fits(self, algorithm: str) -> bool:
        """Return True if the key can have made a signature of ``algorithm``."""
        curves = _CURVES.get(algorithm, (None,))
        return (
            self.algorithm in (None, algorithm)
            and self.kind == _KINDS[algorithm[:2]]
            and self.jwk.get("crv") in curves
        )


def read_keys(body: bytes, limits: KeySetLimits) -> tuple[Key, ...]:
    """Return the usable keys of a JWK set; keys for other uses, private and weak ones are left out.

    Raises DocumentRefused for a document that is no key set, or has none that can be used.
    """
    what = "the key set of the issuer"
    if len(body) > limits.max_bytes:
        raise DocumentRefused(what, f"it is larger than {limits.max_bytes} bytes")
    members = read_object(body, what).get("keys")
    if not isinstance(members, list):
        raise DocumentRefused(what, "it has no list of keys")
    found: dict[str | int, Key] = {}
    twice = set()
    for place, jwk in enumerate(members[: limits.max_keys]):
        key = usable_key(jwk)
        if key is not None:
            name: str | int = place if key.kid is None else key.kid
            if name in found:
                twice.add(name)
            found[name] = key
    keys = tuple(key for name, key in found.items() if name not in twice)
    if not keys:
        raise DocumentRefused(what, "it has no key that verifies signatures")
    return keys


def usable_key(jwk: Any) -> Key | None:
    """Return a JWK as a key that verifies signatures, None if it is not sound, or for other uses.

    RSA keys that are too weak are left out, and those so large that they cost too much time.
    """
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
        return None
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    kid, algorithm, kind = jwk.get("kid"), jwk.get("alg"), jwk.get("kty")
    if not isinstance(kid, str | None) or not isinstance(algorithm, str | None):
        return None
    if not isinstance(kind, str) or kind not in _PUBLIC:
        return None
    parts = {name: jwk.get(name) for name in _PUBLIC[kind]}
    try:
        numbers = [decode_base64url(part) for name, part in parts.items() if name != "crv"]
    except ValueError:
        return None
    if kind == "RSA":
        modulus, exponent = numbers
        bits = int.from_bytes(modulus).bit_length()
        if bits not in _RSA_BITS or len(exponent) > _RSA_EXPONENT:
            return None
    # Nothing but the public members goes on: a private part of theirs is none of our business.
    return Key(jwk={"kty": kind, **parts}, kid=kid, kind=kind, algorithm=algorithm)


class KeySet:
    """Keys of one issuer: known ones, unknown ones, and the times of fetches."""

    def __init__(self, limits: KeySetLimits | None = None) -> None:
        self.limits = limits or KeySetLimits()
        self.keys: tuple[Key, ...] = ()
        self._fetched = -1.0
        """Time of the last document that was good; negative: never."""
        self._renew_at = 0.0
        self._fresh_until = 0.0
        """Time from which requests wait for the next fetch."""
        self._fetching = False
        self.failing = False
        """True if the last fetch has failed: a key that is not known may be a new one."""
        self._wanted = False
        """True if a key was asked for that is not known."""
        self._tokens = float(self.limits.burst)
        self._counted = 0.0
        self._unknown: OrderedDict[str, float] = OrderedDict()

    def find(self, kid: str | None, algorithm: str, now: float) -> tuple[Key, ...] | None:
        """Return the keys that may have signed a token; empty: none has.

        None: nobody knows yet; ask again once a fetch is over, for which :meth:`due` calls.
        """
        if self.lacking(now):
            self._wanted = True
            return None if self._may_fetch(now) or self._fetching else ()
        if now >= self._fresh_until:
            return None
        found = tuple(
            key for key in self.keys if (kid is None or key.kid == kid) and key.fits(algorithm)
        )
        if found:
            return found
        if kid is None or any(key.kid == kid for key in self.keys):
            return None if self.doubted(now) else ()
        refused = self._unknown.get(kid)
        if refused is not None and now < refused:
            return ()
        if not (self._fetching or self._may_fetch(now)):
            return ()
        self._wanted = True
        return None

    def doubted(self, now: float) -> bool:
        """Ask for a fetch as no known key has made a signature: issuers use a name of a key twice.

        True if there is one to wait for; False if the keys are new, or fetches were too many.
        """
        if now - self._fetched < self.limits.unknown_for:
            return False
        if not (self._fetching or self._may_fetch(now)):
            return False
        self._wanted = True
        return True

    def lacking(self, now: float) -> bool:
        """Return True if no keys are known, or those that are known are too old."""
        return self._fetched < 0 or now - self._fetched > self.limits.max_age

    def due(self, now: float) -> bool:
        """Return True if the document is to be fetched now; the caller does, and reports it."""
        if self._fetching:
            return False
        if self._wanted and self._may_fetch(now):
            self._tokens -= 1
        elif self._fetched < 0 or now < self._renew_at:
            return False
        self._fetching = True
        return True

    def fetched(
        self, body: bytes, now: float, *, max_age: float | None = None, asked: str | None = None
    ) -> None:
        """Take a document.  Raises DocumentRefused for one that cannot be used; nothing changes.

        ``max_age``: seconds for which its sender says it is fresh.  ``asked``: the key it was
        fetched for, which is remembered as unknown if it is not there.
        """
        self._fetching = self._wanted = False
        try:
            keys = read_keys(body, self.limits)
        except DocumentRefused:
            self.failed(now)
            raise
        limits = self.limits
        age = min(max(max_age or 0.0, limits.min_age), limits.max_age)
        self.keys, self._fetched, self.failing = keys, now, False
        self._renew_at, self._fresh_until = now + 0.8 * age, now + age
        if asked is None or any(key.kid == asked for key in keys):
            return
        self._unknown[asked] = now + limits.unknown_for
        self._unknown.move_to_end(asked)
        if len(self._unknown) > limits.max_unknown:
            self._unknown.popitem(last=False)

    def failed(self, now: float) -> None:
        """Note that a fetch has failed; known keys stay, and the next fetch waits."""
        self._fetching = self._wanted = False
        self.failing = True
        self._tokens, self._counted = 0.0, now
        self._renew_at = now + self.limits.min_age
        self._fresh_until = max(self._fresh_until, now + 2 * self.limits.min_age)

    def _may_fetch(self, now: float) -> bool:
        limits = self.limits
        gained = max(0.0, now - self._counted) / limits.interval
        self._tokens = min(float(limits.burst), self._tokens + gained)
        self._counted = now
        return self._tokens >= 1
