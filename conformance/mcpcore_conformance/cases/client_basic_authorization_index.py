"""Cases of the page basic/authorization/index for clients."""

from urllib.parse import urlsplit

from mcpcore_conformance.kit.client_sign_in import (
    FEW,
    EnteredSite,
    NewSite,
    attend,
    authorization,
    protect,
    redeeming,
    registration,
    scopes,
    sign_in,
    signing_in,
    stops,
)
from mcpcore_conformance.kit.client_steps import call, listing, scripted
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk, ReadyLink
from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.model import (
    MODERN,
    SINCE_2025_03_26,
    SINCE_2025_06_18,
    SINCE_2025_11_25,
    STREAMABLE,
    Page,
)
from mcpcore_conformance.kit.protected import Pairs, ProtectedSite
from mcpcore_conformance.kit.verdicts import Broken, check, need

page = Page("basic/authorization/index")

case = page.client(SINCE_2025_03_26, bindings=STREAMABLE)
token_handling = case.at("token-handling")
TOKEN = "Bearer kit-0123456789abcdef"  # noqa: S105 - made up
HEADERS = {"Authorization": TOKEN}


@case.must(
    "token-requirements",
    "Authorization on every POST, GET and DELETE, and no token in a URI.",
    **scripted(listing(), call(), headers=HEADERS),
)
async def every_request(talk: ClientTalk, link: ReadyLink) -> None:
    """A token goes with every request to the server."""
    await talk.finished()
    for asked in link.asked:
        found = header(asked.headers, "authorization")
        check(found == TOKEN, f"{asked.method} came with Authorization {found!r}")
    for asked in (*link.asked, *link.strays):
        check("kit-0123" not in asked.target, f"the token is part of {asked.target}")


@token_handling.must(
    "No request to the other origin carries the token.",
    **scripted(call(timeout=5), headers=HEADERS),
)
async def not_elsewhere(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """A token does not follow a redirect to another origin."""
    other = talk.host.address.replace("127.0.0.1", "localhost")
    status = talk.random.choice([307, 308])
    http = talk.http(link)
    await http.reply(message.source.exchange, status, [("location", other)])
    await talk.finished()
    for asked in (*link.asked, *link.strays):
        host = header(asked.headers, "host") or ""
        found = header(asked.headers, "authorization")
        check(not host.startswith("localhost") or found is None, f"{host} was sent the token")


@token_handling.may(
    "The message is posted there, or the call fails; nothing is asked for by GET.",
    **scripted(call(timeout=5)),
)
async def post_stays_post(talk: ClientTalk) -> None:
    """A redirect does not turn a message into a GET."""
    talk.serving.get_stream = False
    link, message = await talk.expect("tools/call")
    http = talk.http(link)
    await http.reply(message.source.exchange, 302, [("location", "/elsewhere")])
    await talk.finished()
    found = [each.method for each in link.strays if each.target == "/elsewhere"]
    check("GET" not in found, "the message became a GET of the other address")


# The flow, and the tokens of it

case = signing_in(page, MODERN)
canonical_server_uri = case.at("canonical-server-uri")
token_handling_cases = case.at("token-handling")

RESPONSE = "authorization-response-validation"
RESOURCE = "resource-parameter-implementation"
REFRESH = "refresh-tokens"
SHOWN = "shown-by-the-kit"
"""What nobody may show, as another has said it."""


def _with_iss(site: ProtectedSite, iss: str | None, *more: tuple[str, str]) -> None:
    """Let the redirect name another issuer, or none."""

    def changed(pairs: Pairs) -> Pairs:
        named = [] if iss is None else [("iss", iss)]
        return [*(each for each in pairs if each[0] != "iss"), *named, *more]

    site.server.callback = changed


@case.must(
    RESPONSE,
    "The code is redeemed: with a right iss, or where none is advertised and none is sent.",
)
async def right_issuer(talk: ClientTalk, site: NewSite) -> None:
    """A response of the right issuer is gone on with, and one that need not name it."""
    if talk.random.random() < 0.5:
        site.server.document = {"authorization_response_iss_parameter_supported": None}
    await sign_in(talk, site)


@case.must(RESPONSE, "No token request, whether iss is advertised or not.")
async def wrong_issuer(talk: ClientTalk, site: NewSite) -> None:
    """A response of another issuer is not gone on with."""
    if talk.random.random() < 0.5:
        site.server.document = {"authorization_response_iss_parameter_supported": None}
    _with_iss(site, "https://attacker.example")
    await stops(talk, site, "token", at=lambda: site.of("authorize"))


@case.must(RESPONSE, "No token request.")
async def missing_issuer(talk: ClientTalk, site: NewSite) -> None:
    """A response without the issuer that is advertised is not gone on with."""
    _with_iss(site, None)
    await stops(talk, site, "token", at=lambda: site.of("authorize"))


@case.must(RESPONSE, "No token request for an iss that is equal after normalization only.")
async def issuer_as_text(talk: ClientTalk, site: NewSite) -> None:
    """The issuer of a response is compared character by character."""
    issuer = site.server.issuer
    others = [issuer + "/", issuer.replace("http:", "HTTP:"), issuer.replace("/as", "/%61s")]
    _with_iss(site, talk.random.choice(others))
    await stops(talk, site, "token", at=lambda: site.of("authorize"))


@case.must(RESPONSE, "Nothing of the error is shown, and no token request follows.")
async def errors_too(talk: ClientTalk, site: NewSite) -> None:
    """The error of another issuer is not shown."""

    def refused(pairs: Pairs) -> Pairs:
        state = [each for each in pairs if each[0] == "state"]
        error = [("error", "access_denied"), ("error_description", SHOWN)]
        return [*error, *state, ("iss", "https://attacker.example")]

    site.server.callback = refused
    await stops(talk, site, "token", at=lambda: site.of("authorize"))
    check(SHOWN not in talk.state(), f"the error was shown: {talk.state()}")


@case.must(RESOURCE, "resource is a parameter of both.", SINCE_2025_06_18)
async def both_requests(site: EnteredSite) -> None:
    """Authorization request and token request name the resource."""
    check("resource" in authorization(site), "the authorization request has no resource")
    for visit in redeeming(site):
        check("resource" in visit.form, "the token request has no resource")


@case.must(RESOURCE, "resource is the identifier of the server, in both.", SINCE_2025_06_18)
async def names_server(site: EnteredSite) -> None:
    """The resource is the server that the token is for."""
    asked = authorization(site).get("resource")
    check(asked == site.address, f"the authorization request is for {asked!r}")
    for visit in redeeming(site):
        found = visit.form.get("resource")
        check(found == site.address, f"the token request is for {found!r}")


@canonical_server_uri.must(
    "An absolute URI without a fragment, scheme and host in lower case.", SINCE_2025_06_18
)
async def canonical(site: EnteredSite) -> None:
    """The resource is a canonical URI."""
    found = authorization(site).get("resource", "")
    parts = urlsplit(found)
    check(parts.scheme and parts.netloc, f"{found!r} is not absolute")
    check("#" not in found, f"{found!r} has a fragment")
    check(found.startswith(f"{parts.scheme}://{parts.netloc.lower()}"), f"{found!r}: upper case")


@canonical_server_uri.should(
    "The resource has the path of the endpoint, and no slash after it.", SINCE_2025_06_18
)
async def specific(site: EnteredSite) -> None:
    """The resource is as specific as the endpoint, without a trailing slash."""
    found = authorization(site).get("resource", "")
    check(found.rstrip("/").endswith(site.endpoint), f"{found!r} is not that of the endpoint")
    check(not found.endswith("/"), f"{found!r} ends with a slash")


@case.must(
    "token-requirements/client-signed-in-every-request",
    "Authorization: Bearer with the token on every request after it was given.",
    SINCE_2025_03_26,
)
async def every_request_signed_in(site: EnteredSite) -> None:
    """A token that the client has got goes with every request to the server, in the header."""
    (place,) = [n for n, each in enumerate(site.visits) if each in redeeming(site)][:1]
    for visit in site.visits[place:]:
        if visit.path == site.endpoint:
            found = visit.header("authorization")
            wanted = f"bearer {site.server.given[-1]}"
            scheme, token = visit.token
            check(f"{scheme} {token}" == wanted, f"{visit.method} came with {found!r}")


@case.must("token-requirements", "No access token in any URI.", SINCE_2025_03_26)
async def signed_in_not_in_query(site: EnteredSite) -> None:
    """A token that the client has got is part of no URI."""
    for visit in site.visits:
        for token in site.server.given:
            check(token not in visit.asked.target, f"the token is part of {visit.asked.target}")


@token_handling_cases.must(
    "After the change of the authorization server only its own tokens are sent.", SINCE_2025_06_18
)
async def own_tokens(talk: ClientTalk, site: NewSite) -> None:
    """Only tokens of the authorization server that the server names are sent to it."""
    first, site.moves_to = site.server, site.another("/other")
    site.servers.append(site.moves_to)
    site.ends.add("tools/call")
    await sign_in(talk, site)
    given = [n for n, each in enumerate(site.visits) if each.path == site.server.place("token")]
    check(given, "the client did not come to the second authorization server")
    for visit in site.visits[given[0] :]:
        if visit.path == site.endpoint:
            check(visit.token[1] not in first.given, "a token of the first server was sent again")


@token_handling_cases.must(
    "The token goes to the endpoint of the server alone, and not after a redirect.",
    SINCE_2025_03_26,
)
async def server_alone(talk: ClientTalk, site: NewSite) -> None:
    """A token is shown to nobody but the server: not where a redirect leads, nor its issuer."""
    site.ends.add("tools/list")  # whoever signs in again has a token that nobody else may see
    other = site.origin.replace("127.0.0.1", "localhost") + "/elsewhere"
    site.leads["tools/call"] = (talk.random.choice([307, 308]), other)
    await sign_in(talk, site)
    for visit in site.visits:
        elsewhere = visit.path != site.endpoint or visit.host.startswith("localhost")
        for token in site.server.given if elsewhere else ():
            check(token not in visit.everything, f"{visit.host}{visit.path} was shown the token")


@case.may(
    "error-handling",
    f"At most {FEW} authorizations for a request, then an error.",
    SINCE_2025_03_26,
)
async def gives_up(talk: ClientTalk, site: NewSite) -> None:
    """A request that is refused with every token is given up."""
    site.server.remembers = False
    await attend(talk, site)
    check(site.of("token"), f"the client got no token: {talk.state()}")
    count = len(site.of("authorize"))
    check(count <= FEW, f"there were {count} authorization requests for one request")


@case.must(REFRESH, "Signing in again: no token request with a refresh token that was not given.")
async def none_assumed(talk: ClientTalk, site: NewSite) -> None:
    """A client that was given no refresh token does without."""
    site.ends.add("tools/call")
    await sign_in(talk, site)
    grants = [each.form.get("grant_type") for each in site.of("token")]
    check("refresh_token" not in grants, "the client has used a refresh token that it has not got")


@case.must(REFRESH, "A refresh token stands in the bodies of token requests of its issuer alone.")
async def confidential(talk: ClientTalk, site: NewSite) -> None:
    """A refresh token is shown to its issuer alone, and never in a URI."""
    site.server.refreshes = True
    site.ends.add("tools/call")
    await sign_in(talk, site)
    for visit in site.visits:
        for token in site.server.given_refresh:
            check(token not in visit.asked.target, f"it is part of {visit.asked.target}")
            if visit.path != site.server.place("token"):
                check(token not in visit.everything, f"{visit.path} was shown it")


@case.must(RESOURCE, "A request that refreshes a token names the resource.", SINCE_2025_06_18)
async def refresh(talk: ClientTalk, site: NewSite) -> None:
    """A refreshed token is for the same resource."""
    site.server.refreshes = True
    site.ends.add("tools/call")
    await sign_in(talk, site)
    found = [each for each in site.of("token") if each.form.get("grant_type") == "refresh_token"]
    need(found, "the client does not refresh its token")
    for visit in found:
        named = visit.form.get("resource")
        check(named == site.address, f"the refreshed token is for {named!r}")


@case.should(REFRESH, "refresh_token is one of the grant_types of a registration.")
async def grant_type(talk: ClientTalk, site: NewSite) -> None:
    """A client that refreshes tokens says so when it registers."""
    site.server.refreshes = True
    site.ends.add("tools/call")
    await sign_in(talk, site)
    grants = [each.form.get("grant_type") for each in site.of("token")]
    need("refresh_token" in grants, "the client does not refresh its token")
    found = registration(talk, site).get("grant_types")
    check(isinstance(found, list) and "refresh_token" in found, f"grant_types is {found!r}")


# Which scopes are asked for, and when

case = signing_in(page, SINCE_2025_11_25)

SELECTION = "scope-selection-strategy"
step_up = case.at("step-up-authorization-flow")
TOOLS = "tools/call"


@case.should(SELECTION, "The scopes of the challenge, and not those of scopes_supported besides.")
async def challenged_scopes(talk: ClientTalk, site: NewSite) -> None:
    """The scopes of the challenge are asked for, and no others."""
    site.scope = "kit:read kit:list"
    site.resource = {"scopes_supported": ["kit:read", "kit:write", "kit:admin"]}
    await sign_in(talk, site)
    found = scopes(authorization(site))
    check(found == {"kit:read", "kit:list"}, f"the client asked for {sorted(found)}")


@case.must(
    SELECTION, "Scopes of the challenge are asked for whether they are in scopes_supported or not."
)
async def challenge_decides(talk: ClientTalk, site: NewSite) -> None:
    """Nothing is assumed of how challenged scopes relate to those that are listed."""
    site.scope = "kit:unlisted"
    site.resource = {"scopes_supported": ["kit:read", "kit:write"]}
    site.server.document = {"scopes_supported": ["kit:read", "kit:write"]}
    await sign_in(talk, site)
    found = scopes(authorization(site))
    check("kit:unlisted" in found, f"the client asked for {sorted(found)}")


@case.should(SELECTION, "All of scopes_supported.")
async def supported_scopes(talk: ClientTalk, site: NewSite) -> None:
    """Without scopes in the challenge those that the server's metadata list are asked for."""
    site.resource = {"scopes_supported": ["kit:read", "kit:write"]}
    await sign_in(talk, site)
    found = scopes(authorization(site))
    check(found == {"kit:read", "kit:write"}, f"the client asked for {sorted(found)}")


@case.should(SELECTION, "The authorization request has no scope.")
async def no_scopes(site: EnteredSite) -> None:
    """Where nobody names scopes the parameter is left out."""
    found = authorization(site)
    check("scope" not in found, f"the client asked for {found.get('scope')!r}")


@case.should("refresh-tokens", "offline_access is not asked for.", MODERN)
async def offline_where_listed(talk: ClientTalk, site: NewSite) -> None:
    """Offline access is not asked for where the authorization server does not list it."""
    site.scope = "kit:read"
    site.server.document = {"scopes_supported": ["kit:read", "kit:write"]}
    await sign_in(talk, site)
    found = scopes(authorization(site))
    check("offline_access" not in found, f"the client asked for {sorted(found)}")


async def _stepped_up(talk: ClientTalk) -> ProtectedSite:
    """Sign in for less than a call needs, and let the client get more."""
    site = protect(talk)
    site.scope, site.demands[TOOLS] = "kit:read", "kit:write"
    await attend(talk, site)
    if not any(each.status == 403 for each in site.visits):
        raise Broken(f"the client has made no call with its token: {talk.state()}")
    return site


@step_up.should(
    "A new authorization with the scopes of the 403, and the call once more.",
    scenario="auth/scope-step-up",
)
async def asks_for_more(talk: ClientTalk) -> None:
    """A call that lacks scopes leads to an authorization for them, and is sent again."""
    site = await _stepped_up(talk)
    check(len(site.of("authorize")) > 1, f"the client asked for no more scopes: {talk.state()}")
    found = scopes(authorization(site, 1))
    check("kit:write" in found, f"the client asked for {sorted(found)}")
    called = [each for each in site.let_in if each.value.get("method") == TOOLS]
    check(called, f"the call was not sent again: {talk.state()}")


@step_up.should(
    "The scopes asked for before, and those of the 403.", MODERN, scenario="auth/scope-step-up"
)
async def keeps_scopes(talk: ClientTalk) -> None:
    """An authorization for more scopes asks for those granted before as well."""
    site = await _stepped_up(talk)
    need(len(site.of("authorize")) >= 2, "the client asks for no more scopes")
    found = scopes(authorization(site, 1))
    check(found >= {"kit:read", "kit:write"}, f"the client asked for {sorted(found)}")


@step_up.should(f"At most {FEW} authorizations, then an error.", scenario="auth/scope-retry-limit")
async def bounded(talk: ClientTalk, site: NewSite) -> None:
    """A call that is refused whatever its scopes is given up."""
    site.scope, site.demands[TOOLS], site.forbids = "kit:read", "kit:write", True
    await attend(talk, site)
    for method in ("add_numbers", "echo"):
        refused = [
            each
            for each in site.visits
            if each.status == 403 and each.value.get("params", {}).get("name") == method
        ]
        check(len(refused) <= FEW + 1, f"the call of {method} was sent {len(refused)} times")
    count = len(site.of("authorize"))
    check(count <= 2 * FEW + 1, f"there were {count} authorization requests for two calls")
