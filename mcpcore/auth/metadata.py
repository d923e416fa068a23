"""Documents of OAuth as Structs, and the strict reading of their JSON.

Members that are not known are ignored.  An optional member of the wrong type is dropped and noted;
a required one that is missing or wrong makes the document unusable.

Sources: RFC 9728 section 2 (protected resource metadata), RFC 8414 section 2 and RFC 9207 section 3
(authorization server metadata), RFC 7591 section 3.2 (registration), RFC 6749 section 5 and RFC
8693 section 2.2.1 (token responses), RFC 7662 section 2.2 (introspection), RFC 8725 section 2.4
(duplicate members).
"""

import json
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import Struct

from mcpcore.errors import DocumentRefused
from mcpcore.wire.jsontext import deeper_than
from mcpcore.wire.redaction import Secret

MAX_DOCUMENT = 1024 * 1024
"""Bytes of a document."""

_MAX_DEPTH = 32


def read_object(body: bytes, what: str) -> dict[str, Any]:
    """Return the members of a JSON object.

    Raises DocumentRefused, which names ``what``, for anything else: too large or too deep, not
    UTF-8, with a member twice, with a number that no float holds, with half of a surrogate pair.
    """
    if len(body) > MAX_DOCUMENT:
        raise DocumentRefused(what, f"it is larger than {MAX_DOCUMENT} bytes")
    if deeper_than(body, _MAX_DEPTH):
        raise DocumentRefused(what, f"it nests more than {_MAX_DEPTH} deep")
    try:
        document = _decoded(body)
    except (ValueError, RecursionError):
        raise DocumentRefused(what, "it is not sound JSON") from None
    if not isinstance(document, dict):
        raise DocumentRefused(what, "it is not a JSON object")
    return document


def _decoded(body: bytes) -> Any:
    """Return JSON data, each member of which stands once.  Raises ValueError, RecursionError."""
    # Data that is written again as it came, as most is, has all that stood there.
    try:
        document = msgspec.json.decode(body)
        if msgspec.json.encode(document) == body:
            return document
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass  # the other reader says what holds
    document = _decode(body.decode())
    if b"\\u" in body:  # else there can be no half of a surrogate pair
        json.dumps(document, ensure_ascii=False).encode()
    return document


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        _no_number("an infinite one")
    return number


_decode = json.JSONDecoder(
    object_pairs_hook=_members, parse_constant=_no_number, parse_float=_finite
).decode


class ResourceMetadata(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Protected resource metadata (RFC 9728)."""

    resource: str
    authorization_servers: tuple[str, ...] = ()
    scopes_supported: tuple[str, ...] | None = None
    bearer_methods_supported: tuple[str, ...] | None = None
    resource_name: str | None = None
    resource_documentation: str | None = None
    dpop_signing_alg_values_supported: tuple[str, ...] | None = None
    dpop_bound_access_tokens_required: bool = False
    tls_client_certificate_bound_access_tokens: bool = False


class ServerMetadata(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Authorization server metadata (RFC 8414, OpenID Connect Discovery)."""

    issuer: str
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    registration_endpoint: str | None = None
    introspection_endpoint: str | None = None
    revocation_endpoint: str | None = None
    jwks_uri: str | None = None
    scopes_supported: tuple[str, ...] | None = None
    response_types_supported: tuple[str, ...] = ("code",)
    grant_types_supported: tuple[str, ...] = ("authorization_code", "implicit")
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    token_endpoint_auth_signing_alg_values_supported: tuple[str, ...] | None = None
    code_challenge_methods_supported: tuple[str, ...] = ()
    authorization_response_iss_parameter_supported: bool = False
    client_id_metadata_document_supported: bool = False
    dpop_signing_alg_values_supported: tuple[str, ...] | None = None
    mtls_endpoint_aliases: dict[str, str] = {}

    def endpoint(self, name: str, *, certificate: bool) -> str | None:
        """Return an endpoint by its name in this document.

        ``certificate``: True for a client that presents one, which has endpoints of its own where
        the server says so (RFC 8705 section 5).
        """
        usual: str | None = getattr(self, name)
        return self.mtls_endpoint_aliases.get(name, usual) if certificate else usual


class Registration(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Response to a dynamic registration (RFC 7591)."""

    client_id: str
    client_secret: str | None = None
    client_secret_expires_at: float = 0
    """Seconds since 1970; 0: never."""
    token_endpoint_auth_method: str | None = None
    redirect_uris: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.client_secret is not None:
            msgspec.structs.force_setattr(self, "client_secret", Secret(self.client_secret))


class TokenResponse(Struct, frozen=True, kw_only=True):
    """Successful response of a token endpoint."""

    access_token: str
    token_type: str
    expires_in: float | None = None
    """Lifetime in seconds; None: not told."""
    refresh_token: str | None = None
    scope: Any = None
    """Text, or what an issuer says in its place: it tells of scopes all the same."""
    issued_token_type: str | None = None

    def __post_init__(self) -> None:
        # Shown by no repr; the texts themselves are checked where they are used.
        force = msgspec.structs.force_setattr
        force(self, "access_token", Secret(self.access_token))
        if self.refresh_token is not None:
            force(self, "refresh_token", Secret(self.refresh_token))


class ErrorResponse(Struct, frozen=True, kw_only=True):
    """Error response of an OAuth endpoint (RFC 6749 section 5.2)."""

    error: str
    error_description: str | None = None
    error_uri: str | None = None
    status: int = 0
    """Status of the response; it is no member of the document."""

    @property
    def temporary(self) -> bool:
        """True if the same request may succeed later: nothing is said of what it holds."""
        later = self.status in (408, 429) or self.status // 100 not in (2, 4)
        return later or self.error == "use_dpop_nonce"


D = TypeVar("D", bound=Struct)


def read_document(body: bytes, kind: type[D], what: str) -> tuple[D, tuple[str, ...]]:
    """Return a document, and the names of its optional members that were dropped.

    Raises DocumentRefused if it is no JSON object, or a required member is missing or wrong.
    """
    return convert_document(read_object(body, what), kind, what)


def convert_document(
    members: dict[str, Any], kind: type[D], what: str
) -> tuple[D, tuple[str, ...]]:
    """Read a document as :func:`read_document` does, from members that are decoded already."""
    values: dict[str, Any] = {}
    dropped = []
    for field in msgspec.structs.fields(kind):
        value = members.get(field.encode_name)
        if value is None and not field.required:
            continue
        try:
            values[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            if field.required:
                raise DocumentRefused(what, f"its member {field.encode_name} is wrong") from None
            dropped.append(field.encode_name)
    return kind(**values), tuple(dropped)


def printable(text: str | None, limit: int = 300) -> str:
    """Return text of another party as one line that a terminal shows as it is."""
    shown = "".join(c if c.isprintable() else "?" for c in (text or "")[:limit])
    return shown if text is None or len(text) <= limit else shown + "..."


def unique(params: Iterable[tuple[str, str]], what: str) -> dict[str, str]:
    """Return parameters by name.  Raises DocumentRefused if a name stands twice."""
    found: dict[str, str] = {}
    for name, value in params:
        if name in found:
            raise DocumentRefused(what, f"its parameter {printable(name, 40)} stands twice")
        found[name] = value
    return found
