"""Mutants of clients for the page basic/authorization of 2025-03-26."""

from collections.abc import Iterable
from typing import Any

from msgspec import field

from conformance.mutants.client_fault import ClientFault
from conformance.mutants.client_faults import also_asks, exits, header, heads, without_header
from conformance.mutants.client_sign_in_faults import (
    FollowsRedirects,
    Insists,
    Params,
    asks,
    asks_anyway,
    having,
    keeps_first,
    looks_at,
    overlooks,
    reads_in_its_place,
    redeems,
    registers,
    returns,
)
from conformance.mutants.edits import drop, over, put
from conformance.mutants.model import Table
from mcpcore_conformance.kit.client_wire import Asked
from mcpcore_conformance.kit.heard import Headers
from mcpcore_conformance.kit.heard import header as header_of
from mcpcore_conformance.kit.model import LEGACY
from mcpcore_conformance.kit.protected import OAUTH_PLACE, OPENID_PLACE, RESOURCE_PLACE

table = Table("basic/authorization")


table.client("below-the-endpoint", "metadata-at-root", "metadata-first").does(
    "Looks for metadata below the path of the endpoint.",
    looks_at(OAUTH_PLACE, f"{OAUTH_PLACE}/mcp"),
)
table.client("other-default", "default-paths").does(
    "Takes another path for the default token endpoint.", looks_at("/token", "/oauth/token")
)
table.client("no-version", "version-header").does(
    "Does not name the protocol version when it asks for metadata.",
    without_header("mcp-protocol-version", "GET"),
)


discovery = Table("basic/authorization/authorization-server-discovery")


def _appended(asked: Asked) -> Iterable[Asked]:
    """Ask for the path of the issuer before that of the well-known URI."""
    if asked.target.startswith(f"{OPENID_PLACE}/"):
        asked.target = asked.target.removeprefix(OPENID_PLACE) + OPENID_PLACE
    return (asked,)


def _oauth_alone(asked: Asked) -> Iterable[Asked]:
    asked.target = asked.target.replace(OPENID_PLACE, OAUTH_PLACE)
    return (asked,)


discovery.client("guesses-the-place", "challenged-place", "challenge-syntax").does(
    "Looks at the well-known place whatever the challenge says.",
    looks_at("/documents/", RESOURCE_PLACE),
)
discovery.client("root-alone", "path-first", "root-then").does(
    "Looks at the root alone.", looks_at(f"{RESOURCE_PLACE}/mcp", RESOURCE_PLACE)
)
discovery.client("own-origin", "named-server").does(
    "Takes the server's own origin for the authorization server.",
    looks_at(f"{OAUTH_PLACE}/as", OAUTH_PLACE),
)
discovery.client("default-endpoints", "endpoints").does(
    "Takes /authorize for the authorization endpoint.", looks_at("/as/sign-in", "/as/authorize")
)
discovery.client("appends", "order-with-path").does(
    "Appends the well-known URI to the issuer, and does not insert it.", heads(_appended)
)
discovery.client("openid-first", "order-without-path").does(
    "Looks for the OpenID configuration first.", looks_at(OAUTH_PLACE, OPENID_PLACE)
)
discovery.client("oauth-alone", "openid").does(
    "Knows nothing of OpenID configurations.", heads(_oauth_alone)
)
discovery.client("any-issuer", "issuer-identical").does(
    "Does not look at the issuer of metadata.",
    overlooks(
        "authorization_endpoint",
        lambda value: {**value, "issuer": value["token_endpoint"].removesuffix("/tokens")},
    ),
)
discovery.client("one-registration", "state-per-server").does(
    "Uses its first id at every authorization server.", keeps_first("client_id")
)


index = Table("basic/authorization/index")


@index.client("forgets-once", "signed-in-every-request")
class _Forgets(ClientFault):
    """Leaves its token out of one request."""

    _count = 0

    def asked(self, asked: Asked) -> Iterable[Asked]:
        if header_of(asked.headers, "authorization") is not None and asked.target == "/mcp":
            self._count += 1
            if self._count == 2:
                asked.headers = [each for each in asked.headers if each[0] != "authorization"]
        return (asked,)


@index.client("in-the-query", "signed-in-not-in-query")
class _InTheQuery(ClientFault):
    """Puts its token into the query as well."""

    def asked(self, asked: Asked) -> Iterable[Asked]:
        token = (header_of(asked.headers, "authorization") or "").removeprefix("Bearer ")
        if token and asked.target == "/mcp":
            asked.target += f"?access_token={token}"
        return (asked,)


class _ShowsToken(ClientFault):
    """Shows what it was given in a header of every request to anybody."""

    member: str
    _token: str = ""

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and self.member in value:
            self._token = value[self.member]
        return payload

    def asked(self, asked: Asked) -> Iterable[Asked]:
        if self._token:
            asked.headers = [*asked.headers, ("x-token", self._token)]
        return (asked,)


@index.client("assumes", "none-assumed")
class _Assumes(ClientFault):
    """Takes a refresh token for granted."""

    _again: ClientFault = field(default_factory=redeems(having("grant_type", "refresh_token")))
    _count: int = 0

    def other(self, arrival: Any) -> Iterable[Any]:
        if b"grant_type=" in getattr(arrival, "data", b""):
            self._count += 1
            if self._count > 1:
                return self._again.other(arrival)
        return (arrival,)


@index.client("asks-for-ever", "gives-up")
class _SignsInAgain(ClientFault):
    """Signs in again and again."""

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and "access_token" in value:
            for place in ("/sign-in", "/as/sign-in"):
                for _ in range(4):
                    self.ask(Asked(0, "GET", f"{place}?response_type=code", []))
        return payload


index.client("no-issuer-right", "right-issuer").does(
    "Takes every issuer for a wrong one.",
    returns(lambda params, request, issuer: {**params, "iss": "https://attacker.example"}),
)
index.client("any-issuer", "wrong-issuer", "missing-issuer", "issuer-as-text", "errors-too").does(
    "Does not look at the issuer of a response.",
    returns(lambda params, request, issuer: {**params, "iss": issuer}),
)
index.client("no-resource-asked", "both-requests").does(
    "Leaves the resource out of the authorization request.", asks(drop("resource"))
)
index.client("no-resource-redeemed", "both-requests").does(
    "Leaves the resource out of the token request.", redeems(drop("resource"))
)
index.client("resource-of-another", "names-server").does(
    "Names another resource.", redeems(having("resource", "https://other.example/mcp"))
)
index.client("fragment", "canonical").does(
    "Names a resource with a fragment.", asks(over("resource", lambda uri: uri + "#tools"))
)
index.client("without-scheme", "canonical").does(
    "Names a resource without its scheme.",
    asks(over("resource", lambda uri: uri.partition("//")[2])),
)
index.client("slash", "specific").does(
    "Puts a slash after the resource.", asks(over("resource", lambda uri: uri + "/"))
)
index.client("old-token", "own-tokens").does(
    "Sends its first token for ever.", keeps_first("authorization")
)
index.client("follows-with-token", "server-alone").does(
    "Follows a redirect with its token.", FollowsRedirects
)
index.client("shows-token", "server-alone").does(
    "Shows its token to everybody.", lambda: _ShowsToken("access_token")
)
index.client("shows-refresh-token", "confidential").does(
    "Shows its refresh token to everybody.", lambda: _ShowsToken("refresh_token")
)
index.client("refreshes-for-any", "refresh").does(
    "Leaves the resource out when it refreshes its token.",
    redeems(drop("resource"), "refresh_token"),
)
index.client("code-alone", "grant-type").does(
    "Registers for codes alone, and refreshes.", registers(put(grant_types=["authorization_code"]))
)


@index.client("follows", "not-elsewhere", revisions=LEGACY)
class _Follows(ClientFault):
    """Takes its token wherever it is sent."""

    _redirected = False

    def replied(self, status: int) -> None:
        self._redirected = self._redirected or status in (307, 308)

    def asked(self, asked: Asked) -> Iterable[Asked]:
        if self._redirected:
            asked.headers = [
                (name, value.replace("127.0.0.1", "localhost")) for name, value in asked.headers
            ]
        return (asked,)


index.client("token-in-posts-only", "every-request", revisions=LEGACY).does(
    "Sends its token with messages only.", without_header("authorization", "DELETE")
)
index.client("other-token", "every-request").does(
    "Sends something else.", header("authorization", lambda value: "Basic a2l0")
)
index.client("carries-along", "not-elsewhere").does(
    "Takes its token to another origin, too.",
    also_asks("GET", "/mcp", host="localhost", authorization="Bearer kit"),
)
index.client("turns-into-get", "post-stays-post").does(
    "Asks for the other address by GET.", also_asks("GET", "/elsewhere")
)


registration = Table("basic/authorization/client-registration")
legacy = Table("basic/authorization")

METADATA = "authorization_endpoint"

registration.client("own-credentials", "credentials", "before-others", "own-id").does(
    "Makes its id up.", asks(having("client_id", "made-up"))
)
registration.client("registers-always", "before-registration").does(
    "Registers where it could do without.",
    reads_in_its_place(METADATA, client_id_metadata_document_supported=False),
)
registration.client("plain-http", "id-form").does(
    "Has its document at a URL of http.",
    asks(having("client_id", "http://client.example/document.json")),
)
registration.client("no-path", "id-form").does(
    "Has its document at the root.", asks(having("client_id", "https://client.example/"))
)
registration.client("document-always", "looks").does(
    "Uses its document whether that is supported or not.",
    reads_in_its_place(METADATA, client_id_metadata_document_supported=True),
)
legacy.client("registers-never", "registers").does(
    "Does not register.",
    overlooks(
        METADATA,
        lambda value: {name: each for name, each in value.items() if name[:12] != "registration"},
    ),
)
registration.client("no-type", "application-type").does(
    "Does not say what kind of application it is.", registers(drop("application_type"))
)
registration.client("web", "fitting-type").does(
    "Says that it is a web application, and listens on loopback.",
    registers(put(application_type="web")),
)
registration.client("goes-on", "registration-refused").does(
    "Asks for authorization when its registration was refused.",
    asks_anyway(
        lambda value: value.get("error") == "invalid_redirect_uri", "/as/sign-in?client_id="
    ),
)
registration.client("ends-well", "refusal-shown").does(
    "Ends as if all were well when its registration was refused.", exits(0)
)
registration.client("one-registration", "registers-anew").does(
    "Uses its first id at every authorization server.", keeps_first("client_id")
)
registration.client("tries-everywhere", "mismatch-told").does(
    "Tries the given credentials at any authorization server.",
    asks_anyway(
        lambda value: str(value.get("issuer", "")).endswith("/other"),
        "/other/sign-in?client_id=kit-registered",
    ),
)


def _forgets(params: Params) -> Params:
    more = "kit:write" in params.get("scope", "")
    return {**params, "scope": "kit:write"} if more else params


index.client("greedy", "challenged-scopes", "no-scopes", "offline-where-listed").does(
    "Asks for more scopes than anybody has named.",
    asks(
        lambda params: {
            **params,
            "scope": f"{params.get('scope', '')} kit:admin offline_access".strip(),
        }
    ),
)
index.client("listed-alone", "challenge-decides", "asks-for-more").does(
    "Asks for the same scopes always.", asks(having("scope", "kit:read"))
)
index.client("no-scope", "supported-scopes").does("Asks for no scopes.", asks(drop("scope")))
index.client("forgets", "keeps-scopes").does(
    "Asks for the scopes of the 403 alone.", asks(_forgets)
)
index.client("insists", "bounded").does("Makes a call that is forbidden again and again.", Insists)


security = Table("basic/authorization/security-considerations")


@security.client("no-state", "state")
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


security.client("no-challenge", "pkce").does("Sends no challenge.", asks(drop("code_challenge")))
security.client("other-verifier", "pkce").does(
    "Sends a verifier that does not fit.", redeems(having("code_verifier", "x" * 43))
)
security.client("plain", "s256").does(
    "Uses the plain method.", asks(having("code_challenge_method", "plain"))
)
security.client("plain-alone", "no-plain").does(
    "Uses the plain method where no other is offered.",
    asks_anyway(
        lambda value: value.get("code_challenge_methods_supported") == ["plain"],
        "/as/sign-in?response_type=code&code_challenge_method=plain",
    ),
)
security.client("pkce-assumed", "pkce-absent", "pkce-absent-openid").does(
    "Does not look whether PKCE is supported.",
    reads_in_its_place("authorization_endpoint", code_challenge_methods_supported=["S256"]),
)
security.client("follows-with-code", "code-stays").does(
    "Follows a redirect of the token endpoint with the code.", FollowsRedirects
)
security.client("redirect-in-the-clear", "redirect-uri").does(
    "Wants the browser back by http.",
    asks(having("redirect_uri", "http://client.example/callback")),
)
security.client("other-redirect", "registered-redirect").does(
    "Uses a redirect URI that it has not registered.",
    asks(lambda params: {**params, "redirect_uri": params["redirect_uri"] + "/other"}),
)
security.client("any-state", "wrong-state", "missing-state").does(
    "Does not look at the state of a response.",
    returns(lambda params, request, issuer: {**params, "state": request["state"]}),
)
