"""Clients of the development authorization server: given, registered, or known by a document.

Sources: RFC 7591 (registration), the client id metadata document draft, RFC 6749 section 2.3,
RFC 7523 section 2.2 and RFC 8705 section 2.1 (client authentication), RFC 8252 section 7.3
(redirects to loopback).
"""

import hmac
from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

import msgspec
from msgspec import Struct

from mcpcore.auth.grants import JWT_BEARER, ClientAuth
from mcpcore.auth.keysets import Key, KeySetLimits, read_keys
from mcpcore.auth.metadata import read_document
from mcpcore.auth.proofs import ReplayWindow
from mcpcore.auth.registration import same_redirect
from mcpcore.auth.resource_server import Verify
from mcpcore.auth.tokens import ClaimRules, TokenRefused, read_jws
from mcpcore.auth.urls import check_url, parse_url, with_query
from mcpcore.errors import DocumentRefused, UrlRefused
from mcpcore_conformance.auth.assertions import once, verified
from mcpcore_conformance.auth.model import (
    CLIENT_CREDENTIALS,
    CODE,
    REFRESH,
    Client,
    Fetch,
    Randomness,
    Refused,
    Request,
    ServerSettings,
    Table,
)

METHODS = (ClientAuth.NONE, ClientAuth.BASIC, ClientAuth.POST, ClientAuth.PRIVATE_KEY)
"""Ways in which clients authenticate themselves here, beside TLS certificates."""
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_GRANTS = frozenset({CODE, REFRESH, CLIENT_CREDENTIALS, JWT_BEARER})


class ClientDocument(Struct, frozen=True, kw_only=True):
    """Metadata of a client, in a registration or at its URL."""

    client_id: str | None = None
    client_name: str | None = None
    redirect_uris: tuple[str, ...] = ()
    grant_types: tuple[str, ...] = (CODE,)
    token_endpoint_auth_method: ClientAuth = ClientAuth.BASIC
    jwks: dict[str, Any] | None = None


class Clients:
    """Clients that are known, and their authentication."""

    def __init__(
        self,
        settings: ServerSettings,
        verify: Verify,
        randomness: Randomness,
        fetch: Fetch | None,
    ) -> None:
        self.documents = fetch is not None
        """True if clients may be known by a document at the URL that is their id."""
        self._settings = settings
        self._verify = verify
        self._randomness = randomness
        self._fetch = fetch
        self._given = {each.client_id: each for each in settings.clients}
        self._registered: Table[Client] = Table(settings.limits.clients)
        self._documents: Table[Client] = Table(settings.limits.documents)
        self._assertions = ReplayWindow(limit=settings.limits.replays)

    def find(self, client_id: str | None, wall: float) -> Client:
        """Return a client.  Raises Refused for one that is not known."""
        if client_id is None:
            raise Refused("invalid_request", "there is no client_id")
        found = self._given.get(client_id) or self._registered.get(client_id, wall)
        if found is None and client_id.startswith("https://"):
            found = self._documents.get(client_id, wall) or self._fetched(client_id, wall)
        if found is None:
            raise Refused("invalid_client", "the client is not known", 401)
        return found

    # Registration

    def register(self, body: bytes, wall: float) -> dict[str, Any]:
        """Register a client; return its metadata, with its id and secret."""
        try:
            document, wrong = read_document(body, ClientDocument, "the registration")
        except DocumentRefused as refused:
            raise Refused("invalid_client_metadata", str(refused)) from None
        if wrong:
            raise Refused("invalid_client_metadata", f"these members are wrong: {', '.join(wrong)}")
        secret = None
        if document.token_endpoint_auth_method in (ClientAuth.BASIC, ClientAuth.POST):
            secret = self._randomness.text()
        client = self._client(document, self._randomness.text(), secret)
        until = wall + self._settings.registration_time
        self._registered.put(client.client_id, client, until=until, wall=wall)
        made = {
            "client_id": client.client_id,
            "client_id_issued_at": int(wall),
            "client_name": client.name,
            "redirect_uris": client.redirect_uris,
            "grant_types": sorted(client.grants),
            "response_types": ["code"] if CODE in client.grants else [],
            "token_endpoint_auth_method": client.method.value,
            "client_secret": secret,
            "client_secret_expires_at": None if secret is None else int(until),
        }
        return {name: value for name, value in made.items() if value is not None}

    def _client(self, document: ClientDocument, client_id: str, secret: str | None) -> Client:
        """Return the client that metadata describe.  Raises Refused if they are not sound."""
        grants, method = frozenset(document.grant_types), document.token_endpoint_auth_method
        if not grants <= _GRANTS or method not in METHODS:
            raise Refused("invalid_client_metadata", "a grant or the authentication is unknown")
        if method is ClientAuth.NONE and CLIENT_CREDENTIALS in grants:
            raise Refused("invalid_client_metadata", "its grants need a client with credentials")
        redirects = document.redirect_uris
        if len(redirects) > self._settings.limits.redirects or (CODE in grants and not redirects):
            raise Refused("invalid_redirect_uri", "there are no redirect URIs, or too many")
        for uri in redirects:
            _check_redirect(uri)
        keys: tuple[Key, ...] = ()
        if method is ClientAuth.PRIVATE_KEY:
            try:
                keys = read_keys(msgspec.json.encode(document.jwks), KeySetLimits())
            except DocumentRefused as refused:
                raise Refused("invalid_client_metadata", str(refused)) from None
        return Client(
            client_id=client_id,
            method=method,
            secret=secret,
            keys=keys,
            redirect_uris=redirects,
            grants=grants,
            name=document.client_name,
        )

    def _fetched(self, url: str, wall: float) -> Client | None:
        """Return the client that the document at its URL describes, None if there is none."""
        what = "the client id metadata document"
        try:
            place = check_url(url, what)
        except UrlRefused as refused:
            raise Refused("invalid_client", str(refused), 401) from None
        body = None if self._fetch is None or place.path in ("", "/") else self._fetch(url)
        if body is None:
            return None
        try:
            document, wrong = read_document(body, ClientDocument, what)
        except DocumentRefused as refused:
            raise Refused("invalid_client", str(refused), 401) from None
        # Its default is one that a document cannot have: it holds no secret.
        if document.token_endpoint_auth_method is ClientAuth.BASIC:
            document = msgspec.structs.replace(document, token_endpoint_auth_method=ClientAuth.NONE)
        shared = document.token_endpoint_auth_method is ClientAuth.POST
        if document.client_id != url or wrong or shared:
            raise Refused("invalid_client", f"{what} is wrong, or of another client", 401)
        client = self._client(document, url, None)
        until = wall + self._settings.document_time
        self._documents.put(url, client, until=until, wall=wall)
        return client

    # Authentication

    def authenticate(self, request: Request, form: Mapping[str, str]) -> Client:
        """Return the client that a request comes from.  Raises Refused."""
        basic = _basic(request.header("authorization"))
        assertion, secret = form.get("client_assertion"), form.get("client_secret")
        if sum(each is not None for each in (basic, assertion, secret)) > 1:
            raise Refused("invalid_request", "the client authenticates itself in several ways")
        client_id = form.get("client_id")
        if basic is not None:
            name, secret = basic
            if client_id not in (None, name):
                raise Refused("invalid_request", "there are two client ids")
            client_id, method = name, ClientAuth.BASIC
        elif assertion is not None:
            claimed = _issuer(assertion)
            if client_id not in (None, claimed):
                raise Refused("invalid_request", "there are two client ids")
            client_id, method = claimed, ClientAuth.PRIVATE_KEY
        else:
            method = ClientAuth.NONE if secret is None else ClientAuth.POST
        client = self.find(client_id, request.wall)
        shown = request.certificate
        if method is ClientAuth.NONE and shown is not None and shown.subject == client.subject:
            method = ClientAuth.TLS
        if method is not client.method:
            raise _unauthenticated()
        if method is ClientAuth.PRIVATE_KEY:
            self._check_assertion(client, form, request.wall)
        elif secret is not None:
            own = str.__str__(client.secret or "").encode()
            if not own or not hmac.compare_digest(own, secret.encode()):
                raise _unauthenticated()
        return client

    def _check_assertion(self, client: Client, form: Mapping[str, str], wall: float) -> None:
        settings = self._settings
        rules = ClaimRules(
            issuer=client.client_id,
            audiences=frozenset({settings.issuer, f"{settings.base}/token"}),
            types=frozenset({"jwt", "client-authentication+jwt"}),
        )
        try:
            given = verified(form["client_assertion"], client.keys, rules, self._verify, wall)
            named = form.get("client_assertion_type") == _ASSERTION
            if not named or given.subject != client.client_id:
                raise _unauthenticated()
            once(given, self._assertions, settings, wall)
        except TokenRefused as refused:
            raise Refused("invalid_client", refused.fault.value, 401) from None


def redirect_of(client: Client, uri: str | None) -> str:
    """Return the redirect URI of an authorization request: a registered one.  Raises Refused."""
    if uri is None:
        if len(client.redirect_uris) == 1:
            return client.redirect_uris[0]
        raise Refused("invalid_request", "there is no redirect_uri")
    try:
        if any(same_redirect(each, uri) for each in client.redirect_uris):
            return uri
    except UrlRefused:
        pass
    raise Refused("invalid_request", "the redirect_uri is not one of the client's")


def _check_redirect(uri: str) -> None:
    """Raise Refused for a redirect URI that is neither https nor on loopback."""
    try:
        url = parse_url(uri, "the redirect URI")
        with_query(url, {"code": "", "state": "", "iss": ""})
    except UrlRefused as refused:
        raise Refused("invalid_redirect_uri", str(refused)) from None
    if url.scheme != "https" and not url.loopback:
        raise Refused("invalid_redirect_uri", "it is neither https nor on loopback")


def _unauthenticated() -> Refused:
    challenge = (("www-authenticate", 'Basic realm="token endpoint"'),)
    return Refused("invalid_client", "the client is not authenticated", 401, challenge)


def _basic(line: str | None) -> tuple[str, str] | None:
    """Return the id and secret of an Authorization header (RFC 6749 section 2.3.1)."""
    if line is None:
        return None
    scheme, _, text = line.partition(" ")
    try:
        name, colon, secret = b64decode(text.strip(), validate=True).decode().partition(":")
    except ValueError:
        raise _unauthenticated() from None
    if scheme.lower() != "basic" or not colon:
        raise _unauthenticated()
    return unquote_plus(name), unquote_plus(secret)


def _issuer(assertion: str) -> str | None:
    """Return the client that an assertion claims to be of."""
    try:
        return read_jws(assertion).issuer
    except TokenRefused as refused:
        raise Refused("invalid_client", refused.fault.value, 401) from None
