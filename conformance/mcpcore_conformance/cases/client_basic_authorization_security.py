"""Cases of the page on security considerations for clients: PKCE, state, redirect URIs."""

from base64 import urlsafe_b64encode
from hashlib import sha256
from urllib.parse import urlsplit, urlunsplit

from mcpcore_conformance.kit.client_sign_in import (
    EnteredSite,
    NewSite,
    attend,
    authorization,
    metadata_asked,
    protect,
    redeeming,
    registration,
    sign_in,
    signing_in,
    stops,
)
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.model import SINCE_2025_03_26, SINCE_2025_06_18, SINCE_2025_11_25, Page
from mcpcore_conformance.kit.protected import OPENID_PLACE, Pairs
from mcpcore_conformance.kit.verdicts import check, need

page = Page("basic/authorization/security-considerations")
case = signing_in(page, SINCE_2025_11_25)

code = case.at("authorization-code-protection")
redirection = case.at("open-redirection")
LOCAL = ("localhost", "127.0.0.1", "::1")


@code.must(
    "A code_challenge, and in the token request the code_verifier that fits it.", SINCE_2025_03_26
)
async def pkce(site: EnteredSite) -> None:
    """The code is protected by PKCE: its challenge is made of the verifier that redeems it."""
    asked = authorization(site)
    challenge, method = asked.get("code_challenge", ""), asked.get("code_challenge_method", "plain")
    check(challenge, "the authorization request has no code_challenge")
    verifier = redeeming(site)[0].form.get("code_verifier", "")
    digest = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    wanted = digest if method == "S256" else verifier
    check(challenge == wanted, f"the code_verifier does not fit the code_challenge by {method}")


@code.must("code_challenge_method is S256, though plain is offered as well.")
async def s256(talk: ClientTalk, site: NewSite) -> None:
    """The challenge is made by S256."""
    site.server.document = {"code_challenge_methods_supported": ["plain", "S256"]}
    await sign_in(talk, site)
    found = authorization(site).get("code_challenge_method")
    check(found == "S256", f"code_challenge_method is {found!r}")


@code.must("No authorization request by another method than S256.")
async def no_plain(talk: ClientTalk, site: NewSite) -> None:
    """An authorization server that knows the plain method alone does not get it."""
    site.server.document = {"code_challenge_methods_supported": ["plain"]}
    await attend(talk, site)
    need(metadata_asked(site), "the client asks for no metadata of the authorization server")
    for visit in site.of("authorize"):
        found = visit.query.get("code_challenge_method", "plain")
        check(found == "S256", f"code_challenge_method is {found!r}")


@code.must("No authorization request.")
async def pkce_absent(talk: ClientTalk, site: NewSite) -> None:
    """OAuth metadata that do not mention PKCE end the flow."""
    site.server.document = {"code_challenge_methods_supported": None}
    await stops(talk, site, "authorize", at=lambda: metadata_asked(site))


@code.must("No authorization request.")
async def pkce_absent_openid(talk: ClientTalk, site: NewSite) -> None:
    """An OpenID configuration that does not mention PKCE ends the flow."""
    site.server.places = (OPENID_PLACE + site.server.path,)
    site.server.document = {"code_challenge_methods_supported": None}
    await stops(talk, site, "authorize", at=lambda: metadata_asked(site))


@code.may("Code and verifier are not sent where the token endpoint redirects to.", SINCE_2025_03_26)
async def code_stays(talk: ClientTalk, site: NewSite) -> None:
    """A redirect of the token endpoint is not followed with the code."""
    other = site.origin.replace("127.0.0.1", "localhost") + "/elsewhere"
    site.redirects[site.server.place("token")] = (307, other)
    await stops(talk, site, at=lambda: site.of("token"))
    for visit in site.asked("/elsewhere"):
        check("code" not in visit.form, f"{visit.host} was sent the code")


@case.must(
    "communication-security",
    "redirect_uri is on loopback, of a scheme of its own, or of https.",
    SINCE_2025_03_26,
)
async def redirect_uri(site: EnteredSite) -> None:
    """The browser is sent back to loopback, or by https."""
    found = authorization(site).get("redirect_uri", "")
    parts = urlsplit(found)
    good = parts.scheme == "https" or parts.hostname in LOCAL or "." in parts.scheme
    check(good, f"redirect_uri is {found!r}")


@redirection.must(
    "redirect_uri is one of the registration, on loopback with any port.", SINCE_2025_06_18
)
async def registered_redirect(talk: ClientTalk, site: EnteredSite) -> None:
    """The redirect URI of the request is one that the client has registered."""
    known = registration(talk, site).get("redirect_uris")
    found = authorization(site).get("redirect_uri", "")
    texts = [str(each) for each in known] if isinstance(known, list) else []
    check(_portless(found) in map(_portless, texts), f"{found!r} is none of {known!r}")


def _portless(uri: str) -> str:
    """A redirect URI without its port, if it is on loopback (RFC 8252 section 7.3)."""
    parts = urlsplit(uri)
    if parts.hostname not in LOCAL:
        return uri
    return urlunsplit((parts.scheme, parts.hostname or "", parts.path, parts.query, ""))


@redirection.should("The authorization request has a state.", SINCE_2025_06_18)
async def state(site: EnteredSite) -> None:
    """The request carries a state."""
    check(authorization(site).get("state"), "the authorization request has no state")


async def _state_changed(talk: ClientTalk, value: str | None) -> None:
    site = protect(talk)

    def changed(pairs: Pairs) -> Pairs:
        named = [] if value is None else [("state", value)]
        return [*(each for each in pairs if each[0] != "state"), *named]

    site.server.callback = changed
    await stops(talk, site, "token", at=lambda: site.of("authorize"))


@redirection.should("No token request.", SINCE_2025_06_18)
async def wrong_state(talk: ClientTalk) -> None:
    """A response with another state is dropped."""
    await _state_changed(talk, "of-another-flow")


@redirection.should("No token request.", SINCE_2025_06_18)
async def missing_state(talk: ClientTalk) -> None:
    """A response without the state is dropped."""
    await _state_changed(talk, None)
