"""Cases of the page basic/authorization/index for clients: the flow, and the tokens of it."""

from urllib.parse import urlsplit

from mcpcore_conformance.kit.client_sign_in import (
    FEW,
    attend,
    authorization,
    protect,
    redeeming,
    registration,
    sign_in,
    signing_in,
    stops,
)
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.model import MODERN, SINCE_2025_03_26, SINCE_2025_06_18, Page
from mcpcore_conformance.kit.protected import Pairs, ProtectedSite
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/authorization/index")
case = signing_in(page, MODERN)

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
    f"{RESPONSE}/client-right-issuer",
    "The code is redeemed: with a right iss, or where none is advertised and none is sent.",
)
async def right_issuer(talk: ClientTalk) -> None:
    """A response of the right issuer is gone on with, and one that need not name it."""
    site = protect(talk)
    if talk.random.random() < 0.5:
        site.server.document = {"authorization_response_iss_parameter_supported": None}
    await sign_in(talk, site)


@case.must(f"{RESPONSE}/client-wrong-issuer", "No token request, whether iss is advertised or not.")
async def wrong_issuer(talk: ClientTalk) -> None:
    """A response of another issuer is not gone on with."""
    site = protect(talk)
    if talk.random.random() < 0.5:
        site.server.document = {"authorization_response_iss_parameter_supported": None}
    _with_iss(site, "https://attacker.example")
    await stops(talk, site, "token", at=lambda: site.of("authorize"))


@case.must(f"{RESPONSE}/client-missing-issuer", "No token request.")
async def missing_issuer(talk: ClientTalk) -> None:
    """A response without the issuer that is advertised is not gone on with."""
    site = protect(talk)
    _with_iss(site, None)
    await stops(talk, site, "token", at=lambda: site.of("authorize"))


@case.must(
    f"{RESPONSE}/client-issuer-as-text",
    "No token request for an iss that is equal after normalization only.",
)
async def issuer_as_text(talk: ClientTalk) -> None:
    """The issuer of a response is compared character by character."""
    site = protect(talk)
    issuer = site.server.issuer
    others = [issuer + "/", issuer.replace("http:", "HTTP:"), issuer.replace("/as", "/%61s")]
    _with_iss(site, talk.random.choice(others))
    await stops(talk, site, "token", at=lambda: site.of("authorize"))


@case.must(
    f"{RESPONSE}/client-errors-too", "Nothing of the error is shown, and no token request follows."
)
async def errors_too(talk: ClientTalk) -> None:
    """The error of another issuer is not shown."""
    site = protect(talk)

    def refused(pairs: Pairs) -> Pairs:
        state = [each for each in pairs if each[0] == "state"]
        error = [("error", "access_denied"), ("error_description", SHOWN)]
        return [*error, *state, ("iss", "https://attacker.example")]

    site.server.callback = refused
    await stops(talk, site, "token", at=lambda: site.of("authorize"))
    check(SHOWN not in talk.state(), f"the error was shown: {talk.state()}")


@case.must(f"{RESOURCE}/client-both-requests", "resource is a parameter of both.", SINCE_2025_06_18)
async def both_requests(talk: ClientTalk) -> None:
    """Authorization request and token request name the resource."""
    site = protect(talk)
    await sign_in(talk, site)
    check("resource" in authorization(site), "the authorization request has no resource")
    for visit in redeeming(site):
        check("resource" in visit.form, "the token request has no resource")


@case.must(
    f"{RESOURCE}/client-names-server",
    "resource is the identifier of the server, in both.",
    SINCE_2025_06_18,
)
async def names_server(talk: ClientTalk) -> None:
    """The resource is the server that the token is for."""
    site = protect(talk)
    await sign_in(talk, site)
    asked = authorization(site).get("resource")
    check(asked == site.address, f"the authorization request is for {asked!r}")
    for visit in redeeming(site):
        found = visit.form.get("resource")
        check(found == site.address, f"the token request is for {found!r}")


@case.must(
    "canonical-server-uri/client-canonical",
    "An absolute URI without a fragment, scheme and host in lower case.",
    SINCE_2025_06_18,
)
async def canonical(talk: ClientTalk) -> None:
    """The resource is a canonical URI."""
    site = protect(talk)
    await sign_in(talk, site)
    found = authorization(site).get("resource", "")
    parts = urlsplit(found)
    check(parts.scheme and parts.netloc, f"{found!r} is not absolute")
    check("#" not in found, f"{found!r} has a fragment")
    check(found.startswith(f"{parts.scheme}://{parts.netloc.lower()}"), f"{found!r}: upper case")


@case.should(
    "canonical-server-uri/client-specific",
    "The resource has the path of the endpoint, and no slash after it.",
    SINCE_2025_06_18,
)
async def specific(talk: ClientTalk) -> None:
    """The resource is as specific as the endpoint, without a trailing slash."""
    site = protect(talk)
    await sign_in(talk, site)
    found = authorization(site).get("resource", "")
    check(found.rstrip("/").endswith(site.endpoint), f"{found!r} is not that of the endpoint")
    check(not found.endswith("/"), f"{found!r} ends with a slash")


@case.must(
    "token-requirements/client-signed-in-every-request",
    "Authorization: Bearer with the token on every request after it was given.",
    SINCE_2025_03_26,
)
async def every_request(talk: ClientTalk) -> None:
    """A token that the client has got goes with every request to the server, in the header."""
    site = protect(talk)
    await sign_in(talk, site)
    (place,) = [n for n, each in enumerate(site.visits) if each in redeeming(site)][:1]
    for visit in site.visits[place:]:
        if visit.path == site.endpoint:
            found = visit.header("authorization")
            wanted = f"bearer {site.server.given[-1]}"
            scheme, token = visit.token
            check(f"{scheme} {token}" == wanted, f"{visit.method} came with {found!r}")


@case.must(
    "token-requirements/client-signed-in-not-in-query",
    "No access token in any URI.",
    SINCE_2025_03_26,
)
async def not_in_query(talk: ClientTalk) -> None:
    """A token that the client has got is part of no URI."""
    site = protect(talk)
    await sign_in(talk, site)
    for visit in site.visits:
        for token in site.server.given:
            check(token not in visit.asked.target, f"the token is part of {visit.asked.target}")


@case.must(
    "token-handling/client-own-tokens",
    "After the change of the authorization server only its own tokens are sent.",
    SINCE_2025_06_18,
)
async def own_tokens(talk: ClientTalk) -> None:
    """Only tokens of the authorization server that the server names are sent to it."""
    site = protect(talk)
    first, site.moves_to = site.server, site.another("/other")
    site.servers.append(site.moves_to)
    site.ends.add("tools/call")
    await sign_in(talk, site)
    given = [n for n, each in enumerate(site.visits) if each.path == site.server.place("token")]
    check(given, "the client did not come to the second authorization server")
    for visit in site.visits[given[0] :]:
        if visit.path == site.endpoint:
            check(visit.token[1] not in first.given, "a token of the first server was sent again")


@case.must(
    "token-handling/client-server-alone",
    "The token goes to the endpoint of the server alone, and not after a redirect.",
    SINCE_2025_03_26,
)
async def server_alone(talk: ClientTalk) -> None:
    """A token is shown to nobody but the server: not where a redirect leads, nor its issuer."""
    site = protect(talk)
    site.ends.add("tools/list")  # whoever signs in again has a token that nobody else may see
    other = site.origin.replace("127.0.0.1", "localhost") + "/elsewhere"
    site.leads["tools/call"] = (talk.random.choice([307, 308]), other)
    await sign_in(talk, site)
    for visit in site.visits:
        elsewhere = visit.path != site.endpoint or visit.host.startswith("localhost")
        for token in site.server.given if elsewhere else ():
            check(token not in visit.everything, f"{visit.host}{visit.path} was shown the token")


@case.may(
    "error-handling/client-gives-up",
    f"At most {FEW} authorizations for a request, then an error.",
    SINCE_2025_03_26,
)
async def gives_up(talk: ClientTalk) -> None:
    """A request that is refused with every token is given up."""
    site = protect(talk)
    site.server.remembers = False
    await attend(talk, site)
    check(site.of("token"), f"the client got no token: {talk.state()}")
    count = len(site.of("authorize"))
    check(count <= FEW, f"there were {count} authorization requests for one request")


@case.must(
    f"{REFRESH}/client-none-assumed",
    "Signing in again: no token request with a refresh token that was not given.",
)
async def none_assumed(talk: ClientTalk) -> None:
    """A client that was given no refresh token does without."""
    site = protect(talk)
    site.ends.add("tools/call")
    await sign_in(talk, site)
    grants = [each.form.get("grant_type") for each in site.of("token")]
    check("refresh_token" not in grants, "the client has used a refresh token that it has not got")


@case.must(
    f"{REFRESH}/client-confidential",
    "A refresh token stands in the bodies of token requests of its issuer alone.",
)
async def confidential(talk: ClientTalk) -> None:
    """A refresh token is shown to its issuer alone, and never in a URI."""
    site = protect(talk)
    site.server.refreshes = True
    site.ends.add("tools/call")
    await sign_in(talk, site)
    for visit in site.visits:
        for token in site.server.given_refresh:
            check(token not in visit.asked.target, f"it is part of {visit.asked.target}")
            if visit.path != site.server.place("token"):
                check(token not in visit.everything, f"{visit.path} was shown it")


@case.must(
    f"{RESOURCE}/client-refresh",
    "A request that refreshes a token names the resource.",
    SINCE_2025_06_18,
)
async def refresh(talk: ClientTalk) -> None:
    """A refreshed token is for the same resource."""
    site = protect(talk)
    site.server.refreshes = True
    site.ends.add("tools/call")
    await sign_in(talk, site)
    found = [each for each in site.of("token") if each.form.get("grant_type") == "refresh_token"]
    if not found:
        talk.skip("the client does not refresh its token")
    for visit in found:
        named = visit.form.get("resource")
        check(named == site.address, f"the refreshed token is for {named!r}")


@case.should(
    f"{REFRESH}/client-grant-type", "refresh_token is one of the grant_types of a registration."
)
async def grant_type(talk: ClientTalk) -> None:
    """A client that refreshes tokens says so when it registers."""
    site = protect(talk)
    site.server.refreshes = True
    site.ends.add("tools/call")
    await sign_in(talk, site)
    grants = [each.form.get("grant_type") for each in site.of("token")]
    if "refresh_token" not in grants:
        talk.skip("the client does not refresh its token")
    found = registration(talk, site).get("grant_types")
    check(isinstance(found, list) and "refresh_token" in found, f"grant_types is {found!r}")
