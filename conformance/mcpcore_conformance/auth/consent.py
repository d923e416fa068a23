"""Authorization endpoint of the development authorization server, and its page of consent.

A consent belongs to the browser that was asked: its form holds a ticket, its cookie the other half.
Each has a cookie of its own, as a browser may be asked by several clients at a time.

Sources: RFC 6749 section 4.1, RFC 7636 section 4.3, RFC 8707 section 2.1, RFC 9207 section 2,
RFC 9449 section 10 (``dpop_jkt``), RFC 9700 section 4.16 (framing).
"""

import hmac
import re
from collections.abc import Mapping
from html import escape

from mcpcore.auth.metadata import printable
from mcpcore.auth.urls import parse_url, with_query
from mcpcore.errors import UrlRefused
from mcpcore.wire.redaction import HIDDEN, Discreet
from mcpcore_conformance.auth.clients import Clients, redirect_of
from mcpcore_conformance.auth.grants import Code
from mcpcore_conformance.auth.issuing import Authorized
from mcpcore_conformance.auth.model import (
    CODE,
    NO_STORE,
    Client,
    Randomness,
    Refused,
    Request,
    Response,
    ServerSettings,
    Table,
    parameters,
)

_CHALLENGE = re.compile(r"[A-Za-z0-9\-_]{43}")
_NAMED = 16
"""Characters of a ticket, its last ones, that name its cookie."""
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Consent</title>
<h1>Consent</h1>
<p><b>{client}</b> asks for access to <b>{resource}</b> as <b>{user}</b>.</p>
<p>Scopes: {scopes}</p>
<p>The answer goes to <b>{redirect}</b>.</p>
<form method="post"><input type="hidden" name="ticket" value="{ticket}">
<button name="answer" value="yes">Allow</button> <button name="answer" value="no">Refuse</button>
</form></html>
"""
_PAGE_HEADERS = (
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    *NO_STORE,
)


class _Waiting(Discreet, frozen=True, kw_only=True):
    """Authorization request that waits for consent."""

    code: Code
    state: str | None
    cookie: str

    def __shown__(self) -> Mapping[str, object]:
        return {"state": HIDDEN, "cookie": HIDDEN}


class Consent:
    """Authorization endpoint."""

    def __init__(
        self,
        settings: ServerSettings,
        clients: Clients,
        codes: Table[Code],
        randomness: Randomness,
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._codes = codes
        self._randomness = randomness
        self._waiting: Table[_Waiting] = Table(settings.limits.consents)

    def ask(self, request: Request) -> Response:
        """Answer an authorization request: by the page of consent, or by a redirect.

        Raises Refused, without a redirect, for an unknown client or redirect URI.
        """
        params = parameters(request.query)
        client = self._clients.find(params.get("client_id"), request.wall)
        redirect, state = redirect_of(client, params.get("redirect_uri")), params.get("state")
        try:
            code = self._code(client, redirect, params)
            if not self._settings.consent:
                return self._consented(code, state, request.wall)
            if params.get("prompt") == "none":
                raise Refused("consent_required", "a person must be asked")
            return self._page(code, state, request.wall)
        except Refused as refused:
            fault = {"error": refused.error, "error_description": printable(refused.text)}
            return self._redirect(redirect, state, fault)

    def answer(self, request: Request) -> Response:
        """Take the person's answer.  Raises Refused if it is not of the browser that was asked."""
        form = request.form()
        ticket = form.get("ticket", "")
        waiting = self._waiting.get(ticket, request.wall)
        cookies = (request.header("cookie") or "").split("; ")
        name = _cookie(ticket)
        given = [each.partition("=")[2] for each in cookies if each.startswith(f"{name}=")]
        if waiting is None or not any(
            hmac.compare_digest(each.encode(), waiting.cookie.encode()) for each in given
        ):
            raise Refused("access_denied", "no such consent was asked for in this browser", 403)
        self._waiting.pop(ticket, request.wall)
        if form.get("answer") == "yes":
            return self._consented(waiting.code, waiting.state, request.wall)
        fault = {"error": "access_denied", "error_description": "the person has refused"}
        return self._redirect(waiting.code.redirect_uri, waiting.state, fault)

    def _code(self, client: Client, redirect: str, params: Mapping[str, str]) -> Code:
        """Return the code for a request, before consent.  Raises Refused."""
        if CODE not in client.grants:
            raise Refused("unauthorized_client", "the client may not use this grant")
        if params.get("response_type") != "code":
            raise Refused("unsupported_response_type", "the response type is not code")
        challenge = params.get("code_challenge", "")
        if params.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
            raise Refused("invalid_request", "PKCE with S256 is required")
        authorized = Authorized(
            client=client,
            subject=self._settings.user,
            scopes=self._settings.scopes_of(params.get("scope")),
            resource=self._settings.resource_of(params.get("resource")),
            jkt=params.get("dpop_jkt"),
            nonce=params.get("nonce"),
        )
        return Code(
            authorized=authorized,
            redirect_uri=redirect,
            named="redirect_uri" in params,
            challenge=challenge,
        )

    def _page(self, code: Code, state: str | None, wall: float) -> Response:
        ticket, cookie = self._randomness.text(), self._randomness.text()
        waiting = _Waiting(code=code, state=state, cookie=cookie)
        until = wall + self._settings.consent_time
        self._waiting.put(ticket, waiting, until=until, wall=wall)
        authorized = code.authorized
        texts = {
            "client": authorized.client.name or authorized.client.client_id,
            "resource": authorized.resource,
            "user": authorized.subject,
            "scopes": ", ".join(sorted(authorized.scopes)) or "none",
            "redirect": code.redirect_uri,
            "ticket": ticket,
        }
        page = _PAGE.format(**{name: escape(printable(each)) for name, each in texts.items()})
        line = ("set-cookie", f"{_cookie(ticket)}={cookie}; HttpOnly; SameSite=Strict")
        return Response(200, (*_PAGE_HEADERS, line), page.encode())

    def _consented(self, code: Code, state: str | None, wall: float) -> Response:
        text = self._randomness.text()
        self._codes.put(text, code, until=wall + self._settings.code_time, wall=wall)
        return self._redirect(code.redirect_uri, state, {"code": text})

    def _redirect(self, uri: str, state: str | None, params: Mapping[str, str]) -> Response:
        """Return the authorization response, with ``iss`` (RFC 9207)."""
        told = {} if state is None else {"state": state}
        try:
            url = parse_url(uri, "the redirect URI")
            place = with_query(url, {**params, **told, "iss": self._settings.issuer})
        except UrlRefused as refused:
            raise Refused("invalid_request", str(refused)) from None
        return Response(302, (("location", place), *NO_STORE))


def _cookie(ticket: str) -> str:
    """Return the name of the cookie of a consent."""
    return f"consent-{ticket[-_NAMED:]}"
