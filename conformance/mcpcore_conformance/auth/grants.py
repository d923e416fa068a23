"""Grants of the token endpoint of the development authorization server.

Sources: RFC 6749 sections 4.1.3, 4.4 and 6, RFC 7636 section 4.6, RFC 7523 section 2.1, RFC 8693
section 2, RFC 8705 section 3, RFC 8707 section 2.2, RFC 9449 section 5; the ext-auth pages.
"""

import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from mcpcore.auth.challenges import format_scopes
from mcpcore.auth.grants import (
    ACCESS_TOKEN,
    EXCHANGE,
    ID_JAG,
    ID_TOKEN,
    JWT_BEARER,
    ClientAuth,
    base64url,
    challenge_of,
)
from mcpcore.auth.proofs import ReplayWindow
from mcpcore.auth.resource_server import Verify, principal_name
from mcpcore.auth.tokens import ClaimRules, Grant, TokenRefused, read_jws
from mcpcore_conformance.auth.assertions import Proofs, once, verified
from mcpcore_conformance.auth.clients import Clients
from mcpcore_conformance.auth.issuing import Authorized, Issuing, Keyring
from mcpcore_conformance.auth.model import (
    CLIENT_CREDENTIALS,
    CODE,
    REFRESH,
    Client,
    Randomness,
    Refused,
    Request,
    ServerSettings,
    Table,
    Trust,
    TrustedIssuer,
)

GRANTS = (CODE, REFRESH, CLIENT_CREDENTIALS, JWT_BEARER, EXCHANGE)
_ID_JAG = "oauth-id-jag+jwt"
_VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")


class Code(Struct, kw_only=True):
    """Authorization code, with all that it is bound to."""

    authorized: Authorized
    redirect_uri: str
    named: bool
    """True if the authorization request had a redirect_uri."""
    challenge: str
    family: str | None = None
    """Family of the tokens that were given for it; None: it was not used."""


class Grants:
    """Token endpoint."""

    def __init__(
        self,
        settings: ServerSettings,
        clients: Clients,
        keys: Keyring,
        issuing: Issuing,
        proofs: Proofs,
        randomness: Randomness,
        verify: Verify,
    ) -> None:
        self.codes: Table[Code] = Table(settings.limits.codes)
        self._settings = settings
        self._clients = clients
        self._keys = keys
        self._issuing = issuing
        self._proofs = proofs
        self._randomness = randomness
        self._verify = verify
        self._trusted = {each.issuer: each for each in settings.trusted}
        self._assertions = ReplayWindow(limit=settings.limits.replays)
        self._grants: dict[str, Callable[[_Asked], dict[str, Any]]] = {
            CODE: self._by_code,
            REFRESH: self._by_refresh,
            CLIENT_CREDENTIALS: self._by_credentials,
            JWT_BEARER: self._by_assertion,
            EXCHANGE: self._exchanged,
        }
        self._exchanges: dict[tuple[str, str], Callable[[_Asked], dict[str, Any]]] = {
            (ID_TOKEN, ID_JAG): self._id_jag,
            (ACCESS_TOKEN, ACCESS_TOKEN): self._access_token,
        }

    def token(self, request: Request) -> dict[str, Any]:
        """Return the token response.  Raises Refused."""
        form = request.form()
        client = self._clients.authenticate(request, form)
        kind = form.get("grant_type")
        if kind not in self._grants:
            raise Refused("unsupported_grant_type", "the grant is not known")
        if kind not in client.grants:
            raise Refused("unauthorized_client", "the client may not use this grant")
        # Before the grant, so that a code is not lost for want of a nonce.
        jkt = self._proofs.key_of(request)
        certificate = None
        if client.method is ClientAuth.TLS and request.certificate is not None:
            certificate = base64url(bytes.fromhex(request.certificate.fingerprint)).decode()
        asked = _Asked(
            client=client, form=form, jkt=jkt, certificate=certificate, wall=request.wall
        )
        return self._grants[kind](asked)

    def _by_code(self, asked: "_Asked") -> dict[str, Any]:
        text = asked.param("code")
        code = self.codes.get(text, asked.wall)
        if code is None or code.authorized.client.client_id != asked.client.client_id:
            raise Refused("invalid_grant", "the code is not valid")
        if code.family is not None:
            self._issuing.end(code.family, asked.wall)
            raise Refused("invalid_grant", "the code was used before")
        # Whatever is wrong, there is no second try.
        self.codes.pop(text, asked.wall)
        authorized = code.authorized
        redirect = asked.form.get("redirect_uri", None if code.named else code.redirect_uri)
        if redirect != code.redirect_uri:
            raise Refused("invalid_grant", "the redirect_uri is another one")
        verifier = asked.param("code_verifier")
        made = challenge_of(verifier).encode()
        if not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(
            made, code.challenge.encode()
        ):
            raise Refused("invalid_grant", "the code_verifier is wrong")
        if authorized.jkt not in (None, asked.jkt):
            raise Refused("invalid_dpop_proof", "the code is bound to another key")
        self._settings.resource_of(asked.form.get("resource"), authorized.resource)
        bound = Authorized(
            client=asked.client,
            subject=authorized.subject,
            scopes=authorized.scopes,
            resource=authorized.resource,
            jkt=asked.jkt,
            certificate=asked.certificate,
            refreshable=REFRESH in asked.client.grants,
            nonce=authorized.nonce,
        )
        code.family = self._issuing.begin(bound, asked.wall)
        until = asked.wall + self._settings.code_time
        self.codes.put(text, code, until=until, wall=asked.wall)
        return self._issuing.give(code.family, bound.scopes, asked.wall)

    def _by_refresh(self, asked: "_Asked") -> dict[str, Any]:
        token = asked.param(REFRESH)
        family, authorized = self._issuing.authorized(token, asked.client, asked.wall)
        scopes = self._settings.scopes_of(asked.form.get("scope"), authorized.scopes)
        self._settings.resource_of(asked.form.get("resource"), authorized.resource)
        if authorized.jkt != asked.jkt:
            raise Refused("invalid_dpop_proof", "the refresh token is bound to another key")
        if authorized.certificate != asked.certificate:
            raise Refused("invalid_grant", "the refresh token is bound to another certificate")
        return self._issuing.give(family, scopes, asked.wall)

    def _by_credentials(self, asked: "_Asked") -> dict[str, Any]:
        _check_confidential(asked.client)
        scopes = self._settings.scopes_of(asked.form.get("scope"))
        return self._given(asked, asked.client.client_id, scopes, asked.form.get("resource"))

    def _given(
        self, asked: "_Asked", subject: str, scopes: frozenset[str], resource: str | None
    ) -> dict[str, Any]:
        """Return the response with a token that is not refreshed."""
        authorized = Authorized(
            client=asked.client,
            subject=subject,
            scopes=scopes - {"openid", "offline_access"},
            resource=self._settings.resource_of(resource),
            jkt=asked.jkt,
            certificate=asked.certificate,
        )
        family = self._issuing.begin(authorized, asked.wall)
        return self._issuing.give(family, authorized.scopes, asked.wall)

    # Assertions

    def _by_assertion(self, asked: "_Asked") -> dict[str, Any]:
        text = asked.param("assertion")
        try:
            jws = read_jws(text)
            trusted = self._trusted.get(jws.issuer or "")
            if trusted is None:
                raise Refused("invalid_grant", "the assertion is of an issuer that is not trusted")
            kind = _ID_JAG if trusted.kind is Trust.PROVIDER else "jwt"
            grant = self._judged(text, trusted, kind, asked.wall)
            if trusted.kind is Trust.PROVIDER:
                return self._by_id_jag(asked, grant)
        except TokenRefused as refused:
            raise Refused("invalid_grant", refused.fault.value) from None
        scopes = self._settings.scopes_of(asked.form.get("scope"))
        name = principal_name(grant.issuer, grant.subject)
        return self._given(asked, name, scopes, asked.form.get("resource"))

    def _judged(self, text: str, trusted: TrustedIssuer, kind: str, wall: float) -> Grant:
        rules = ClaimRules(
            issuer=trusted.issuer,
            audiences=frozenset({self._settings.issuer}),
            types=frozenset({kind}),
        )
        grant = verified(text, trusted.keys, rules, self._verify, wall)
        if trusted.subjects is not None and grant.subject not in trusted.subjects:
            raise Refused("invalid_grant", "the subject of the assertion may have no tokens")
        return grant

    def _by_id_jag(self, asked: "_Asked", grant: Grant) -> dict[str, Any]:
        """Return the token for an ID-JAG: that of its client, resource and scopes at most."""
        _check_confidential(asked.client)
        resource, scope = grant.claims.get("resource"), grant.claims.get("scope")
        if grant.claims.get("client_id") != asked.client.client_id:
            raise Refused("invalid_grant", "the assertion is for another client")
        if not isinstance(resource, str) or asked.form.get("resource", resource) != resource:
            raise Refused("invalid_target", "the assertion is for another resource")
        most = self._settings.scopes_of(scope if isinstance(scope, str) else None)
        scopes = self._settings.scopes_of(asked.form.get("scope"), most)
        once(grant, self._assertions, self._settings, asked.wall)
        return self._given(asked, principal_name(grant.issuer, grant.subject), scopes, resource)

    def _exchanged(self, asked: "_Asked") -> dict[str, Any]:
        """Return a token of the type that is wanted for another one of this server."""
        _check_confidential(asked.client)
        wanted = asked.form.get("requested_token_type", ACCESS_TOKEN)
        exchange = self._exchanges.get((asked.param("subject_token_type"), wanted))
        if exchange is None:
            text = "only ID tokens are exchanged for ID-JAGs, and access tokens for others"
            raise Refused("invalid_request", text)
        return exchange(asked)

    def _access_token(self, asked: "_Asked") -> dict[str, Any]:
        """Return an access token for another resource, about the subject of the given one."""
        given = self._issuing.introspect(asked.param("subject_token"), asked.wall)
        if not given["active"] or "cnf" in given:  # no proof of a key comes with it
            raise Refused("invalid_grant", "the subject token is not valid, or bound to a key")
        most = frozenset(given.get("scope", "").split())
        scopes = self._settings.scopes_of(asked.form.get("scope"), most)
        made = self._given(asked, given["sub"], scopes, asked.form.get("resource"))
        return {**made, "issued_token_type": ACCESS_TOKEN}

    def _id_jag(self, asked: "_Asked") -> dict[str, Any]:
        """Return an ID-JAG for an ID token of this server, which is the identity provider."""
        settings, client = self._settings, asked.client
        audience, resource = asked.param("audience"), asked.param("resource")
        if audience not in client.known_as:
            raise Refused("invalid_target", "the client is not known to that audience")
        rules = ClaimRules(
            issuer=settings.issuer,
            audiences=frozenset({client.client_id}),
            types=frozenset({"jwt"}),
        )
        try:
            token, keys = asked.param("subject_token"), self._keys.keys(asked.wall)
            grant = verified(token, keys, rules, self._verify, asked.wall)
        except TokenRefused as refused:
            raise Refused("invalid_grant", refused.fault.value) from None
        scopes = settings.scopes_of(asked.form.get("scope"))
        claims = {
            "iss": settings.issuer,
            "sub": grant.subject,
            "aud": audience,
            "client_id": client.known_as[audience],
            "resource": resource,
            "iat": int(asked.wall),
            "exp": int(asked.wall + settings.assertion_time),
            "jti": self._randomness.text(),
            **({"scope": format_scopes(scopes)} if scopes else {}),
        }
        return {
            "access_token": self._keys.sign(_ID_JAG, claims),
            "issued_token_type": ID_JAG,
            "token_type": "N_A",
            "expires_in": int(settings.assertion_time),
            **({"scope": claims["scope"]} if scopes else {}),
        }


class _Asked(Struct, frozen=True, kw_only=True):
    """Token request of a client that is authenticated."""

    client: Client
    form: Mapping[str, str]
    jkt: str | None
    certificate: str | None
    wall: float

    def param(self, name: str) -> str:
        """Return a parameter.  Raises Refused if it is absent."""
        if name not in self.form:
            raise Refused("invalid_request", f"there is no {name}")
        return self.form[name]


def _check_confidential(client: Client) -> None:
    if client.method is ClientAuth.NONE:
        raise Refused("unauthorized_client", "the grant needs a client with credentials")
