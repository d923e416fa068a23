"""Sign-out of a client: its stored token is forgotten, and revoked where that is possible.

Pure steps, carried out as those of an authorization are.  A token goes to the issuer that gave it
alone: to a revocation endpoint of the origin of the token endpoint that it came from.

Source: RFC 7009 section 2.
"""

from msgspec import Struct

from mcpcore.auth.discovery import find_metadata
from mcpcore.auth.endpoints import Endpoints
from mcpcore.auth.grants import ClientAuth
from mcpcore.auth.needs import Done, Load, Lock, Save, Steps, Stored, Unlock, expect
from mcpcore.auth.records import TokenKey, TokenRecord, read_record
from mcpcore.auth.registration import forget_client
from mcpcore.auth.urls import parse_url, server_metadata_urls
from mcpcore.errors import AuthorizationError, DocumentRefused


class SignedOut(Struct, frozen=True, kw_only=True):
    """Outcome of a sign-out."""

    found: bool
    """True if there was a token, which is forgotten now."""
    revoked: bool = False
    """True if the authorization server has revoked it."""
    reason: str | None = None
    """Reason why not, for the user."""


def sign_out(endpoints: Endpoints, key: TokenKey) -> Steps[SignedOut]:
    """Forget the stored token of a key and the registration at its issuer, then revoke the token.

    Raises AuthorizationError if it cannot be forgotten; the lock is released either way.
    """
    expect((yield Lock(key=key.text)), Done)
    outcome: SignedOut | AuthorizationError
    try:
        outcome = yield from _forgotten(endpoints, key)
    except AuthorizationError as error:
        outcome = error
    yield Unlock(key=key.text)
    if isinstance(outcome, AuthorizationError):
        raise outcome
    return outcome


def _forgotten(endpoints: Endpoints, key: TokenKey) -> Steps[SignedOut]:
    stored = expect((yield Load(key=key.text)), Stored)
    if stored.record is None:
        return SignedOut(found=False)
    expect((yield Save(key=key.text, record=None, version=stored.version)), Stored)
    record = read_record(stored.record, TokenRecord)
    if record is None:
        return SignedOut(found=True, reason="the stored token cannot be read")
    yield from forget_client(record.issuer, key.grant, record.client.client_id)
    try:
        yield from _revoked(endpoints, record)
    except AuthorizationError as error:
        return SignedOut(found=True, reason=str(error))
    return SignedOut(found=True, revoked=True)


def _revoked(endpoints: Endpoints, record: TokenRecord) -> Steps[None]:
    """Revoke the tokens of a record, the one for refreshes first.  Raises AuthorizationError."""
    places = server_metadata_urls(record.issuer)
    metadata = yield from find_metadata(endpoints, record.issuer, places)
    client, place = record.client, None
    if metadata is not None:
        place = metadata.endpoint("revocation_endpoint", certificate=client.certificate)
    if place is None:
        raise AuthorizationError("the authorization server revokes no tokens")
    what = "the revocation endpoint"
    url = endpoints.url(place, what)
    if url.origin != parse_url(record.token_endpoint, "the token endpoint").origin:
        raise DocumentRefused(what, "it is not at the origin of the token")
    for token, hint in (
        (record.refresh_token, "refresh_token"),
        (record.access_token, "access_token"),
    ):
        if token is not None:
            yield from endpoints.revoke(
                url, token, hint, client, client.method or ClientAuth.NONE, audience=record.issuer
            )
