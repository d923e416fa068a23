"""Token requests: grants, and how a client authenticates itself.

Pure: a request is a form and headers.  A signature is made elsewhere, from a
:class:`SigningInput`.

Sources: RFC 6749 sections 2.3.1 (client passwords), 4.1.3 (code), 4.4.2 (client credentials) and 6
(refresh); RFC 7636 section 4 (PKCE); RFC 7521 and 7523 (assertions); RFC 8693 section 2.1 (token
exchange); RFC 8705 section 2 (mutual TLS); RFC 8707 section 2 (``resource``); the ext-auth pages on
client credentials and enterprise-managed authorization.
"""

import hashlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode

import msgspec
from msgspec import Struct

from mcpcore.auth.metadata import ErrorResponse, ServerMetadata, printable, unique
from mcpcore.errors import AuthorizationError, DocumentRefused
from mcpcore.wire.redaction import Secret

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - the name of a type
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - as above
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_AGE = 60.0
"""Seconds for which an assertion is valid."""


class ClientAuth(StrEnum):
    """Ways in which a client authenticates itself at the token endpoint."""

    NONE = "none"
    BASIC = "client_secret_basic"
    POST = "client_secret_post"
    PRIVATE_KEY = "private_key_jwt"
    TLS = "tls_client_auth"
    SELF_SIGNED_TLS = "self_signed_tls_client_auth"


_PREFERENCE = (
    ClientAuth.PRIVATE_KEY,
    ClientAuth.TLS,
    ClientAuth.SELF_SIGNED_TLS,
    ClientAuth.BASIC,
    ClientAuth.POST,
    ClientAuth.NONE,
)


ANY_METHOD = ServerMetadata(issuer="", token_endpoint_auth_methods_supported=tuple(ClientAuth))
"""Metadata of a server that may take any of them, as its own are not asked for."""


class SigningKey(Struct, frozen=True, kw_only=True):
    """Name of a private key, which the application holds: its algorithm and id."""

    algorithm: str
    key: str = "client"
    """Name by which the application finds the key."""
    kid: str | None = None


class ClientIdentity(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Credentials of a client at one issuer."""

    client_id: str
    """Id of the client at that issuer."""
    client_secret: str | None = None
    """Secret of the client, which no representation shows; None: it has none."""
    method: ClientAuth | None = None
    """Way in which the client was registered to authenticate itself; None: any that both can."""
    signing: SigningKey | None = None
    """Private key with which the client authenticates itself; None: it has none."""
    certificate: bool = False
    """True if the client presents a TLS certificate."""
    expires_at: float | None = None
    """Seconds since 1970 at which the secret expires; None: never."""
    assertion_audience: str | None = None
    """Audience of the assertions that it signs, such as the token endpoint of a server that takes
    no other; None: the issuer, or of an identity provider its token endpoint."""

    def __post_init__(self) -> None:
        if self.client_secret is not None:
            msgspec.structs.force_setattr(self, "client_secret", Secret(self.client_secret))

    def can(self, method: ClientAuth) -> bool:
        """Return True if the client has what ``method`` takes."""
        if method in (ClientAuth.BASIC, ClientAuth.POST):
            return self.client_secret is not None
        if method is ClientAuth.PRIVATE_KEY:
            return self.signing is not None
        if method is ClientAuth.NONE:
            return self.client_secret is None and self.signing is None and not self.certificate
        return self.certificate


class SigningInput(Struct, frozen=True, kw_only=True):
    """JWT without its signature, which is made over :attr:`text`."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def text(self) -> bytes:
        """Header and claims as they are signed (RFC 7515 section 5.1)."""
        return b".".join(
            base64url(msgspec.json.encode(part)) for part in (self.header, self.claims)
        )

    def signed(self, signature: bytes) -> str:
        """Return the JWT with a raw signature."""
        return (self.text + b"." + base64url(signature)).decode()


class TokenForm(Struct, frozen=True, kw_only=True):
    """Token request: form parameters and headers."""

    params: Mapping[str, str]
    headers: Mapping[str, str]

    def body(self) -> bytes:
        """Return the form as ``application/x-www-form-urlencoded``."""
        plain = [(name, str.__str__(value)) for name, value in self.params.items()]
        return urlencode(plain).encode()


def base64url(data: bytes) -> bytes:
    """Return ``data`` in base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=")


def choose_method(client: ClientIdentity, server: ServerMetadata) -> ClientAuth:
    """Return how the client authenticates itself: what it was registered with, or else can best.

    Raises AuthorizationError if the server takes nothing that the client can.
    """
    if client.method is not None and client.can(client.method):
        return client.method
    offered = server.token_endpoint_auth_methods_supported
    for method in _PREFERENCE:
        if method.value in offered and client.can(method):
            return method
    if client.can(ClientAuth.NONE):
        return ClientAuth.NONE  # a public client of a server that lists secrets alone (RFC 8414)
    raise AuthorizationError(
        "the authorization server takes none of the ways in which this client can authenticate "
        f"itself; it offers {printable(', '.join(offered)) or 'none'}"
    )


def challenge_of(verifier: str) -> str:
    """Return the PKCE challenge of a verifier, by S256 (RFC 7636 section 4.2)."""
    return base64url(hashlib.sha256(verifier.encode()).digest()).decode()


def token_form(
    grant: Mapping[str, str | None],
    client: ClientIdentity,
    method: ClientAuth,
    assertion: str | None = None,
) -> TokenForm:
    """Return the token request for a grant; parameters that are None are left out.

    ``assertion``: the signed :func:`client_assertion`, for PRIVATE_KEY.
    """
    params = {name: value for name, value in grant.items() if value is not None}
    headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
    secret = str.__str__(client.client_secret or "")
    # Beside Basic too, as servers look the client up by it (RFC 6749 section 3.2.1 permits it).
    params["client_id"] = client.client_id
    if method is ClientAuth.BASIC:
        pair = f"{quote_plus(client.client_id)}:{quote_plus(secret)}"
        headers["authorization"] = Secret(f"Basic {b64encode(pair.encode()).decode()}")
    if method is ClientAuth.POST:
        params["client_secret"] = Secret(secret)
    if assertion is not None:
        params["client_assertion_type"] = _ASSERTION_TYPE
        params["client_assertion"] = Secret(assertion)
    return TokenForm(params=params, headers=headers)


def client_assertion(
    client_id: str, key: SigningKey, *, audience: str, jti: str, wall: float
) -> SigningInput:
    """Return the assertion by which a client authenticates itself (RFC 7523 section 3).

    ``audience``: whom it is for.  ``jti``: a unique id.  ``wall``: seconds since 1970.
    """
    kid = {} if key.kid is None else {"kid": key.kid}
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "jti": jti,
        "iat": int(wall),
        "exp": int(wall + _ASSERTION_AGE),
    }
    return SigningInput(header={"alg": key.algorithm, "typ": "JWT", **kid}, claims=claims)


# Grants: parameters of the token request, beside the client's own


def code_grant(code: str, redirect_uri: str, verifier: str, resource: str) -> dict[str, str | None]:
    """Return the parameters that redeem an authorization code."""
    return {
        "grant_type": "authorization_code",
        "code": Secret(code),
        "redirect_uri": redirect_uri,
        "code_verifier": Secret(verifier),
        "resource": resource,
    }


def refresh_grant(token: str, scope: str | None, resource: str) -> dict[str, str | None]:
    """Return the parameters that refresh a token."""
    return {
        "grant_type": "refresh_token",
        "refresh_token": Secret(token),
        "scope": scope,
        "resource": resource,
    }


def client_credentials_grant(scope: str | None, resource: str) -> dict[str, str | None]:
    """Return the parameters that ask for a token of the client itself."""
    return {"grant_type": "client_credentials", "scope": scope, "resource": resource}


def jwt_bearer_grant(assertion: str, scope: str | None, resource: str) -> dict[str, str | None]:
    """Return the parameters that exchange an assertion, such as an ID-JAG, for a token."""
    return {
        "grant_type": JWT_BEARER,
        "assertion": Secret(assertion),
        "scope": scope,
        "resource": resource,
    }


def exchange_grant(
    subject_token: str,
    subject_token_type: str,
    *,
    audience: str | None,
    resource: str,
    scope: str | None,
    requested: str = ID_JAG,
) -> dict[str, str | None]:
    """Return the parameters that exchange a token (RFC 8693), by default for an ID-JAG."""
    return {
        "grant_type": EXCHANGE,
        "requested_token_type": requested,
        "subject_token": Secret(subject_token),
        "subject_token_type": subject_token_type,
        "audience": audience,
        "resource": resource,
        "scope": scope,
    }


def read_code(query: str, state: str, metadata: ServerMetadata) -> str | ErrorResponse:
    """Return the code, or the error, of an authorization response (RFC 9207 section 2.4: ``iss``).

    Raises DocumentRefused for another response than the one to the request.
    """
    what = "the authorization response"
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=32)
    except ValueError:
        raise DocumentRefused(what, "it has too many parameters") from None
    params = unique(pairs, what)
    if params.get("state") != state:
        raise DocumentRefused(what, "its state is not the one that was sent")
    issuer = params.get("iss")
    if issuer is None and metadata.authorization_response_iss_parameter_supported:
        raise DocumentRefused(what, "it names no issuer")
    if issuer is not None and issuer != metadata.issuer:
        raise DocumentRefused(what, "it is of another issuer")
    if "error" in params:
        return ErrorResponse(
            error=params["error"], error_description=params.get("error_description")
        )
    if not params.get("code"):
        raise DocumentRefused(what, "it has no code")
    return params["code"]
