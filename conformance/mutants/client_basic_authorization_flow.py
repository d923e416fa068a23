"""Mutants of clients for the page basic/authorization/index: the flow, and tokens."""

from collections.abc import Iterable
from typing import Any

from conformance.mutants.client_fault import ClientFault
from conformance.mutants.client_sign_in_faults import (
    FollowsRedirects,
    asks,
    having,
    keeps_first,
    redeems,
    registers,
    returns,
)
from conformance.mutants.edits import drop, over, put
from conformance.mutants.model import Table
from mcpcore_conformance.kit.client_wire import Asked
from mcpcore_conformance.kit.heard import header as header_of

table = Table("basic/authorization/index")

RESPONSE = "authorization-response-validation"
RESOURCE = "resource-parameter-implementation"
CANONICAL = "canonical-server-uri"
TOKENS = "token-requirements"
HANDLING = "token-handling"
REFRESH = "refresh-tokens"


@table.client("forgets-once", f"{TOKENS}/client-signed-in-every-request")
class _Forgets(ClientFault):
    """Leaves its token out of one request."""

    _count = 0

    def asked(self, asked: Asked) -> Iterable[Asked]:
        if header_of(asked.headers, "authorization") is not None and asked.target == "/mcp":
            self._count += 1
            if self._count == 2:
                asked.headers = [each for each in asked.headers if each[0] != "authorization"]
        return (asked,)


@table.client("in-the-query", f"{TOKENS}/client-signed-in-not-in-query")
class _InTheQuery(ClientFault):
    """Puts its token into the query as well."""

    def asked(self, asked: Asked) -> Iterable[Asked]:
        token = (header_of(asked.headers, "authorization") or "").removeprefix("Bearer ")
        if token and asked.target == "/mcp":
            asked.target += f"?access_token={token}"
        return (asked,)


class _ShowsToken(ClientFault):
    """Shows what it was given in a header of every request to anybody."""

    def __init__(self, member: str) -> None:
        super().__init__()
        self._member = member
        self._token = ""

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and self._member in value:
            self._token = value[self._member]
        return payload

    def asked(self, asked: Asked) -> Iterable[Asked]:
        if self._token:
            asked.headers = [*asked.headers, ("x-token", self._token)]
        return (asked,)


@table.client("assumes", f"{REFRESH}/client-none-assumed")
class _Assumes(ClientFault):
    """Takes a refresh token for granted."""

    def __init__(self) -> None:
        super().__init__()
        self._again = redeems(having("grant_type", "refresh_token"))()
        self._count = 0

    def other(self, arrival: Any) -> Iterable[Any]:
        if b"grant_type=" in getattr(arrival, "data", b""):
            self._count += 1
            if self._count > 1:
                return self._again.other(arrival)
        return (arrival,)


@table.client("asks-for-ever", "error-handling/client-gives-up")
class _SignsInAgain(ClientFault):
    """Signs in again and again."""

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and "access_token" in value:
            for place in ("/sign-in", "/as/sign-in"):
                for _ in range(4):
                    self.ask(Asked(0, "GET", f"{place}?response_type=code", []))
        return payload


table.client("no-issuer-right", f"{RESPONSE}/client-right-issuer").does(
    "Takes every issuer for a wrong one.",
    returns(lambda params, request, issuer: {**params, "iss": "https://attacker.example"}),
)
table.client(
    "any-issuer",
    f"{RESPONSE}/client-wrong-issuer",
    f"{RESPONSE}/client-missing-issuer",
    f"{RESPONSE}/client-issuer-as-text",
    f"{RESPONSE}/client-errors-too",
).does(
    "Does not look at the issuer of a response.",
    returns(lambda params, request, issuer: {**params, "iss": issuer}),
)
table.client("no-resource-asked", f"{RESOURCE}/client-both-requests").does(
    "Leaves the resource out of the authorization request.", asks(drop("resource"))
)
table.client("no-resource-redeemed", f"{RESOURCE}/client-both-requests").does(
    "Leaves the resource out of the token request.", redeems(drop("resource"))
)
table.client("resource-of-another", f"{RESOURCE}/client-names-server").does(
    "Names another resource.", redeems(having("resource", "https://other.example/mcp"))
)
table.client("fragment", f"{CANONICAL}/client-canonical").does(
    "Names a resource with a fragment.", asks(over("resource", lambda uri: uri + "#tools"))
)
table.client("without-scheme", f"{CANONICAL}/client-canonical").does(
    "Names a resource without its scheme.",
    asks(over("resource", lambda uri: uri.partition("//")[2])),
)
table.client("slash", f"{CANONICAL}/client-specific").does(
    "Puts a slash after the resource.", asks(over("resource", lambda uri: uri + "/"))
)
table.client("old-token", f"{HANDLING}/client-own-tokens").does(
    "Sends its first token for ever.", keeps_first("authorization")
)
table.client("follows-with-token", f"{HANDLING}/client-server-alone").does(
    "Follows a redirect with its token.", FollowsRedirects
)
table.client("shows-token", f"{HANDLING}/client-server-alone").does(
    "Shows its token to everybody.", lambda: _ShowsToken("access_token")
)
table.client("shows-refresh-token", f"{REFRESH}/client-confidential").does(
    "Shows its refresh token to everybody.", lambda: _ShowsToken("refresh_token")
)
table.client("refreshes-for-any", f"{RESOURCE}/client-refresh").does(
    "Leaves the resource out when it refreshes its token.",
    redeems(drop("resource"), "refresh_token"),
)
table.client("code-alone", f"{REFRESH}/client-grant-type").does(
    "Registers for codes alone, and refreshes.", registers(put(grant_types=["authorization_code"]))
)
