"""Tokens that are kept for this user, by server and account."""

from msgspec import structs

from mcpcore.auth.records import (
    TokenKey,
    TokenRecord,
    read_record,
    read_token_key,
    resource_name,
)
from mcpcore.auth.settings import AuthorizationSettings, ClientCredentialsGrant, CodeGrant
from mcpcore.auth.urls import canonical_resource
from mcpcore.errors import UrlRefused
from mcpcore_transports.auth.authorizer import http_url
from mcpcore_transports.auth.file_store import FileTokens

_PROGRAM = ClientCredentialsGrant()

KeptTokens = dict[TokenKey, TokenRecord | None]
"""Tokens by their names; None for a record that cannot be read."""


async def kept_tokens(
    url: str | None = None, account: str | None = None
) -> tuple[KeptTokens, list[str]]:
    """Return the tokens of a server and an account, None: of all, and what is wrong with files.

    Raises AuthorizationError for a store that cannot be read, UrlRefused.
    """
    resource = None if url is None else resource_name(canonical_resource(http_url(url)))
    entries, wrong = await FileTokens().entries()
    kept = {
        key: read_record(stored.record, TokenRecord)
        for name, stored in entries.items()
        if (key := read_token_key(name)) is not None
        and resource in (None, key.resource)
        and account in (None, key.account)
    }
    return kept, wrong


async def as_kept(
    url: str, settings: AuthorizationSettings, *, person: bool
) -> AuthorizationSettings | None:
    """Return the settings that a token of a server was got by, None without one.

    The token of a person goes before that of a program, which ``person`` leaves out; of several
    the one that lasts longest.  Tokens for assertions cannot be renewed here, and are left out.
    """
    try:
        kept, _ = await kept_tokens(url, settings.account)
    except UrlRefused:
        return None  # no token may be sent there
    found = [
        (key.grant == CodeGrant.kind, record.expires_at or 0.0, key, record)
        for key, record in kept.items()
        if record is not None
        and (key.grant == CodeGrant.kind or (key.grant == _PROGRAM.kind and not person))
    ]
    if not found:
        return None
    *_, key, record = max(found, key=lambda each: each[:2])
    given = key.client_id == record.client.client_id
    return structs.replace(
        settings,
        grant=CodeGrant() if key.grant == CodeGrant.kind else _PROGRAM,
        client=record.client if given else None,
        metadata_url=None if given or not key.client_id else key.client_id,
        issuer=key.issuer or None,
    )
