"""Parts of cases about clients that sign in: the site, the client's run, and what came of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Unpack

from mcpcore.spec.revisions import Span
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.client_wire import Ended
from mcpcore_conformance.kit.model import (
    SINCE_2025_03_26,
    SINCE_2025_06_18,
    STREAMABLE,
    Cases,
    Page,
    Traits,
)
from mcpcore_conformance.kit.protected import OAUTH_PLACE, OPENID_PLACE, HttpVisit, ProtectedSite
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive, check, need

PERSON = "auth/metadata-default"
"""Scenario of a client whose person consents to everything."""
FEW = 3
"""Authorizations that one request may cause."""


def signing_in(page: Page, revisions: Span = SINCE_2025_03_26, **common: Unpack[Traits]) -> Cases:
    """Cases of a page about clients that sign in."""
    made: Traits = {"bindings": STREAMABLE, "scenario": PERSON, **common}
    return page.client(revisions, **made)


def protect(talk: ClientTalk) -> ProtectedSite:
    """Make the endpoint a protected one."""
    published = talk.revision in SINCE_2025_06_18
    site = ProtectedSite(talk.host.address, talk.random, published=published)
    talk.serving.site = site.visit
    return site


NewSite = Annotated[ProtectedSite, protect]


async def attend(
    talk: ClientTalk,
    site: ProtectedSite | None = None,
    context: Mapping[str, Any] | None = None,
) -> ProtectedSite:
    """Let the client come to its end at a protected endpoint, and return that.

    ``context``: what the client is told besides that of the case.

    Skips the case if it does nothing about a 401.
    """
    site = site or protect(talk)
    if context is not None:
        await talk.launch(context={**talk.case.context, **context})
    ended = await talk.finished()
    if not any(each.path == site.endpoint for each in site.visits):
        raise Inconclusive(f"the client sent no request to the server: {talk.state()}")
    need(site.elsewhere, f"the client does not act on 401; it ended with status {ended.code}")
    return site


AttendedSite = Annotated[ProtectedSite, attend]


async def sign_in(
    talk: ClientTalk,
    site: ProtectedSite | None = None,
    context: Mapping[str, Any] | None = None,
) -> ProtectedSite:
    """As :func:`attend`; Broken if the client gets no token that lets it in."""
    site = await attend(talk, site, context)
    if site.let_in:
        return site
    raise Broken(f"the client did not sign in; {_asked(site)}; {talk.state()}")


EnteredSite = Annotated[ProtectedSite, sign_in]


async def stops(
    talk: ClientTalk, site: ProtectedSite, *endpoints: str, at: Callable[[], Sequence[object]]
) -> Ended:
    """Check that the client goes no further than to where something is wrong, ``at``.

    ``endpoints`` are those that it must not come to.
    """
    await attend(talk, site)
    if not at():
        raise Inconclusive(f"the client has not come to what is wrong; {_asked(site)}")
    for each in endpoints:
        found = site.of(each)
        check(not found, f"the client went on, and asked for {_shown(found)}")
    check(not site.let_in, "the client got in")
    assert talk.ended is not None
    return talk.ended


def _asked(site: ProtectedSite) -> str:
    return f"it asked for {_shown(site.elsewhere)}"


def _shown(visits: list[HttpVisit]) -> str:
    return ", ".join(dict.fromkeys(f"{each.method} {each.path}" for each in visits))


def authorization(site: ProtectedSite, number: int = 0) -> dict[str, str]:
    """The parameters of an authorization request, by its place."""
    found = site.of("authorize")
    check(len(found) > number, f"there were {len(found)} authorization requests")
    return found[number].query


def redeeming(site: ProtectedSite) -> list[HttpVisit]:
    """The token requests that redeem a code."""
    return [
        each for each in site.of("token") if each.form.get("grant_type") == "authorization_code"
    ]


def metadata_asked(site: ProtectedSite) -> list[HttpVisit]:
    """Requests for metadata of an authorization server."""
    return [each for each in site.visits if OAUTH_PLACE in each.path or OPENID_PLACE in each.path]


def registration(talk: ClientTalk, site: ProtectedSite) -> dict[str, Any]:
    """The metadata with which the client has registered; skips the case if it does not."""
    found = site.of("register")
    need(found, "the client does not register itself")
    return found[0].value


def scopes(params: Mapping[str, str]) -> set[str]:
    """The scopes that a request asks for."""
    return {*params.get("scope", "").split()}
