"""Mutants of clients for the page on authorization server discovery."""

from collections.abc import Iterable

from conformance.mutants.client_faults import heads
from conformance.mutants.client_sign_in_faults import keeps_first, looks_at, overlooks
from conformance.mutants.model import Table
from mcpcore_conformance.kit.client_wire import Asked
from mcpcore_conformance.kit.protected import OAUTH_PLACE, OPENID_PLACE, RESOURCE_PLACE

table = Table("basic/authorization/authorization-server-discovery")

RESOURCE = "protected-resource-metadata-discovery-requirements"
SERVER = "authorization-server-metadata-discovery"
LOCATION = "authorization-server-location"


def _appended(asked: Asked) -> Iterable[Asked]:
    """Ask for the path of the issuer before that of the well-known URI."""
    if asked.target.startswith(f"{OPENID_PLACE}/"):
        asked.target = asked.target.removeprefix(OPENID_PLACE) + OPENID_PLACE
    return (asked,)


def _oauth_alone(asked: Asked) -> Iterable[Asked]:
    asked.target = asked.target.replace(OPENID_PLACE, OAUTH_PLACE)
    return (asked,)


table.client(
    "guesses-the-place",
    f"{RESOURCE}/client-challenged-place",
    f"{RESOURCE}/client-challenge-syntax",
).does(
    "Looks at the well-known place whatever the challenge says.",
    looks_at("/documents/", RESOURCE_PLACE),
)
table.client("root-alone", f"{RESOURCE}/client-path-first", f"{RESOURCE}/client-root-then").does(
    "Looks at the root alone.", looks_at(f"{RESOURCE_PLACE}/mcp", RESOURCE_PLACE)
)
table.client("own-origin", f"{LOCATION}/client-named-server").does(
    "Takes the server's own origin for the authorization server.",
    looks_at(f"{OAUTH_PLACE}/as", OAUTH_PLACE),
)
table.client("default-endpoints", f"{SERVER}/client-endpoints").does(
    "Takes /authorize for the authorization endpoint.", looks_at("/as/sign-in", "/as/authorize")
)
table.client("appends", f"{SERVER}/client-order-with-path").does(
    "Appends the well-known URI to the issuer, and does not insert it.", heads(_appended)
)
table.client("openid-first", f"{SERVER}/client-order-without-path").does(
    "Looks for the OpenID configuration first.", looks_at(OAUTH_PLACE, OPENID_PLACE)
)
table.client("oauth-alone", f"{SERVER}/client-openid").does(
    "Knows nothing of OpenID configurations.", heads(_oauth_alone)
)
table.client("any-issuer", f"{SERVER}/client-issuer-identical").does(
    "Does not look at the issuer of metadata.",
    overlooks(
        "authorization_endpoint",
        lambda value: {**value, "issuer": value["token_endpoint"].removesuffix("/tokens")},
    ),
)
table.client("one-registration", f"{LOCATION}/client-state-per-server").does(
    "Uses its first id at every authorization server.", keeps_first("client_id")
)
