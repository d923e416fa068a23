"""Access tokens for a server that was told the kit's authorization server, good ones and others.

The kit writes JWTs and proofs itself; whoever runs it brings the keys that sign them.

Sources: RFC 7515 (JWS), RFC 7519 (JWT), RFC 9068 (access tokens), RFC 9449 section 4.2 (proofs).
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct

ISSUER_VARIABLE = "MCP_CONFORMANCE_AUTH_ISSUER"
JWKS_VARIABLE = "MCP_CONFORMANCE_AUTH_JWKS_URL"
RESOURCE_VARIABLE = "MCP_CONFORMANCE_AUTH_RESOURCE"
SCOPE_VARIABLE = "MCP_CONFORMANCE_AUTH_SCOPE"
TOOL_SCOPE_VARIABLE = "MCP_CONFORMANCE_AUTH_TOOL_SCOPE"
BROAD_SCOPE_VARIABLE = "MCP_CONFORMANCE_AUTH_BROAD_SCOPE"
"""Variables of the environment that tell a server under test of the authorization server."""

SCOPE, TOOL_SCOPE, BROAD_SCOPE = "mcp:use", "mcp:write", "mcp:admin"
"""Scopes: that every request needs, that ``SCOPED_TOOL`` needs as well, that implies both."""
SCOPED_TOOL = "test_needs_scope"

Json = dict[str, Any]


class Signer(Protocol):
    """Private key."""

    @property
    def algorithm(self) -> str:
        """Algorithm that it signs with."""

    @property
    def public(self) -> Mapping[str, Any]:
        """Public key as a JWK."""

    def sign(self, data: bytes) -> bytes:
        """Return the raw signature of ``data``."""


class Tokens(Struct, frozen=True, kw_only=True):
    """Tokens and keys of the kit's authorization server."""

    issuer: str
    resource: str
    """Resource that the server under test was told it is."""
    good: str
    """Token of the kit's principal, with every scope."""
    other: str
    """The same of a second principal."""
    used: str
    """Token with ``SCOPE`` alone."""
    broad: str
    """Token with ``BROAD_SCOPE`` alone."""
    bare: str
    """Token without any scope."""
    bound: str
    """Token with every scope, bound to the key ``holder``."""
    key: Signer
    """Key of the authorization server."""
    stranger: Signer
    """Key of the same algorithm that it has not published."""
    holder: Signer
    """Key of the client of ``bound``."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables for the server under test."""
        return {
            ISSUER_VARIABLE: self.issuer,
            JWKS_VARIABLE: f"{self.issuer}/jwks",
            RESOURCE_VARIABLE: self.resource,
            SCOPE_VARIABLE: SCOPE,
            TOOL_SCOPE_VARIABLE: TOOL_SCOPE,
            BROAD_SCOPE_VARIABLE: BROAD_SCOPE,
        }

    def changed(self, *, of: str = "", signer: Signer | None = None, **claims: Any) -> str:
        """Return a good token (or another: ``of``) with other claims; None leaves one out."""
        header, found = read(of or self.good)
        made = {name: value for name, value in {**found, **claims}.items() if value is not None}
        return jwt(header, made, (signer or self.key).sign)


def read(token: str) -> tuple[Json, Json]:
    """Return header and claims of a JWT."""
    header, claims, _ = token.split(".")
    return _decoded(header), _decoded(claims)


def jwt(
    header: Mapping[str, Any], claims: Mapping[str, Any], sign: Callable[[bytes], bytes]
) -> str:
    """Return a JWT."""
    text = f"{encoded(_json(header))}.{encoded(_json(claims))}"
    return f"{text}.{encoded(sign(text.encode()))}"


def mac(key: bytes) -> Callable[[bytes], bytes]:
    """Return the signing function of HS256 with a key."""
    return lambda data: hmac.digest(key, data, "sha256")


def proof(
    signer: Signer,
    *,
    method: str,
    url: str,
    wall: float,
    id: str,
    token: str | None = None,
    nonce: str | None = None,
    header: Mapping[str, Any] | None = None,
    claims: Mapping[str, Any] | None = None,
    sign: Callable[[bytes], bytes] | None = None,
) -> str:
    """Return a DPoP proof; ``header`` and ``claims`` are changes, None leaves a member out."""
    heading: Json = {"typ": "dpop+jwt", "alg": signer.algorithm, "jwk": public_part(signer)}
    heading |= header or {}
    made: Json = {"jti": id, "htm": method, "htu": url, "iat": int(wall), "nonce": nonce}
    if token is not None:
        made["ath"] = encoded(hashlib.sha256(token.encode()).digest())
    made |= claims or {}
    said = {name: value for name, value in made.items() if value is not None}
    return jwt({k: v for k, v in heading.items() if v is not None}, said, sign or signer.sign)


def encoded(data: bytes) -> str:
    """Return ``data`` in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public_part(signer: Signer) -> Json:
    """Return the members that make up a public key of a curve."""
    return {name: signer.public[name] for name in ("kty", "crv", "x", "y")}


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _decoded(part: str) -> Json:
    found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found if isinstance(found, dict) else {}
