"""Cases of the page on authorization server discovery for clients: what is asked for, and where."""

from mcpcore_conformance.kit.client_sign_in import (
    AttendedSite,
    NewSite,
    attend,
    metadata_asked,
    protect,
    sign_in,
    signing_in,
    stops,
)
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.model import MODERN, SINCE_2025_06_18, SINCE_2025_11_25, Page
from mcpcore_conformance.kit.protected import OAUTH_PLACE, OPENID_PLACE, RESOURCE_PLACE
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/authorization/authorization-server-discovery")
case = signing_in(page, SINCE_2025_11_25)

resource = case.at("protected-resource-metadata-discovery-requirements")
server = case.at("authorization-server-metadata-discovery")
LOCATION = "authorization-server-location"


@resource.must(
    "The first that is asked for after the 401 is the URL of resource_metadata.", SINCE_2025_06_18
)
async def challenged_place(talk: ClientTalk, site: NewSite) -> None:
    """The metadata of the server are looked for where the challenge says."""
    site.place = f"/documents/{talk.random.getrandbits(32):08x}"
    await attend(talk, site)
    first = site.elsewhere[0].path
    check(first == site.place, f"the challenge named {site.place}, the client asked for {first}")
    check(site.let_in, f"the client did not sign in: {talk.state()}")


@resource.must(
    "The URL of resource_metadata is found in any form that RFC 9110 allows.", SINCE_2025_06_18
)
async def challenge_syntax(talk: ClientTalk, site: NewSite) -> None:
    """A challenge is read as RFC 9110 has it: among others, in any case, with quoted pairs."""
    await attend(talk, site)  # whoever does nothing about a plain one has no authorization
    site = protect(talk)
    site.place = f"/documents/{talk.random.getrandbits(32):08x}"
    url = site.origin + site.place
    trap = f'realm="a, resource_metadata=\\"{site.origin}/trap\\"", x-resource_metadata="/trap"'
    forms = [
        [f'Negotiate, BEARER {trap} , Resource_Metadata = "{url}"'],
        ["Basic realm=kit", f'bearer {trap}, resource_metadata="{url}"'],
        [f'Basic realm="kit", Bearer resource_metadata="{url.replace("/d", chr(92) + "/d")}"'],
    ]
    chosen = talk.random.choice(forms)
    site.challenge = lambda params: chosen
    await talk.launch()
    await talk.finished()
    check(site.elsewhere, f"the client does nothing about {chosen}")
    first = site.elsewhere[0].path
    check(first == site.place, f"of {chosen} the client took {first}")
    check(site.let_in, f"the client did not sign in: {talk.state()}")


@resource.must("The well-known URI with the path of the endpoint is asked for before the root.")
async def path_first(talk: ClientTalk, site: NewSite) -> None:
    """A challenge without the URL leads to the well-known URI of the endpoint's path."""
    site.named = False
    await attend(talk, site)
    first = site.elsewhere[0].path
    check(first == site.place, f"the client asked for {first} before {site.place}")
    check(site.let_in, f"the client did not sign in: {talk.state()}")


@resource.must("404 at the path: the well-known URI at the root is asked for, and used.")
async def root_then(talk: ClientTalk, site: NewSite) -> None:
    """Metadata of the server that are at the root alone are found."""
    site.named, site.place = False, RESOURCE_PLACE
    await sign_in(talk, site)
    paths = [each.path for each in site.elsewhere if each.path.startswith(RESOURCE_PLACE)]
    wanted = [RESOURCE_PLACE + site.endpoint, RESOURCE_PLACE]
    check(paths == wanted, f"the client asked for {', '.join(paths)}")


@case.must(
    LOCATION,
    "The authorization server of the metadata is used, not one at the server's own origin.",
    SINCE_2025_06_18,
)
async def named_server(talk: ClientTalk, site: NewSite) -> None:
    """The authorization server is the one that the metadata of the server name."""
    trap = site.another("")
    site.servers.append(trap)
    await sign_in(talk, site)
    paths = {each.path for each in site.elsewhere}
    check(OAUTH_PLACE not in paths, "the client asked for metadata that nobody has named")
    check(not trap.given and not trap.codes, "the client signed in elsewhere")


@server.must(
    "Authorization and token requests go to the endpoints that the metadata name.", SINCE_2025_06_18
)
async def endpoints(talk: ClientTalk, site: AttendedSite) -> None:
    """The endpoints are those of the authorization server's metadata."""
    check(metadata_asked(site), "the client asked for no metadata of the authorization server")
    check(site.of("authorize"), "the authorization endpoint of the metadata was not used")
    check(site.of("token"), "the token endpoint of the metadata was not used")
    check(site.let_in, f"the client did not sign in: {talk.state()}")


async def _order(talk: ClientTalk, path: str, places: list[str]) -> None:
    site = protect(talk)
    site.server.path, site.server.places = path, (places[-1],)
    await sign_in(talk, site)
    found = [each.path for each in metadata_asked(site)]
    check(found == places, f"the client asked for {', '.join(found)}")


@server.must("OAuth with the path inserted, OpenID with it inserted, OpenID with it in front.")
async def order_with_path(talk: ClientTalk) -> None:
    """Metadata of an issuer with a path are looked for at three places in their order."""
    path = f"/tenant{talk.random.randrange(100)}"
    places = [OAUTH_PLACE + path, OPENID_PLACE + path, path + OPENID_PLACE]
    await _order(talk, path, places)


@server.must("OAuth metadata, then the OpenID configuration.")
async def order_without_path(talk: ClientTalk) -> None:
    """Metadata of an issuer without a path are looked for at two places in their order."""
    await _order(talk, "", [OAUTH_PLACE, OPENID_PLACE])


@server.must("An OpenID configuration is used as OAuth metadata are.")
async def openid(talk: ClientTalk, site: NewSite) -> None:
    """An authorization server that has an OpenID configuration alone is used."""
    site.server.places = (OPENID_PLACE + site.server.path,)
    site.server.document = {"subject_types_supported": ["public"], "userinfo_endpoint": None}
    await sign_in(talk, site)


@server.must("None of the endpoints is used.", MODERN)
async def issuer_identical(talk: ClientTalk, site: NewSite) -> None:
    """Metadata whose issuer is not the one that was asked for are not used."""
    issuer = site.server.issuer
    others = ["https://honest.example", issuer + "/", issuer.upper(), issuer.replace("/as", "")]
    site.server.document = {"issuer": talk.random.choice(others)}
    endpoints = ("register", "authorize", "token")
    await stops(talk, site, *endpoints, at=lambda: metadata_asked(site))


@case.must(LOCATION, "Neither id, secret nor token of the first is shown to the second.", MODERN)
async def state_per_server(talk: ClientTalk, site: NewSite) -> None:
    """Credentials and tokens of one authorization server are not tried on another."""
    first, site.moves_to = site.server, site.another("/other")
    first.document = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    site.servers.append(site.moves_to)
    site.ends.add("tools/call")
    await sign_in(talk, site)
    places = {site.moves_to.place(each) for each in site.moves_to.endpoints}
    shown = [each for each in site.visits if each.path in places]
    check(shown, "the client did not come to the second authorization server")
    for visit in shown:
        for secret in {*first.clients, *first.given, *first.given_refresh}:
            check(
                secret not in visit.everything, f"{visit.path} was shown what the first has given"
            )
