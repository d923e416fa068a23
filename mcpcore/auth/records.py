"""Records of a client's store: tokens, and registrations at issuers."""

from typing import TypeVar

import msgspec
from msgspec import Struct

from mcpcore.auth.challenges import format_scopes
from mcpcore.auth.grants import ClientIdentity
from mcpcore.wire.redaction import Secret


class TokenRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Stored token of a resource, with all that its refresh needs.

    Raises ValueError for scopes that cannot be sent.
    """

    resource: str
    issuer: str
    token_endpoint: str
    client: ClientIdentity
    grant: str
    """Kind of the grant that the token was got by."""
    access_token: str
    scheme: str = "Bearer"
    refresh_token: str | None = None
    scopes: tuple[str, ...] | None = None
    """Granted scopes; None: not told."""
    expires_at: float | None = None
    """Seconds since 1970; None: not told."""
    lifetime: float | None = None

    def __post_init__(self) -> None:
        format_scopes(self.scopes or ())

    def __repr__(self) -> str:
        return f"TokenRecord(resource={self.resource!r}, issuer={self.issuer!r})"

    def is_over(self, wall: float) -> bool:
        """Return True if the token has expired."""
        return self.expires_at is not None and self.expires_at <= wall


class ClientRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Stored registration at an issuer: where its secret may be sent."""

    issuer: str
    token_endpoint: str
    client: ClientIdentity
    redirect_uri: str = ""


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
