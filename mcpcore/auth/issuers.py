"""Requests of a resource server to its issuers: for their metadata, their keys, and about tokens.

Sources: RFC 8414 section 3, OpenID Connect Discovery section 4, RFC 7517 section 5, RFC 7662
section 2.1, RFC 9111 section 5.2.2 (``max-age``).
"""

import re

from mcpcore.auth.grants import ClientAuth, ClientIdentity, token_form
from mcpcore.auth.metadata import ServerMetadata, read_document
from mcpcore.auth.needs import Fetch, Fetched, Steps, expect
from mcpcore.auth.resource_server import Issuer
from mcpcore.auth.urls import server_metadata_urls
from mcpcore.errors import DocumentRefused

_JSON = {"accept": "application/json"}
_METADATA = "the metadata of the issuer"
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=([0-9]{1,9})(?:$|[\s,])")


def find_keys(issuer: Issuer, *, timeout: float, limit: int) -> Steps[tuple[bytes, float | None]]:
    """Return the key set of an issuer, and the seconds for which its sender says it is fresh.

    ``timeout``: of each request, in seconds; ``limit``: bytes of a document.  Raises
    DocumentRefused, AuthorizationError.
    """
    url = issuer.jwks_url
    if url is None:
        url = yield from _published(issuer, timeout, limit)
    response = yield from _get(url, timeout, limit)
    if response.status != 200:
        raise DocumentRefused("the key set of the issuer", f"its status is {response.status}")
    age = _MAX_AGE.search((response.header("cache-control") or "").lower())
    return response.body, float(age[1]) if age else None


def _published(issuer: Issuer, timeout: float, limit: int) -> Steps[str]:
    """Return the URL of the keys in the metadata of an issuer; the first found is final.

    A redirect, which is not followed, a 4xx, or a web page leads to the next place.
    """
    for place in server_metadata_urls(issuer.issuer):
        response = yield from _get(place, timeout, limit)
        if response.status == 200 and not response.web_page:
            document, _ = read_document(response.body, ServerMetadata, _METADATA)
            if document.issuer != issuer.issuer:
                raise DocumentRefused(_METADATA, "it is of another issuer")
            if document.jwks_uri is None:
                raise DocumentRefused(_METADATA, "it names no keys")
            return document.jwks_uri
        if not response.web_page and not 300 <= response.status < 500:
            raise DocumentRefused(_METADATA, f"its status is {response.status}")
    raise DocumentRefused(_METADATA, "there is none")


def _get(url: str, timeout: float, limit: int) -> Steps[Fetched]:
    outcome = yield Fetch(method="GET", url=url, headers=_JSON, timeout=timeout, limit=limit)
    return expect(outcome, Fetched, "the issuer: ")


def asking_method(issuer: Issuer) -> ClientAuth:
    """Return how this server authenticates itself where it asks an issuer about tokens.

    Raises ValueError for a client that has not what its method takes, or that would sign.
    """
    client = issuer.client
    if client is None:
        return ClientAuth.NONE
    method = client.method or ClientAuth.BASIC
    if method is ClientAuth.PRIVATE_KEY or not client.can(method):
        raise ValueError("the client of an issuer has a secret, or a method that takes none")
    return method


def ask_about(issuer: Issuer, token: str, *, timeout: float, limit: int) -> Steps[bytes]:
    """Return the answer of an issuer about a token.  Raises DocumentRefused, AuthorizationError."""
    form = token_form(
        {"token": token, "token_type_hint": "access_token"},
        issuer.client or ClientIdentity(client_id=""),
        asking_method(issuer),
    )
    outcome = yield Fetch(
        method="POST",
        url=issuer.introspection_url or "",
        headers=form.headers,
        body=form.body(),
        timeout=timeout,
        limit=limit,
    )
    response = expect(outcome, Fetched, "the issuer: ")
    if response.status != 200:
        what = "the answer of the introspection endpoint"
        raise DocumentRefused(what, f"its status is {response.status}")
    return response.body
