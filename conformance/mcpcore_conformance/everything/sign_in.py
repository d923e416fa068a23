"""Authorization of the reference client, by what a scenario of the official suite gives it.

The authorization servers of the suite answer the browser with a redirect at once, so that the
person is one GET that is not followed.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
from msgspec import structs

from mcpcore import (
    AssertionGrant,
    AuthorizationSettings,
    ClientCredentialsGrant,
    ClientIdentity,
    ClientSettings,
    DpopKey,
    EnterpriseGrant,
    SigningKey,
)
from mcpcore.auth.needs import Callback, NeedFailed, OpenUrl
from mcpcore_conformance.everything.browse import redirect_of

PREFIX = "auth/"
"""Beginning of the names of scenarios that need authorization."""
METADATA_URL = "https://conformance-test.local/client-metadata.json"
"""Client id metadata document, as the suite expects it."""


class WillingPerson:
    """Sign-in of someone who consents to everything at once, without a browser."""

    async def ask(self, need: OpenUrl, listener: object) -> Callback | NeedFailed:
        """Return the query of the redirect that the authorization endpoint answers with."""
        location = await anyio.to_thread.run_sync(redirect_of, need.url)
        if location is None:
            return NeedFailed("the authorization endpoint did not redirect")
        return Callback(urlsplit(location).query)


Options = dict[str, Any]


def _person(details: Mapping[str, Any]) -> Options:
    return {"auth": AuthorizationSettings(metadata_url=METADATA_URL, client=_client(details))}


def _client(details: Mapping[str, Any]) -> ClientIdentity | None:
    """Return the credentials that the scenario gives."""
    if "client_id" not in details:
        return None
    return ClientIdentity(
        client_id=details["client_id"], client_secret=details.get("client_secret")
    )


def _own_secret(details: Mapping[str, Any]) -> Options:
    grant = ClientCredentialsGrant()
    return {"auth": AuthorizationSettings(grant=grant, client=_client(details))}


def _own_key(details: Mapping[str, Any]) -> Options:
    from mcpcore import PrivateKey  # needs the extra `auth`, as few scenarios do

    key = PrivateKey.from_pem(details["private_key_pem"], details["signing_algorithm"])
    client = ClientIdentity(
        client_id=details["client_id"], signing=SigningKey(algorithm=key.algorithm)
    )
    auth = AuthorizationSettings(grant=ClientCredentialsGrant(), client=client)
    return {"auth": auth, "signing_keys": {"client": key}}


def _enterprise(details: Mapping[str, Any]) -> Options:
    grant = EnterpriseGrant(
        token_endpoint=details["idp_token_endpoint"],
        client=ClientIdentity(client_id=details["idp_client_id"]),
    )
    auth = AuthorizationSettings(grant=grant, client=_client(details))
    return {"auth": auth, "assertions": lambda _: details["idp_id_token"]}


def _workload(details: Mapping[str, Any]) -> Options:
    auth = AuthorizationSettings(grant=AssertionGrant(), client=_client(details))
    return {"auth": auth, "assertions": lambda _: details["valid_jwt"]}


def _bound(details: Mapping[str, Any]) -> Options:
    from mcpcore import PrivateKey

    key = PrivateKey.generate("ES256")
    dpop = DpopKey(jwk=key.jwk, signing=SigningKey(algorithm=key.algorithm, key="dpop"))
    auth = AuthorizationSettings(metadata_url=METADATA_URL, dpop=dpop)
    return {"auth": auth, "signing_keys": {"dpop": key}}


_WAYS: dict[str, Callable[[Mapping[str, Any]], Options]] = {
    "auth/client-credentials-basic": _own_secret,
    "auth/client-credentials-jwt": _own_key,
    "auth/enterprise-managed-authorization": _enterprise,
    "auth/wif-jwt-bearer": _workload,
    "auth/dpop": _bound,
    "auth/dpop-nonce": _bound,
}
"""Scenarios in which no person signs in, or with more than a token."""


def signing_in(
    name: str, settings: ClientSettings, details: Mapping[str, Any]
) -> tuple[AuthorizationSettings, ClientSettings]:
    """Return the authorization for a scenario, and the settings with all that it needs."""
    options = _WAYS.get(name, _person)(details)
    auth = options.pop("auth")
    return auth, structs.replace(settings, sign_in=WillingPerson(), **options)
