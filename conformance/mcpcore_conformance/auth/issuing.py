"""Tokens that the development authorization server gives, and the keys that it signs with.

Sources: RFC 9068 section 2 (access tokens), RFC 9700 section 4.14 (rotation of refresh tokens),
RFC 7662 section 2.2 (introspection), RFC 7009 section 2 (revocation), OpenID Connect Core section 2
(ID tokens).
"""

import hmac
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from mcpcore.auth.challenges import format_scopes
from mcpcore.auth.grants import SigningInput
from mcpcore.auth.introspection import token_key
from mcpcore.auth.keysets import Key, usable_key
from mcpcore_conformance.auth.model import (
    REFRESH,
    Client,
    Randomness,
    Refused,
    ServerSettings,
    Table,
)
from mcpcore_conformance.kit.tokens import Signer


class Keyring:
    """Keys of the server: the newest of an algorithm signs, older ones are published for a while.

    Raises ValueError if there is none of the algorithm of the settings, or there are too many.
    """

    def __init__(self, signers: Sequence[Signer], settings: ServerSettings) -> None:
        self._settings = settings
        self._keys: list[tuple[Signer, float | None]] = [(each, None) for each in signers]
        """Newest first; the time at which a key is withdrawn."""
        if all(each.algorithm != settings.algorithm for each in signers):
            raise ValueError(f"there is no key of {settings.algorithm}")
        if len(signers) > settings.limits.keys:
            raise ValueError("there are too many keys")

    def rotate(self, signer: Signer, wall: float) -> None:
        """Sign with a new key from now on.

        The one before is published for as long as its tokens live.  Raises ValueError if too many
        keys are published.
        """
        kept = [each for each in self._keys if each[1] is None or wall < each[1]]
        if len(kept) >= self._settings.limits.keys:
            raise ValueError("there are too many keys")
        ends = wall + self._settings.token_time
        retired = [
            (key, ends if until is None and key.algorithm == signer.algorithm else until)
            for key, until in kept
        ]
        self._keys = [(signer, None), *retired]

    def published(self, wall: float) -> list[Mapping[str, Any]]:
        """Return the public keys as JWKs."""
        return [key.public for key, until in self._keys if until is None or wall < until]

    def keys(self, wall: float) -> tuple[Key, ...]:
        """Return the public keys as keys that verify."""
        found = (usable_key(dict(jwk)) for jwk in self.published(wall))
        return tuple(key for key in found if key is not None)

    def sign(self, kind: str, claims: Mapping[str, Any]) -> str:
        """Return a signed JWT of a ``typ``."""
        algorithm = self._settings.algorithm
        signer = next(key for key, _ in self._keys if key.algorithm == algorithm)
        header = {"alg": algorithm, "typ": kind, "kid": signer.public["kid"]}
        text = SigningInput(header=header, claims=claims)
        return text.signed(signer.sign(text.text))


class Authorized(Struct, frozen=True, kw_only=True):
    """Authorization that tokens are given for."""

    client: Client
    subject: str
    scopes: frozenset[str]
    resource: str
    jkt: str | None = None
    """Thumbprint of the DPoP key that the tokens are bound to."""
    certificate: str | None = None
    """SHA-256 of the certificate that they are bound to, in base64url (RFC 8705 section 3.1)."""
    refreshable: bool = False
    nonce: str | None = None
    """``nonce`` of an OpenID Connect request, for the ID token."""


class _Family(Struct, kw_only=True):
    """Tokens of one authorization: they are revoked together."""

    authorized: Authorized
    refresh: str = ""
    """Hash of the refresh token that is valid now; empty without one."""


class _Given(Struct, frozen=True, kw_only=True):
    family: str
    claims: Mapping[str, Any]


class Issuing:
    """Tokens by family."""

    def __init__(self, settings: ServerSettings, keys: Keyring, randomness: Randomness) -> None:
        self._settings = settings
        self._keys = keys
        self._randomness = randomness
        self._families: Table[_Family] = Table(settings.limits.families)
        self._tokens: Table[_Given] = Table(settings.limits.tokens)

    def begin(self, authorized: Authorized, wall: float) -> str:
        """Begin a family of tokens; return its id."""
        settings, name = self._settings, self._randomness.text()
        lasts = settings.refresh_time if authorized.refreshable else settings.token_time
        self._families.put(name, _Family(authorized=authorized), until=wall + lasts, wall=wall)
        return name

    def give(self, name: str, scopes: frozenset[str], wall: float) -> dict[str, Any]:
        """Return the token response for a family."""
        settings = self._settings
        family = self._families.get(name, wall)
        assert family is not None
        authorized = family.authorized
        bound = {"jkt": authorized.jkt, "x5t#S256": authorized.certificate}
        bound = {name: digest for name, digest in bound.items() if digest is not None}
        claims = {
            "iss": settings.issuer,
            "sub": authorized.subject,
            "aud": authorized.resource,
            "client_id": authorized.client.client_id,
            "iat": int(wall),
            "exp": int(wall + settings.token_time),
            "jti": self._randomness.text(),
            **({"scope": format_scopes(scopes)} if scopes else {}),
            **({"cnf": bound} if bound else {}),
        }
        token = self._keys.sign("at+jwt", claims)
        given = _Given(family=name, claims=claims)
        self._tokens.put(_key(token), given, until=wall + settings.token_time, wall=wall)
        response = {
            "access_token": token,
            "token_type": _type_of(claims),
            "expires_in": int(settings.token_time),
            **({"scope": claims["scope"]} if scopes else {}),
        }
        if authorized.refreshable:
            refresh = f"{name}.{self._randomness.text()}"
            response[REFRESH], family.refresh = refresh, _key(refresh)
        if "openid" in scopes:
            response["id_token"] = self._id_token(authorized, wall)
        return response

    def _id_token(self, authorized: Authorized, wall: float) -> str:
        claims = {
            "iss": self._settings.issuer,
            "sub": authorized.subject,
            "aud": authorized.client.client_id,
            "iat": int(wall),
            "exp": int(wall + self._settings.token_time),
            "nonce": authorized.nonce,
        }
        return self._keys.sign("JWT", {k: v for k, v in claims.items() if v is not None})

    def authorized(self, token: str, client: Client, wall: float) -> tuple[str, Authorized]:
        """Return the family of a refresh token.  Its next tokens replace this one.

        Raises Refused for one that is not valid; one that was valid before ends its family, as
        one of its two users is a thief.
        """
        name = token.partition(".")[0]
        family = self._families.get(name, wall)
        if family is None or family.authorized.client.client_id != client.client_id:
            raise Refused("invalid_grant", "the refresh token is not valid")
        if not hmac.compare_digest(family.refresh, _key(token)):
            self.end(name, wall)
            raise Refused("invalid_grant", "the refresh token was used before")
        return name, family.authorized

    def end(self, name: str, wall: float) -> None:
        """Revoke all tokens of a family."""
        self._families.pop(name, wall)

    def revoke(self, token: str, client: Client, wall: float) -> None:
        """Revoke a token of a client: a refresh token with all that were given with it."""
        given = self._tokens.get(_key(token), wall)
        name = token.partition(".")[0] if given is None else given.family
        family = self._families.get(name, wall)
        if family is None or family.authorized.client.client_id != client.client_id:
            return  # as for one that is not known (RFC 7009 section 2.2)
        if given is not None:
            self._tokens.pop(_key(token), wall)
        elif hmac.compare_digest(family.refresh, _key(token)):
            self.end(name, wall)

    def introspect(self, token: str, wall: float) -> dict[str, Any]:
        """Return what is known of a token."""
        given = self._tokens.get(_key(token), wall)
        if given is not None and self._families.get(given.family, wall) is not None:
            return {"active": True, "token_type": _type_of(given.claims), **given.claims}
        return {"active": False}


def _type_of(claims: Mapping[str, Any]) -> str:
    return "DPoP" if "jkt" in claims.get("cnf", ()) else "Bearer"


def _key(token: str) -> str:
    return token_key(token).hex()
