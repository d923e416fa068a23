"""Records of a client's store: tokens, and registrations at issuers."""

from collections.abc import Mapping
from hashlib import sha256
from typing import TypeVar

import msgspec
from msgspec import Struct

from mcpcore.auth.challenges import format_scopes
from mcpcore.auth.grants import ClientIdentity
from mcpcore.auth.settings import AuthorizationSettings
from mcpcore.errors import DocumentRefused
from mcpcore.wire.redaction import HIDDEN, Discreet, Secret, shown_url

_PREFIX = "token "
_MAX_TOKEN = 64 * 1024


class TokenKey(Discreet, frozen=True, kw_only=True, array_like=True):
    """Name of a token in the store, in which no two of these are alike.

    A person and a program, or several clients or accounts, each have a token of their own.
    """

    issuer: str
    """Issuer that the settings name, "" if they leave it to the server."""
    resource: str
    """Resource of the token, as :func:`resource_name` names it."""
    client_id: str
    """Client that the settings name, "" if it registers itself."""
    account: str
    grant: str
    """Kind of the grant."""

    def __shown__(self) -> Mapping[str, object]:
        return {"resource": shown_url(self.resource)}

    @property
    def text(self) -> str:
        """Key of the record in the store."""
        return _PREFIX + msgspec.json.encode(self).decode()


def resource_name(resource: str) -> str:
    """Return the name of a resource in the store: with a digest of its query.

    The query may hold a secret, and names are shown: in keyrings, and by representations.
    """
    place, mark, query = resource.partition("?")
    return place + mark + (sha256(query.encode()).hexdigest() if mark else "")


def token_key(resource: str, settings: AuthorizationSettings) -> TokenKey:
    """Return the name of a client's token for a resource."""
    client = settings.client
    return TokenKey(
        issuer=settings.issuer or "",
        resource=resource_name(resource),
        client_id=(settings.metadata_url or "") if client is None else client.client_id,
        account=settings.account,
        grant=settings.grant.kind,
    )


def read_token_key(text: str) -> TokenKey | None:
    """Return the name of a token that is a key of the store, None for one of something else."""
    try:
        return msgspec.json.decode(text.removeprefix(_PREFIX), type=TokenKey)
    except (msgspec.MsgspecError, UnicodeError):
        return None


class TokenRecord(Discreet, frozen=True, kw_only=True, omit_defaults=True):
    """Stored token of a resource, with all that its refresh needs.

    Raises ValueError for a token or scopes that cannot be sent.
    """

    resource: str
    issuer: str
    token_endpoint: str
    client: ClientIdentity
    access_token: str
    scheme: str = "Bearer"
    refresh_token: str | None = None
    scopes: tuple[str, ...] | None = None
    """Granted scopes; None: not told."""
    thumbprint: str | None = None
    """Thumbprint of the DPoP key that the token is bound to; None: none."""
    expires_at: float | None = None
    """Seconds since 1970; None: not told."""
    lifetime: float | None = None

    def __post_init__(self) -> None:
        format_scopes(self.scopes or ())
        if not all("!" <= char <= "~" for char in self.access_token):
            raise ValueError("no header can hold the token")

    def __shown__(self) -> Mapping[str, object]:
        tokens = dict.fromkeys(("access_token", "refresh_token"), HIDDEN)
        return {"resource": shown_url(self.resource), **tokens}

    def is_over(self, wall: float) -> bool:
        """Return True if the token has expired."""
        return self.expires_at is not None and self.expires_at <= wall


class ClientRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Stored registration at an issuer: where its secret may be sent."""

    issuer: str
    token_endpoint: str
    client: ClientIdentity
    redirect_uri: str = ""
    client_name: str = ""
    """Name that it was made by, which the person who consents is shown."""


R = TypeVar("R", TokenRecord, ClientRecord)


def read_record(data: bytes | None, kind: type[R]) -> R | None:
    """Return a record of the store, None if there is none that is sound."""
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def written(record: TokenRecord | ClientRecord) -> bytes:
    """Return a record as JSON for the store, with its secrets."""
    return msgspec.json.encode(record, enc_hook=Secret.reveal)


def sound_token(token: str, what: str) -> str:
    """Return a token as plain text.  Raises DocumentRefused for one that no header can hold."""
    text = str.__str__(token)
    if not text or len(text) > _MAX_TOKEN or not all("!" <= char <= "~" for char in text):
        raise DocumentRefused(what, "its token cannot be sent")
    return text
