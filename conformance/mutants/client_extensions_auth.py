"""Mutants of clients for the authorization extensions and DPoP."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable

import msgspec

from conformance.mutants.client_fault import ClientFault
from conformance.mutants.client_faults import header, heads
from conformance.mutants.client_sign_in_faults import (
    Params,
    Repeats,
    having,
    keeps_first,
    reads_in_its_place,
    redeems,
)
from conformance.mutants.edits import drop
from conformance.mutants.model import Table
from mcpcore_conformance.kit.client_wire import Asked
from mcpcore_conformance.kit.protected import EXCHANGE, ID_JAG, JWT_BEARER

credentials = Table("extensions/auth/oauth-client-credentials")
enterprise = Table("extensions/auth/enterprise-managed-authorization")
rfc7523 = Table("rfc7523")
rfc9449 = Table("rfc9449")


def _claims(jwt: str, **changes: object) -> str:
    """A JWT with other claims, and so with a wrong signature."""
    head, text, signature = jwt.split(".")
    claims = msgspec.json.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    made = urlsafe_b64encode(msgspec.json.encode({**claims, **changes})).rstrip(b"=").decode()
    return f"{head}.{made}.{signature}"


def _for_another(params: Params) -> Params:
    jwt = params["client_assertion"]
    return {**params, "client_assertion": _claims(jwt, aud="https://other.example")}


def _unproven(asked: Asked) -> Iterable[Asked]:
    if asked.target == "/mcp":
        asked.headers = [each for each in asked.headers if each[0] != "dpop"]
    return (asked,)


@rfc9449.client("same-proof", "new-proof", "nonce")
class _SameProof(ClientFault):
    """Makes one proof for each place, and sends it again and again."""

    _first: dict[str, str] = {}

    def asked(self, asked: Asked) -> Iterable[Asked]:
        asked.headers = [
            (name, self._first.setdefault(asked.target, value) if name == "dpop" else value)
            for name, value in asked.headers
        ]
        return (asked,)


credentials.client("for-any", "secret").does(
    "Does not say for which server the token is.", redeems(drop("resource"))
)
credentials.client("no-secret", "secret").does(
    "Does not authenticate itself.",
    header("authorization", lambda value: None if value.startswith("Basic") else value),
)
credentials.client("for-another", "assertion").does(
    "Makes its assertion for another server.", redeems(_for_another)
)
credentials.client("badly-signed", "assertion").does(
    "Signs something else.",
    redeems(
        lambda params: {**params, "client_assertion": _claims(params["client_assertion"], kit=True)}
    ),
)
enterprise.client("no-audience", "exchange").does(
    "Does not say for which authorization server the ID-JAG is.",
    redeems(drop("audience"), EXCHANGE),
)
enterprise.client("id-token-as-assertion", "assertion-grant").does(
    "Sends the id token in place of the ID-JAG.",
    redeems(having("assertion", "kit.id.token"), JWT_BEARER),
)
enterprise.client("any-type", "other-type").does(
    "Does not look at the type of what it gets.",
    reads_in_its_place("issued_token_type", issued_token_type=ID_JAG, token_type="N_A"),  # noqa: S106
)
rfc7523.client("other-assertion", "grant").does(
    "Sends an assertion of its own.", redeems(having("assertion", "kit.own.jwt"), JWT_BEARER)
)
rfc7523.client("tries-again", "no-retry").does("Sends a refused assertion once more.", Repeats)
rfc9449.client("badly-signed", "token-request", "every-request").does(
    "Signs something else.", header("dpop", lambda value: _claims(value, kit=True))
)
rfc9449.client("no-proof", "every-request").does(
    "Sends the token without a proof.", heads(_unproven)
)
rfc9449.client("same-proof-for-ever", "server-nonce").does(
    "Sends its first proof to the server for ever.", keeps_first("dpop")
)
