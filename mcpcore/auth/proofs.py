"""DPoP: proofs of the possession of a key, made by clients and judged by servers.

A proof is signed, and its signature verified, elsewhere.

Sources: RFC 9449 sections 4.2 (proofs), 4.3 (checking them), 7 (with access tokens), 8 and 9
(nonces), 11.1 (replay); RFC 7638 (thumbprints).
"""

import hashlib
import hmac
import re
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from typing import Any

import msgspec
from msgspec import Struct

from mcpcore.auth.grants import SigningInput, base64url
from mcpcore.auth.keysets import usable_key
from mcpcore.auth.tokens import Jws, TokenFault, TokenRefused, read_jws
from mcpcore.auth.urls import parse_url
from mcpcore.errors import UrlRefused

_TYPE = "dpop+jwt"
_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,512}")
_KEY_MEMBERS = {
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "RSA": ("e", "kty", "n"),
}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_NONCE_PERIOD = 300


def thumbprint(key: Mapping[str, Any]) -> str:
    """Return the SHA-256 thumbprint of a public key as a JWK (RFC 7638 section 3).

    Raises ValueError for a key of another kind, with members that are missing, or a private one.
    """
    members = _KEY_MEMBERS.get(str(key.get("kty")))
    public = _PRIVATE.isdisjoint(key)
    if not public or members is None or not all(isinstance(key.get(name), str) for name in members):
        raise ValueError("not a public key of a known kind")
    text = msgspec.json.encode({name: key[name] for name in members})
    return base64url(hashlib.sha256(text).digest()).decode()


def token_hash(token: str) -> str:
    """Return the hash ``ath`` of an access token (RFC 9449 section 4.2)."""
    return base64url(hashlib.sha256(token.encode()).digest()).decode()


def make_proof(
    method: str,
    url: str,
    *,
    key: Mapping[str, Any],
    algorithm: str,
    jti: str,
    wall: float,
    token: str | None = None,
    nonce: str | None = None,
) -> SigningInput:
    """Return the proof for a request, to be signed.

    ``key``: the public key as a JWK.  ``url``: without query and fragment in the proof.  ``token``:
    the access token that goes with it, None at the token endpoint.
    """
    claims: dict[str, Any] = {
        "jti": jti,
        "htm": method,
        "htu": _bare(url),
        "iat": int(wall),
    }
    if token is not None:
        claims["ath"] = token_hash(token)
    if nonce is not None:
        claims["nonce"] = nonce
    return SigningInput(header={"typ": _TYPE, "alg": algorithm, "jwk": dict(key)}, claims=claims)


def _bare(url: str) -> str:
    """Return a URL without its query and fragment."""
    return url.partition("#")[0].partition("?")[0]


def nonce_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the nonce in the headers of a response; None without one, or with several."""
    found = [value for name, value in headers if name == b"dpop-nonce"]
    return found[0].decode("latin-1") if len(found) == 1 else None


def sound_nonce(text: str | None) -> str | None:
    """Return a nonce that another party gave, None if it is none that can be sent."""
    return text if text is not None and _NONCE.fullmatch(text) else None


class ProofRules(Struct, frozen=True, kw_only=True):
    """Expectations of a resource server of a proof."""

    algorithms: frozenset[str] = frozenset({"ES256", "EdDSA", "Ed25519"})
    """Accepted algorithms of its signature."""
    age: float = 300.0
    """Seconds that a proof is valid before and after its ``iat``."""


def read_proof(text: str, rules: ProofRules) -> tuple[Jws, Mapping[str, Any]]:
    """Return a proof, and the key in its header that its signature is to be verified with.

    Raises TokenRefused.
    """
    try:
        proof = read_jws(text, embedded_key=True)
    except TokenRefused:  # its faults are those of tokens
        raise TokenRefused(TokenFault.PROOF) from None
    jwk = proof.header.get("jwk")
    key = usable_key(jwk)
    if (
        proof.header.get("typ") != _TYPE
        or proof.algorithm not in rules.algorithms
        or not isinstance(jwk, dict)
        or jwk.keys() & _PRIVATE
        or key is None
        or not key.fits(proof.algorithm)
    ):
        raise TokenRefused(TokenFault.PROOF)
    return proof, key.jwk


class NonceMissing(Exception):
    """The proof has no nonce of this server, or one that has expired (``use_dpop_nonce``).

    ``nonce``: the one to use.
    """

    def __init__(self, nonce: str) -> None:
        super().__init__("the proof needs a nonce of this server")
        self.nonce = nonce


def judge_proof(
    proof: Jws,
    rules: ProofRules,
    *,
    method: str,
    urls: Collection[str],
    token: str | None,
    nonces: "Nonces | None",
    wall: float,
) -> str:
    """Return the ``jti`` of a proof whose signature is verified, if it holds for a request.

    ``urls``: those of which it may be for one.  ``token``: None at a token endpoint.  Raises
    TokenRefused, and NonceMissing if ``nonces`` are demanded and the proof has none that is valid.
    """
    claims = proof.claims
    jti, made = claims.get("jti"), claims.get("iat")
    sound = (
        isinstance(jti, str)
        and 0 < len(jti) <= 256
        and isinstance(made, int | float)
        and not isinstance(made, bool)
        and abs(made) < 2**53
        and claims.get("htm") == method
        and any(_same_url(claims.get("htu"), url) for url in urls)
        and _same_token(claims.get("ath"), token)
        and abs(made - wall) <= rules.age
    )
    if not sound:
        raise TokenRefused(TokenFault.PROOF)
    if nonces is not None and not nonces.accepts(claims.get("nonce"), wall):
        raise NonceMissing(nonces.current(wall))
    return str(jti)


def _same_token(claimed: Any, token: str | None) -> bool:
    """Return True if a proof holds the hash of the token that it comes with."""
    if token is None:
        return True
    if not isinstance(claimed, str):
        return False
    return hmac.compare_digest(claimed.encode(), token_hash(token).encode())


def _same_url(claimed: Any, url: str) -> bool:
    """Compare URLs without query and fragment, in the form of RFC 3986 section 6.2.3."""
    if not isinstance(claimed, str):
        return False
    try:
        one, other = (parse_url(_bare(text), "htu") for text in (claimed, url))
    except UrlRefused:
        return False
    return (one.origin, one.path or "/") == (other.origin, other.path or "/")


def use_digest(jti: str, key: str) -> bytes:
    """Return the name of a proof where uses are kept: by its id and its key's thumbprint."""
    return hashlib.sha256(f"{key} {jti}".encode()).digest()


class Seen(Enum):
    """Outcomes of the look whether a proof was used before."""

    FRESH = "fresh"
    REPLAYED = "replayed"
    FULL = "full"
    """Proof that cannot be judged: the window holds as many as it may, in all or of its party."""


class ReplayWindow:
    """Proofs that were used: hashes of their ids, for as long as they are valid.

    Bounded by ``limit``, and by ``limit_of_one`` for each party, so that none uses it up for the
    others, however many keys it makes: a full window refuses proofs rather than forgetting others.
    A use is forgotten when its time is over by both clocks, as the wall clock may jump ahead and
    back.
    """

    def __init__(self, *, limit: int = 100_000, limit_of_one: int = 25_000) -> None:
        self._limit = limit
        self._limit_of_one = limit_of_one
        self._seen: OrderedDict[bytes, tuple[float, float, str]] = OrderedDict()
        """Times of the wall clock and of the monotonic one until which uses are remembered, and
        their parties."""
        self._counts: Counter[str] = Counter()
        """Uses that are remembered, by party."""

    def __len__(self) -> int:
        return len(self._seen)

    def look(
        self, jti: str, key: str, *, party: str, until: float, wall: float, now: float
    ) -> Seen:
        """Note the use of a proof, by its id and the thumbprint of its key, and say if it is new.

        ``party``: the principal or client that has shown it.  ``until``: the end of its validity,
        by the wall clock.  Ends never come earlier than those
        noted before by more than the ages that clocks allow, so the oldest are dropped first.
        """
        while self._seen:
            end, later, used = next(iter(self._seen.values()))
            if end >= wall or later >= now:
                break
            self._seen.popitem(last=False)
            self._counts[used] -= 1
            if not self._counts[used]:
                del self._counts[used]
        digest = use_digest(jti, key)
        if digest in self._seen:
            return Seen.REPLAYED
        if len(self._seen) >= self._limit or self._counts[party] >= self._limit_of_one:
            return Seen.FULL
        self._seen[digest] = until, now + until - wall, party
        self._counts[party] += 1
        return Seen.FRESH


class Nonces:
    """Nonces of a server: a MAC over a period of time, so that nothing is kept of them."""

    def __init__(self, secret: bytes, *, period: int = _NONCE_PERIOD) -> None:
        if len(secret) < 32:
            raise ValueError("the secret of nonces needs at least 32 random bytes")
        self._secret = secret
        self._period = period

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def current(self, wall: float) -> str:
        """Return the nonce to hand out now."""
        return self._of(int(wall // self._period))

    def accepts(self, nonce: Any, wall: float) -> bool:
        """Return True for the nonce of this period and of the one before."""
        if not isinstance(nonce, str) or len(nonce) > 128:
            return False
        period = int(wall // self._period)
        return any(
            hmac.compare_digest(nonce.encode(), self._of(period - back).encode()) for back in (0, 1)
        )

    def _of(self, period: int) -> str:
        digest = hmac.digest(self._secret, b"dpop nonce %d" % period, "sha256")
        return base64url(digest[:18]).decode()
