"""Mutants of clients for the page on security considerations."""

from collections.abc import Iterable

from conformance.mutants.client_fault import ClientFault
from conformance.mutants.client_sign_in_faults import (
    FollowsRedirects,
    asks,
    having,
    reads_in_its_place,
    redeems,
    returns,
)
from conformance.mutants.edits import drop
from conformance.mutants.model import Table
from mcpcore_conformance.kit.client_wire import Asked
from mcpcore_conformance.kit.heard import Headers

table = Table("basic/authorization/security-considerations")

CODE = "authorization-code-protection"
REDIRECTION = "open-redirection"


@table.client("no-state", f"{REDIRECTION}/client-state")
class _NoState(ClientFault):
    """Sends no state."""

    _state = ""

    def asked(self, asked: Asked) -> Iterable[Asked]:
        head, mark, rest = asked.target.partition("&state=")
        if mark:
            self._state, _, more = rest.partition("&")
            asked.target = f"{head}&{more}"
        return (asked,)

    def headed(self, exchange: int, status: int, headers: Headers) -> Headers:
        if status != 302:
            return headers
        return [(name, f"{value}&state={self._state}") for name, value in headers]


table.client("no-challenge", f"{CODE}/client-pkce").does(
    "Sends no challenge.", asks(drop("code_challenge"))
)
table.client("other-verifier", f"{CODE}/client-pkce").does(
    "Sends a verifier that does not fit.", redeems(having("code_verifier", "x" * 43))
)
table.client("plain", f"{CODE}/client-s256").does(
    "Uses the plain method.", asks(having("code_challenge_method", "plain"))
)
table.client(
    "pkce-assumed",
    f"{CODE}/client-no-plain",
    f"{CODE}/client-pkce-absent",
    f"{CODE}/client-pkce-absent-openid",
).does(
    "Does not look whether PKCE is supported.",
    reads_in_its_place("authorization_endpoint", code_challenge_methods_supported=["S256"]),
)
table.client("follows-with-code", f"{CODE}/client-code-stays").does(
    "Follows a redirect of the token endpoint with the code.", FollowsRedirects
)
table.client("redirect-in-the-clear", "communication-security/client-redirect-uri").does(
    "Wants the browser back by http.",
    asks(having("redirect_uri", "http://client.example/callback")),
)
table.client("other-redirect", f"{REDIRECTION}/client-registered-redirect").does(
    "Uses a redirect URI that it has not registered.",
    asks(lambda params: {**params, "redirect_uri": params["redirect_uri"] + "/other"}),
)
table.client(
    "any-state", f"{REDIRECTION}/client-wrong-state", f"{REDIRECTION}/client-missing-state"
).does(
    "Does not look at the state of a response.",
    returns(lambda params, request, issuer: {**params, "state": request["state"]}),
)
