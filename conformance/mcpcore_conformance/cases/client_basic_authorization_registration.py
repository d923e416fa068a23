"""Cases of the page on client registration for clients: by which id a client is known."""

from urllib.parse import urlsplit

from mcpcore.spec.revisions import BY_NAME, Span
from mcpcore_conformance.kit.client_sign_in import (
    EnteredSite,
    NewSite,
    attend,
    authorization,
    registration,
    sign_in,
    signing_in,
)
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.model import MODERN, SINCE_2025_11_25, Page
from mcpcore_conformance.kit.protected import answer
from mcpcore_conformance.kit.verdicts import check, need

page = Page("basic/authorization/client-registration")
legacy = Page("basic/authorization")
case = signing_in(page, MODERN)

UP_TO_2025_06_18 = Span(BY_NAME["2025-03-26"], BY_NAME["2025-06-18"])
GIVEN = {"client_id": "kit-registered", "client_secret": "kit-secret-of-registered"}
"""Credentials by pre-registration."""
given = signing_in(page, MODERN, scenario="auth/pre-registration", context=GIVEN)
DOCUMENT = {"client_id_metadata_document_supported": True}
BINDING = "authorization-server-binding"
constraints = case.at("application-type-and-redirect-uri-constraints")


@given.should(
    "pre-registration/client-credentials",
    "The given client_id is used, and its secret at the token endpoint.",
    SINCE_2025_11_25,
)
async def given_credentials(talk: ClientTalk, site: NewSite) -> None:
    """Credentials by pre-registration are used where nobody can register."""
    site.server.registers = False
    methods = ["client_secret_basic", "client_secret_post"]
    site.server.document = {"token_endpoint_auth_methods_supported": methods}
    await sign_in(talk, site)
    found = authorization(site).get("client_id")
    check(found == GIVEN["client_id"], f"authorization was asked for by {found!r}")


@given.should(
    "pre-registration", "The given client_id is used; nothing is registered.", SINCE_2025_11_25
)
async def before_others(talk: ClientTalk, site: NewSite) -> None:
    """Credentials by pre-registration come before documents and registration."""
    methods = ["client_secret_basic", "client_secret_post", "none"]
    site.server.document = {"token_endpoint_auth_methods_supported": methods, **DOCUMENT}
    await sign_in(talk, site)
    found = authorization(site).get("client_id")
    check(found == GIVEN["client_id"], f"authorization was asked for by {found!r}")
    check(not site.of("register"), "the client has registered")


@case.should(
    "client-id-metadata-documents/client-before-registration",
    "The client_id is the URL of a document; nothing is registered.",
    SINCE_2025_11_25,
)
async def document_first(talk: ClientTalk, site: NewSite) -> None:
    """A client id metadata document comes before registration where it is supported."""
    site.server.document = DOCUMENT
    await sign_in(talk, site)
    found = authorization(site).get("client_id", "")
    check(not site.of("register"), "the client has registered")
    check("://" in found, f"the client_id is {found!r}")


@case.must(
    "implementation-requirements",
    "A client_id that is a URL has https, a path without dots, no user and no fragment.",
    SINCE_2025_11_25,
)
async def id_form(talk: ClientTalk, site: NewSite) -> None:
    """The URL of a client id metadata document is of https and has a path."""
    site.server.document = DOCUMENT
    await sign_in(talk, site)
    found = authorization(site).get("client_id", "")
    need("://" in found, "the client has no client id metadata document")
    parts = urlsplit(found)
    check(parts.scheme == "https", f"the client_id is {found}")
    check(parts.path not in ("", "/"), f"{found} has no path")
    dots = {".", ".."} & {*parts.path.split("/")}
    check(not dots, f"the path of {found} has dots in place of a name")
    check("@" not in parts.netloc and "#" not in found, f"{found} has a user or a fragment")


@case.should(
    "advertising-cimd-support/client-looks",
    "Without client_id_metadata_document_supported the client_id is a registered one.",
    SINCE_2025_11_25,
)
async def looks_for_support(site: EnteredSite) -> None:
    """A document is not used at an authorization server that does not support it."""
    found = authorization(site).get("client_id")
    check(found in site.server.clients, f"authorization was asked for by {found!r}")


@signing_in(legacy, UP_TO_2025_06_18).should(
    "dynamic-client-registration", "A client without an id registers itself."
)
async def registers(talk: ClientTalk) -> None:
    """A client without credentials registers at an authorization server that offers it."""
    site = await attend(talk)
    check(site.of("register"), f"the client has not registered: {talk.state()}")
    check(site.let_in, f"the client did not sign in: {talk.state()}")


@constraints.must("A registration has application_type, native or web.")
async def application_type(talk: ClientTalk, site: EnteredSite) -> None:
    """A registration says what kind of application the client is."""
    found = registration(talk, site).get("application_type")
    check(found in ("native", "web"), f"application_type is {found!r}")


@constraints.should("native with redirect URIs on loopback or of a scheme of its own, else web.")
async def fitting_type(talk: ClientTalk, site: EnteredSite) -> None:
    """The kind of application fits the redirect URIs."""
    made = registration(talk, site)
    parts = [urlsplit(each) for each in made.get("redirect_uris", [])]
    local = [each.scheme != "https" or each.hostname in _LOCAL for each in parts]
    wanted = "native" if all(local) else "web"
    found = made.get("application_type")
    check(found == wanted, f"application_type is {found!r} with {made.get('redirect_uris')}")


_LOCAL = ("localhost", "127.0.0.1", "::1")
REFUSED = {"error": "invalid_redirect_uri", "error_description": "no loopback for web clients"}


@constraints.must(
    "The client ends by itself, and asks for no authorization with an id it has not got."
)
async def registration_refused(talk: ClientTalk, site: NewSite) -> None:
    """A client copes with a registration that is refused for its redirect URIs."""
    site.server.no_registration = answer(REFUSED, 400)
    await attend(talk, site)
    registration(talk, site)
    check(not site.of("authorize"), "the client has asked for authorization without an id")


@constraints.should("The client ends with an error.")
async def refusal_shown(talk: ClientTalk, site: NewSite) -> None:
    """A refused registration is an error that the client tells."""
    site.server.no_registration = answer(REFUSED, 400)
    await attend(talk, site)
    registration(talk, site)
    assert talk.ended is not None
    check(talk.ended.code != 0, "the client ended as if all were well")


@case.must(
    BINDING, "The client registers at the new authorization server and uses the id of that one."
)
async def registers_anew(talk: ClientTalk, site: NewSite) -> None:
    """Another authorization server in the metadata means another registration."""
    first, site.moves_to = site.server, site.another("/other")
    site.servers.append(site.moves_to)
    site.ends.add("tools/call")
    await sign_in(talk, site)
    registration(talk, site)
    second = site.asked(site.moves_to.place("authorize"))
    check(second, "the client did not come to the second authorization server")
    found = second[0].query.get("client_id", "")
    check(found not in first.clients, "the id of the first was used at the second")
    check(found in site.moves_to.clients, f"{found!r} was not given by the second")


@given.should(BINDING, "The credentials are not used at the new authorization server.")
async def mismatch_told(talk: ClientTalk, site: NewSite) -> None:
    """Given credentials are not tried on another authorization server than before."""
    for server in (site.server, second := site.another("/other", registers=False)):
        server.registers = False
        methods = ["client_secret_basic", "client_secret_post"]
        server.document = {"token_endpoint_auth_methods_supported": methods}
    site.servers.append(second)
    site.moves_to = second
    site.ends.add("tools/call")
    await sign_in(talk, site)
    places = {second.place(each) for each in second.endpoints}
    for visit in site.visits:
        if visit.path in places:
            used = GIVEN["client_id"] in visit.everything or visit.token[0] == "basic"
            check(not used, f"{visit.path} of the second was shown the given credentials")


@case.must(
    "client-registration", "Authorization and token request name the client_id of the registration."
)
async def own_id(talk: ClientTalk, site: NewSite) -> None:
    """The id of the flow is the one that the client has obtained before."""
    site.server.registration = {"client_id": "kit/odd id&=%"}
    await sign_in(talk, site)
    registration(talk, site)
    for visit in (*site.of("authorize"), *site.of("token")):
        found = {**visit.query, **visit.form}.get("client_id")
        check(found == "kit/odd id&=%", f"{visit.path} was asked by {found!r}")
