"""Requests, responses, settings and bounded tables of the development authorization server.

Sources: RFC 6749 sections 3.2 and 5.2 (requests, errors), RFC 8707 (``resource``).
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from mcpcore.auth.challenges import format_scopes, parse_scopes
from mcpcore.auth.grants import ClientAuth, base64url
from mcpcore.auth.keysets import Key
from mcpcore.auth.metadata import printable, unique
from mcpcore.auth.proofs import ProofRules
from mcpcore.auth.urls import parse_url
from mcpcore.errors import DocumentRefused, UrlRefused
from mcpcore.http.principals import ClientCertificate
from mcpcore.wire.redaction import HIDDEN, Discreet, Secret

Headers = tuple[tuple[str, str], ...]

NO_STORE: Headers = (("cache-control", "no-store"), ("pragma", "no-cache"))
"""Headers of every response that holds a token, a code or a secret (RFC 6749 section 5.1)."""

CODE = "authorization_code"
REFRESH = "refresh_token"
CLIENT_CREDENTIALS = "client_credentials"

Fetch = Callable[[str], bytes | None]
"""Fetching of a client id metadata document by its URL, under a policy; None: there is none."""


class Response(Discreet, frozen=True):
    """Response to a request; header names are lower-case."""

    status: int
    headers: Headers = ()
    body: bytes = b""

    def __shown__(self) -> Mapping[str, object]:
        return {"headers": HIDDEN, "body": HIDDEN}


def reply(document: Any, status: int = 200, headers: Headers = NO_STORE) -> Response:
    """Return a response with JSON."""
    lines = (("content-type", "application/json"), *headers)
    return Response(status, lines, msgspec.json.encode(document))


class Refused(Exception):
    """Refusal of a request, with an error code of OAuth."""

    def __init__(self, error: str, text: str, status: int = 400, headers: Headers = ()) -> None:
        super().__init__(f"{error}: {text}")
        self.error = error
        self.text = text
        self.status = status
        self.headers = headers

    def response(self) -> Response:
        """Return the error response."""
        document = {"error": self.error, "error_description": printable(self.text)}
        return reply(document, self.status, (*NO_STORE, *self.headers))


class Request(Discreet, frozen=True, kw_only=True):
    """Request of a client or a browser; header names are lower-case."""

    method: str
    path: str
    query: str = ""
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    wall: float
    """Seconds since 1970."""
    certificate: ClientCertificate | None = None
    """Verified TLS certificate of the client."""

    def __shown__(self) -> Mapping[str, object]:
        return dict.fromkeys(("query", "headers", "body"), HIDDEN)

    def header(self, name: str) -> str | None:
        """Return the value of a header.  Raises Refused if it stands twice."""
        values = [value for key, value in self.headers if key == name]
        if len(values) > 1:
            raise Refused("invalid_request", f"the header {name} stands twice")
        return values[0] if values else None

    def form(self) -> dict[str, str]:
        """Return the parameters of the body.  Raises Refused for one that is no form."""
        kind = (self.header("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise Refused("invalid_request", "the body is no form")
        return parameters(self.body.decode("latin-1"))


def parameters(text: str) -> dict[str, str]:
    """Return parameters by name, without empty ones (RFC 6749 section 3.1).

    Raises Refused for too many, and for one that stands twice.
    """
    try:
        found = unique(parse_qsl(text, max_num_fields=64), "the request")
    except (ValueError, DocumentRefused):
        raise Refused("invalid_request", "a parameter stands twice, or there are many") from None
    if any(len(value) > 16 * 1024 for value in found.values()):
        raise Refused("invalid_request", "a parameter is too long")
    return found


class Client(Struct, frozen=True, kw_only=True):
    """Client that is registered."""

    client_id: str
    method: ClientAuth = ClientAuth.NONE
    secret: str | None = None
    keys: tuple[Key, ...] = ()
    """Public keys of its assertions, for ``private_key_jwt``."""
    subject: str | None = None
    """Subject of its certificate as RFC 4514 writes it, for ``tls_client_auth``; its tokens are
    bound to the certificate (RFC 8705)."""
    redirect_uris: tuple[str, ...] = ()
    grants: frozenset[str] = frozenset({CODE, REFRESH})
    name: str | None = None
    known_as: Mapping[str, str] = {}
    """Its ids at other authorization servers, by issuer: they stand in ID-JAGs for these."""

    def __post_init__(self) -> None:
        if self.secret is not None:
            msgspec.structs.force_setattr(self, "secret", Secret(self.secret))


class Trust(Enum):
    """Kinds of assertions that an issuer is trusted for."""

    PROVIDER = "provider"
    """ID-JAGs of an identity provider."""
    WORKLOAD = "workload"
    """Identities of workloads."""


class TrustedIssuer(Struct, frozen=True, kw_only=True):
    """Issuer whose assertions are exchanged for tokens."""

    issuer: str
    kind: Trust
    keys: tuple[Key, ...]
    subjects: frozenset[str] | None = None
    """Subjects that may have tokens; None: all of the issuer's."""


class Limits(Struct, frozen=True, kw_only=True):
    """Most entries of each table; a full one refuses new entries."""

    clients: int = 100
    documents: int = 100
    consents: int = 100
    codes: int = 1000
    families: int = 10_000
    """Tokens that were given for one authorization, with their refreshed ones."""
    tokens: int = 50_000
    replays: int = 10_000
    keys: int = 8
    redirects: int = 16
    """Redirect URIs of one client."""


class ServerSettings(Struct, frozen=True, kw_only=True):
    """Settings of the development authorization server; times in seconds."""

    issuer: str
    resources: tuple[str, ...] = ()
    """Resources that tokens are given for; none: any."""
    scopes: tuple[str, ...] = ()
    """Scopes that may be asked for; none: any."""
    clients: tuple[Client, ...] = ()
    trusted: tuple[TrustedIssuer, ...] = ()
    user: str = "developer"
    """Subject of the person who is always signed in."""
    consent: bool = True
    """Ask the person; False: consent at once."""
    registration: bool = True
    nonces: bool = False
    """Demand nonces of this server in DPoP proofs."""
    algorithm: str = "ES256"
    code_time: float = 60.0
    consent_time: float = 600.0
    token_time: float = 3600.0
    refresh_time: float = 14 * 86_400.0
    assertion_time: float = 300.0
    """Lifetime of an ID-JAG, and most of that of an assertion of a client."""
    registration_time: float = 30 * 86_400.0
    document_time: float = 300.0
    """Time for which a client id metadata document is not fetched again."""
    limits: Limits = Limits()
    proofs: ProofRules = ProofRules()

    def __post_init__(self) -> None:
        parse_url(self.issuer, "the issuer")
        format_scopes(self.scopes)

    @property
    def base(self) -> str:
        """Start of the endpoints' URLs."""
        return self.issuer.rstrip("/")

    def scopes_of(self, text: str | None, most: frozenset[str] | None = None) -> frozenset[str]:
        """Return the scopes that are asked for; all of ``most`` if none are named.

        Raises Refused for others than are supported, and others than ``most``.
        """
        if text is None:
            return most or frozenset()
        scopes = parse_scopes(text)
        own = {*self.scopes, "openid", "offline_access"}
        if scopes is None or (self.scopes and scopes - own) or (most is not None and scopes - most):
            raise Refused("invalid_scope", "a scope is unknown, malformed or not granted")
        return scopes

    def resource_of(self, text: str | None, granted: str | None = None) -> str:
        """Return the resource that a token is for.  Raises Refused (RFC 8707 section 2).

        ``granted``: the one that was authorized.
        """
        if text is None:
            text = granted or (self.resources[0] if len(self.resources) == 1 else None)
        try:
            sound = text is not None and bool(parse_url(text, "the resource"))
        except UrlRefused:
            sound = False
        known = not self.resources or text in self.resources
        if text is None or not sound or not known or granted not in (None, text):
            raise Refused("invalid_target", "the resource is missing, or not the one granted")
        return text


V = TypeVar("V")


class Table(Generic[V]):
    """Entries that end at a time.  A full table refuses new ones rather than forgetting others."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[str, tuple[V, float]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, key: str, value: V, *, until: float, wall: float) -> None:
        """Add or replace an entry.  Raises Refused if the table is full."""
        if key not in self._entries and len(self._entries) >= self._limit:
            self._entries = {k: each for k, each in self._entries.items() if wall < each[1]}
            if len(self._entries) >= self._limit:
                text = "a table of the server is full"
                raise Refused("temporarily_unavailable", text, 503, (("retry-after", "60"),))
        self._entries[key] = (value, until)

    def get(self, key: str, wall: float) -> V | None:
        """Return an entry that has not ended."""
        value, until = self._entries.get(key, (None, 0.0))
        return value if wall < until else None

    def pop(self, key: str, wall: float) -> V | None:
        """Remove an entry; return it if it has not ended."""
        value = self.get(key, wall)
        self._entries.pop(key, None)
        return value


class Randomness:
    """Random texts, from a function that returns as many random bytes as it is asked for."""

    def __init__(self, source: Callable[[int], bytes]) -> None:
        self._source = source

    def text(self) -> str:
        """Return 256 random bits in base64url."""
        return base64url(self._source(32)).decode()
