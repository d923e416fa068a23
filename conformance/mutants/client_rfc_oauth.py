"""Mutants of clients for the RFCs of OAuth."""

from base64 import b64decode, b64encode
from urllib.parse import unquote_plus

from conformance.mutants.client_faults import header
from conformance.mutants.client_sign_in_faults import (
    FollowsRedirects,
    Repeats,
    asks,
    having,
    keeps_first,
    overlooks,
    reads_in_its_place,
    redeems,
    returns,
)
from conformance.mutants.edits import drop
from conformance.mutants.model import Table

rfc6749 = Table("rfc6749")
rfc7636 = Table("rfc7636")
rfc9728 = Table("rfc9728")


def _as_it_is(value: str) -> str:
    """Basic with an id and a secret that are not encoded."""
    scheme, _, rest = value.partition(" ")
    if scheme != "Basic":
        return value
    return f"Basic {b64encode(unquote_plus(b64decode(rest).decode()).encode()).decode()}"


rfc6749.client("drops-the-query", "query-kept").does(
    "Drops the query of the authorization endpoint.", asks(drop("tenant"))
)
rfc6749.client("implicit", "response-type").does(
    "Asks for a token where a code belongs.", asks(having("response_type", "token"))
)
rfc6749.client("last-one-counts", "once").does(
    "Takes the last of two parameters of one name.", returns(lambda params, request, issuer: params)
)
rfc6749.client("tries-again", "code-once").does(
    "Redeems a code once more when that has failed.", Repeats
)
rfc6749.client("strict", "unknown-members").does(
    "Refuses a token response that it does not know.",
    reads_in_its_place("x_kit", token_type="unknown"),  # noqa: S106
)
rfc6749.client("any-type", "token-type").does(
    "Does not look at the type of a token.",
    reads_in_its_place("access_token", token_type="Bearer"),  # noqa: S106
)
rfc6749.client("not-encoded", "basic").does(
    "Does not encode id and secret in Basic.", header("authorization", _as_it_is)
)
rfc6749.client("no-secret", "post").does("Leaves the secret out.", redeems(drop("client_secret")))
rfc6749.client("both-ways", "one-method").does(
    "Has the secret in the header and in the body.", redeems(having("client_secret", "kit"))
)
rfc6749.client("nameless", "public").does(
    "Does not name itself in the token request.", redeems(drop("client_id"))
)
rfc7636.client("short", "verifier").does(
    "Has a verifier that is too short.", redeems(having("code_verifier", "kit"))
)
rfc7636.client("same-verifier", "new-verifier").does(
    "Uses one verifier for all flows.", keeps_first("code_verifier", "code_challenge")
)
rfc9728.client("any-resource", "other-resource", "no-resource").does(
    "Does not look whose metadata it has got.",
    overlooks(
        "authorization_servers",
        lambda value: {
            **value,
            "resource": value["authorization_servers"][0].removesuffix("/as") + "/mcp",
        },
    ),
)
rfc9728.client("follows", "redirected-metadata").does(
    "Follows a redirect to another host.", FollowsRedirects
)
