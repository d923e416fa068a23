"""Access tokens of a resource server: JWS read strictly, claims judged.

No claim decides anything before the signature is verified, except ``iss`` and ``kid``, by which the
key is found.  Verification itself is done elsewhere, with the key of a :class:`Jws`.

Sources: RFC 7515 (JWS, compact serialization), RFC 7519 section 4.1 (claims), RFC 8725 (best
practices), RFC 9068 (JWT access tokens), RFC 8705 section 3.1 and RFC 9449 section 6 (``cnf``),
RFC 8707 section 2 (audience).
"""

from binascii import a2b_base64
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from mcpcore.auth.challenges import parse_scopes
from mcpcore.auth.metadata import read_object
from mcpcore.auth.urls import lower_origin
from mcpcore.errors import DocumentRefused
from mcpcore.wire.redaction import HIDDEN, Discreet

MAX_TOKEN = 8 * 1024
"""Characters of an access token."""

ALGORITHMS = frozenset(
    {f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)}
    | {"EdDSA", "Ed25519"}
)
"""Signature algorithms that are ever accepted: asymmetric ones.

RFC 7518 section 3.1, RFC 8037; RFC 9864 section 2.2: ``Ed25519`` is EdDSA with that curve alone.
"""

_STANDARD = bytes.maketrans(b"-_+/=", b"+/!!!")
"""Translation of base64url to base64, which leaves nothing else valid."""
_LAST = ("", "", "AQgw", "AEIMQUYcgkosw048")
"""Last characters without spare bits that are set, by the length modulo four."""
TYPES = frozenset({"at+jwt", "jwt"})
"""Types of access tokens, as ``typ`` says in lower case."""
_OTHER = frozenset(
    {
        *("nonce", "at_hash", "c_hash", "s_hash"),  # an ID token
        *("events", "token_introspection", "htm", "htu"),  # logout, introspection, a proof
    }
)
"""Claims of JWTs that are no access tokens."""
_OTHER_KINDS = (
    ("typ", frozenset({"id", "refresh", "offline", "logout"})),
    ("token_use", frozenset({"id", "id_token", "refresh", "refresh_token"})),
)
"""Claims in which servers say of a token, also when asked about it, that it is no access token."""
_GRANTING = ("scope", "scp", "client_id", "azp", "appid")
"""Claims of which an access token has one at least, and an ID token or a logout token none."""
_MAX_NAME = 512
_UNSOUND_HEADERS = frozenset({"crit", "b64", "jku", "jwk", "x5u", "x5c"})


class TokenFault(StrEnum):
    """Reasons to refuse a token; the values may be shown to anybody."""

    MALFORMED = "the token is malformed"
    ALGORITHM = "the token is signed by an algorithm that is not accepted"
    HEADER = "the header of the token has a member that is not accepted"
    ISSUER = "the token is of an issuer that is not trusted"
    KEY = "the token is signed by an unknown key"
    SIGNATURE = "the signature of the token is wrong"
    TYPE = "the token is not an access token"
    AUDIENCE = "the token is for another resource"
    EXPIRED = "the token has expired"
    EARLY = "the token is not valid yet"
    SUBJECT = "the token names no subject"
    BINDING = "the token is bound to a key that the request does not prove"
    REVOKED = "the token is not active"
    PROOF = "the DPoP proof is not valid"


class TokenRefused(Exception):
    """Refusal of a token; never leaves the resource server."""

    def __init__(self, fault: TokenFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class Jws(Discreet, frozen=True, kw_only=True, gc=False):
    """Signed JWT whose signature is not verified yet."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    algorithm: str
    kid: str | None
    signing_input: bytes
    signature: bytes

    def __shown__(self) -> Mapping[str, object]:
        return dict.fromkeys(("header", "claims", "signing_input", "signature"), HIDDEN)

    @property
    def issuer(self) -> str | None:
        """Claimed issuer, by which the keys are found."""
        issuer = self.claims.get("iss")
        return issuer if isinstance(issuer, str) else None


def decode_base64url(text: Any) -> bytes:
    """Decode base64url without padding.  Raises ValueError if it is no text in canonical form."""
    if not isinstance(text, str) or not text or not text.isascii():
        raise ValueError("no base64url")
    # The unused bits of the last character must be zero: else two texts would be one token.
    if (rest := len(text) % 4) and text[-1] not in _LAST[rest]:
        raise ValueError("no canonical base64url")
    data = text.encode().translate(_STANDARD)
    return a2b_base64(data + b"=" * (-rest % 4), strict_mode=True)


def read_jws(token: str, *, embedded_key: bool = False) -> Jws:
    """Read a JWS in compact serialization, strictly.  Raises TokenRefused.

    ``embedded_key``: True for a DPoP proof, whose header holds its public key.
    """
    parts = token.split(".") if len(token) <= MAX_TOKEN else ()
    if len(parts) != 3:
        raise TokenRefused(TokenFault.MALFORMED)
    try:
        header = _header(parts[0])
        claims = read_object(decode_base64url(parts[1]), "the claims")
        signature = decode_base64url(parts[2])
    except (ValueError, DocumentRefused):
        raise TokenRefused(TokenFault.MALFORMED) from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefused(TokenFault.ALGORITHM)
    if kid is not None and not (isinstance(kid, str) and len(kid) <= _MAX_NAME):
        raise TokenRefused(TokenFault.HEADER)
    if not (_UNSOUND_HEADERS - {"jwk"} if embedded_key else _UNSOUND_HEADERS).isdisjoint(header):
        raise TokenRefused(TokenFault.HEADER)
    signing_input = f"{parts[0]}.{parts[1]}".encode()
    return Jws(
        header=header,
        claims=claims,
        algorithm=algorithm,
        kid=kid,
        signing_input=signing_input,
        signature=signature,
    )


@lru_cache(maxsize=64)
def _header(part: str) -> Mapping[str, Any]:
    """Return the header of a JWS, which all tokens that one key has signed share."""
    return MappingProxyType(read_object(decode_base64url(part), "the header"))


class ClaimRules(Struct, frozen=True, kw_only=True):
    """Expectations of a resource server of the claims of one issuer's tokens."""

    issuer: str
    audiences: frozenset[str]
    """Accepted values of ``aud``: normally the resource identifier alone.  The case of the scheme
    and host of a URL does not matter."""
    roles: str | None = None
    """Path of the claim with the roles, with dots between its members, or its name, which may have
    dots itself; None: no roles."""
    scopes: tuple[str, ...] = ("scope", "scp")
    """Claims that may hold the scopes, as a text or a list."""
    client_id: tuple[str, ...] = ("client_id", "azp")
    types: frozenset[str] = TYPES
    """Accepted values of the header ``typ``, in lower case; it may be absent if "jwt" is one."""
    leeway: float = 60.0
    """Seconds that clocks may differ."""


class Grant(Struct, frozen=True, kw_only=True, gc=False):
    """Rights that a verified token grants, and to whom."""

    issuer: str
    subject: str
    client_id: str | None
    scopes: frozenset[str]
    roles: frozenset[str]
    expires_at: float
    """Seconds since 1970."""
    claims: Mapping[str, Any]
    """All claims, read-only."""
    thumbprint: str | None = None
    """``cnf.jkt``: the token is bound to the DPoP key with this thumbprint."""
    certificate: str | None = None
    """``cnf.x5t#S256``: the token is bound to the certificate with this digest."""
    kid: str | None = None
    """Id of the key that has verified the token, if it is a JWT and the key has one."""
    jwk: Mapping[str, Any] | None = None
    """That key itself."""

    @property
    def bound(self) -> bool:
        """True if the token is bound to a key or a certificate."""
        return self.thumbprint is not None or self.certificate is not None

    def has_rights_of(self, other: "Grant") -> bool:
        """Return True if it is of the same subject, and grants all that another one does."""
        return (
            self.subject == other.subject
            and self.scopes >= other.scopes
            and self.roles >= other.roles
        )


def judge_type(jws: Jws, rules: ClaimRules) -> bool:
    """Return True if the header declares an access token (``at+jwt``), False if it says nothing.

    Raises TokenRefused for a header that declares something else.
    """
    kind = jws.header.get("typ", "JWT")
    if not isinstance(kind, str):
        raise TokenRefused(TokenFault.TYPE)
    kind = kind.lower().removeprefix("application/")
    if kind not in rules.types:
        raise TokenRefused(TokenFault.TYPE)
    return kind == "at+jwt"


def judge_claims(
    claims: Mapping[str, Any],
    rules: ClaimRules,
    *,
    wall: float,
    explicit: bool = False,
    kid: str | None = None,
    jwk: Mapping[str, Any] | None = None,
) -> Grant:
    """Return what verified claims grant.  Raises TokenRefused for the first that does not hold.

    ``wall``: seconds since 1970.  ``explicit``: the token's type was declared (``at+jwt``), so that
    claims of other kinds of token do not make it one.  ``kid``, ``jwk``: id of the key that has
    verified them, and the key.
    """
    if claims.get("iss") != rules.issuer:
        raise TokenRefused(TokenFault.ISSUER)
    judge_kind(claims, explicit=explicit)
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else (audience,)
    if not any(isinstance(each, str) and _is_audience(each, rules.audiences) for each in named):
        raise TokenRefused(TokenFault.AUDIENCE)
    expires_at = read_time(claims, "exp")
    if expires_at is None:
        raise TokenRefused(TokenFault.MALFORMED)
    if expires_at + rules.leeway <= wall:
        raise TokenRefused(TokenFault.EXPIRED)
    for name in ("nbf", "iat"):
        begins = read_time(claims, name)
        if begins is not None and begins - rules.leeway > wall:
            raise TokenRefused(TokenFault.EARLY)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_NAME:
        raise TokenRefused(TokenFault.SUBJECT)
    if not subject.isprintable():
        raise TokenRefused(TokenFault.SUBJECT)
    thumbprint, certificate = _confirmation(claims)
    return Grant(
        issuer=rules.issuer,
        subject=subject,
        client_id=_first_text(claims, rules.client_id),
        scopes=_scopes(claims, rules.scopes),
        roles=_roles(claims, rules.roles),
        expires_at=expires_at,
        claims=frozen(claims),
        thumbprint=thumbprint,
        certificate=certificate,
        kid=kid,
        jwk=jwk,
    )


def _is_audience(name: str, audiences: frozenset[str]) -> bool:
    return name in audiences or lower_origin(name) in _lower_origins(audiences)


@lru_cache(maxsize=64)
def _lower_origins(audiences: frozenset[str]) -> frozenset[str]:
    return frozenset(map(lower_origin, audiences))


def judge_kind(claims: Mapping[str, Any], *, explicit: bool) -> None:
    """Raise TokenRefused for claims of another kind of token than an access token.

    ``explicit``: the type was declared, as for :func:`judge_claims`.
    """
    for name, others in _OTHER_KINDS:
        kind = claims.get(name)
        if isinstance(kind, str) and kind.lower() in others:
            raise TokenRefused(TokenFault.TYPE)
    if not explicit and not (_OTHER.isdisjoint(claims) and any(x in claims for x in _GRANTING)):
        raise TokenRefused(TokenFault.TYPE)


def read_time(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a claim in seconds since 1970, None without it.  Raises TokenRefused for no time."""
    value = claims.get(name)
    if value is None:
        if name in claims:
            raise TokenRefused(TokenFault.MALFORMED)
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**53:
        raise TokenRefused(TokenFault.MALFORMED)
    return float(value)


def _confirmation(claims: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the thumbprint and the certificate digest that a token is bound to."""
    if "cnf" not in claims:
        return None, None
    confirmation = claims["cnf"]
    if not isinstance(confirmation, dict) or not confirmation:
        raise TokenRefused(TokenFault.BINDING)
    known = {"jkt", "x5t#S256"}
    if confirmation.keys() - known or not all(isinstance(v, str) for v in confirmation.values()):
        raise TokenRefused(TokenFault.BINDING)  # bound in a way that is not known here
    return confirmation.get("jkt"), confirmation.get("x5t#S256")


def _scopes(claims: Mapping[str, Any], names: tuple[str, ...]) -> frozenset[str]:
    for name in names:
        value = claims.get(name)
        if isinstance(value, str):
            return parse_scopes(value) or frozenset()
        if isinstance(value, list):
            return frozenset(
                each
                for each in value
                if isinstance(each, str) and parse_scopes(each) == frozenset({each})
            )
    return frozenset()


def _roles(claims: Mapping[str, Any], path: str | None) -> frozenset[str]:
    if path is None:
        return frozenset()
    value: Any = claims
    for member in (path,) if path in claims else path.split("."):
        value = value.get(member) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        value = [value]
    return (
        frozenset(each for each in value if isinstance(each, str))
        if isinstance(value, list)
        else frozenset()
    )


def _first_text(claims: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = claims.get(name)
        if isinstance(value, str) and value:
            return value
    return None


def frozen(value: Any) -> Any:
    """Return JSON data that cannot be changed: mappings are read-only, lists are tuples."""
    if isinstance(value, dict):
        made = dict(value)
        for name, each in value.items():
            if isinstance(each, (dict, list)):
                made[name] = frozen(each)
        return MappingProxyType(made)
    if isinstance(value, list):
        return tuple(map(frozen, value))
    return value
