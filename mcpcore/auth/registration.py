"""Credentials of a client at an issuer: given, by document, stored, or registered now.

They are kept by issuer together with its token endpoint, and used nowhere else; a registration is
for one kind of grant.

Sources: the authorization pages, "Client Registration" and "Authorization Server Binding"; RFC
7591; RFC 8252 section 7.3 (loopback redirects); OpenID Connect Registration (application types).
"""

from urllib.parse import urlsplit

import msgspec

from mcpcore.auth.discovery import GIVE_YOURS, Discovered
from mcpcore.auth.endpoints import JSON, Endpoints, error_response, failure_by
from mcpcore.auth.grants import JWT_BEARER, ClientAuth, ClientIdentity, choose_method
from mcpcore.auth.metadata import Registration, ServerMetadata, printable
from mcpcore.auth.needs import Listen, Load, NeedFailed, Save, Steps, Stored, Text, expect
from mcpcore.auth.records import ClientRecord, read_record, resource_name, written
from mcpcore.auth.settings import AuthorizationSettings, ClientCredentialsGrant, CodeGrant
from mcpcore.auth.urls import parse_url
from mcpcore.errors import AuthorizationError, DocumentRefused, UrlRefused


def find_client(
    endpoints: Endpoints, server: str, authority: Discovered, token_endpoint: str
) -> Steps[tuple[ClientIdentity, str]]:
    """Return the credentials to use at an issuer, and the redirect URI, "" without a sign-in."""
    settings, metadata = endpoints.settings, authority.metadata
    if settings.client is not None:
        # Else the application says where they belong, or the id is good at each issuer.
        if settings.issuer is None and not _is_document(settings.client, metadata):
            yield from _bind(endpoints, settings.client, server, metadata.issuer, token_endpoint)
        return settings.client, (yield from _redirect(settings))
    if settings.metadata_url is not None and metadata.client_id_metadata_document_supported:
        client = ClientIdentity(client_id=settings.metadata_url, method=ClientAuth.NONE)
        return client, (yield from _redirect(settings))
    key = client_key(metadata.issuer, settings.grant.kind)
    stored = expect((yield Load(key=key)), Stored)
    known = read_record(stored.record, ClientRecord)
    place, name = (metadata.issuer, token_endpoint), settings.client_name
    if known is not None and not _serves(known, place, name, endpoints.wall):
        known = None
    redirect = yield from _redirect(settings, known)
    if known is not None and known.redirect_uri == redirect:
        return known.client, redirect
    client = yield from _registered(endpoints, authority, redirect)
    record = ClientRecord(
        issuer=metadata.issuer,
        token_endpoint=token_endpoint,
        client=client,
        redirect_uri=redirect,
        client_name=name,
    )
    saved = yield Save(key=key, record=written(record), version=stored.version)
    if isinstance(saved, NeedFailed):
        _note_unsaved(endpoints, "the registration", saved)
    return client, redirect


def _is_document(client: ClientIdentity, server: ServerMetadata) -> bool:
    """Return True for a public client whose id is the URL of its metadata, as the server takes."""
    by_url = client.client_id.startswith("https://") and client.can(ClientAuth.NONE)
    return by_url and server.client_id_metadata_document_supported


def _note_unsaved(endpoints: Endpoints, what: str, failure: NeedFailed) -> None:
    endpoints.notes.append(f"{what} is not stored: {printable(failure.reason)}")


def _redirect(settings: AuthorizationSettings, known: ClientRecord | None = None) -> Steps[str]:
    """Open the place of the callback; return its URL.

    A free port is the one of the registration if it can be had: not every server ignores it, as RFC
    8252 section 7.3 wants.
    """
    if not isinstance(settings.grant, CodeGrant):
        return ""
    wanted, before = settings.grant.redirect_uri, known.redirect_uri if known else ""
    if before and not urlsplit(wanted).port and same_redirect(before, wanted):
        outcome = yield Listen(redirect_uri=before)
        if isinstance(outcome, Text):
            return outcome.text
    return expect((yield Listen(redirect_uri=wanted, patient=True)), Text).text


def forget_client(issuer: str, grant: str, client_id: str) -> Steps[None]:
    """Remove a registration at an issuer, so that the next sign-in registers anew.

    Another one, which another process may have made meanwhile, is kept.
    """
    key = client_key(issuer, grant)
    stored = expect((yield Load(key=key)), Stored)
    known = read_record(stored.record, ClientRecord)
    if stored.record is not None and (known is None or known.client.client_id == client_id):
        yield Save(key=key, record=None, version=stored.version)


def client_key(issuer: str, grant: str) -> str:
    """Return the name of a registration in the store; ``grant``: the kind of its grant."""
    return f"client {grant} {issuer}"


def _bind(
    endpoints: Endpoints, client: ClientIdentity, server: str, issuer: str, token_endpoint: str
) -> Steps[None]:
    """Bind pre-registered credentials to the first issuer that they are used at.

    Raises AuthorizationError if that was another one, or sent them to another endpoint.
    """
    key = f"registered {resource_name(server)} {client.client_id}"
    found = expect((yield Load(key=key)), Stored)
    if found.record is None:
        public = ClientIdentity(client_id=client.client_id)  # where is noted, not the secret
        record = ClientRecord(issuer=issuer, token_endpoint=token_endpoint, client=public)
        saved = yield Save(key=key, record=written(record), version=found.version)
        if isinstance(saved, NeedFailed):
            _note_unsaved(endpoints, "the issuer of the credentials", saved)
            return
        found = expect(saved, Stored)  # another process may have been first
    before = read_record(found.record, ClientRecord)
    if before is None or (before.issuer, before.token_endpoint) != (issuer, token_endpoint):
        raise AuthorizationError(
            "the server names another authorization server, or another token endpoint, than the "
            "one that the credentials of this client were used at: if that is right, name the "
            "issuer in the settings"
        )


def _serves(record: ClientRecord, place: tuple[str, str], name: str, wall: float) -> bool:
    """Return True if a stored registration can be used at an issuer and its token endpoint.

    ``name``: that of this client; another program of the user may have registered by its own.
    """
    if (record.issuer, record.token_endpoint) != place or record.client_name != name:
        return False
    expires = record.client.expires_at
    return expires is None or wall < expires


def same_redirect(registered: str, redirect: str) -> bool:
    """Return True if a redirect URI is the registered one: any port on loopback (RFC 8252)."""
    if registered == redirect:
        return True
    try:
        one, other = (parse_url(each, "the redirect URI") for each in (registered, redirect))
    except UrlRefused:
        return False
    alike = (one.scheme, one.path, one.query) == (other.scheme, other.path, other.query)
    return one.loopback and one.host == other.host and alike


def _registered(
    endpoints: Endpoints, authority: Discovered, redirect: str
) -> Steps[ClientIdentity]:
    """Register at an issuer (RFC 7591)."""
    metadata = authority.metadata
    if metadata.registration_endpoint is None:
        raise AuthorizationError(
            f"the authorization server {printable(metadata.issuer)} registers no clients: give "
            "the credentials that you have there"
        )
    settings = endpoints.settings
    if ClientAuth.NONE in metadata.token_endpoint_auth_methods_supported and redirect:
        method = ClientAuth.NONE
    else:
        given = ClientIdentity(client_id="", client_secret="?")  # noqa: S106 - what may be given
        method = choose_method(given, metadata)
    if isinstance(settings.grant, CodeGrant):
        grants = ["authorization_code", "refresh_token"]
    elif isinstance(settings.grant, ClientCredentialsGrant):
        grants = ["client_credentials"]
    else:
        grants = [JWT_BEARER]
    web = bool(redirect) and not parse_url(redirect, "the redirect URI").loopback
    wanted = {
        "client_name": settings.client_name,
        "client_uri": settings.client_uri,
        "redirect_uris": [redirect] if redirect else None,
        "grant_types": grants,
        "response_types": ["code"] if redirect else [],
        "token_endpoint_auth_method": method.value,
        "application_type": "web" if web else "native",
    }
    body = msgspec.json.encode({k: v for k, v in wanted.items() if v is not None})
    url = endpoints.url(metadata.registration_endpoint, "the registration endpoint")
    headers = {**JSON, "content-type": "application/json"}
    response = yield from endpoints.fetch("POST", url, headers, body)
    if response.status not in (200, 201):
        failure = failure_by("this client was not registered", error_response(response))
        if authority.published:
            raise failure
        hint = f"no metadata says that it could be: {GIVE_YOURS}"
        raise AuthorizationError(f"{failure}; {hint}")
    made = endpoints.read(response.body, Registration, "the registration")
    return _judged(made, method, redirect, endpoints.wall)


def _judged(made: Registration, asked: ClientAuth, redirect: str, wall: float) -> ClientIdentity:
    """Return the credentials that a registration gives, if they are what was asked for."""
    what = "the registration"
    registered = made.redirect_uris or (redirect,)
    if redirect and not any(same_redirect(each, redirect) for each in registered):
        raise DocumentRefused(what, "it is for other redirect URIs")
    answered = made.token_endpoint_auth_method or asked.value
    method = next((each for each in ClientAuth if each.value == answered), None)
    secret = None if method is ClientAuth.NONE else made.client_secret or None
    expires = (made.client_secret_expires_at or None) if secret else None
    if expires is not None and expires <= wall:
        raise DocumentRefused(what, "its secret has expired")
    client = ClientIdentity(
        client_id=made.client_id, client_secret=secret, method=method, expires_at=expires
    )
    if method is None or not client.can(method):
        raise DocumentRefused(what, "it asks for another way of authentication")
    if not made.client_id or not made.client_id.isprintable() or not made.client_id.isascii():
        raise DocumentRefused(what, "its client id cannot be sent")
    return client
