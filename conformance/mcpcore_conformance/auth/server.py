"""Development authorization server: a request and the time in, a response out.

Pure: signatures, randomness and the fetching of documents are passed in.  It signs in one person,
always the same, and is for development and tests on loopback alone.

Sources: RFC 8414 section 2, OpenID Connect Discovery section 3, RFC 7591, RFC 7662, RFC 7009,
RFC 8705.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mcpcore.auth.grants import ClientAuth
from mcpcore.auth.metadata import ServerMetadata
from mcpcore.auth.proofs import Nonces
from mcpcore.auth.resource_server import Verify
from mcpcore.auth.urls import parse_url, server_metadata_urls
from mcpcore_conformance.auth.assertions import Proofs
from mcpcore_conformance.auth.clients import METHODS, Clients
from mcpcore_conformance.auth.consent import Consent
from mcpcore_conformance.auth.grants import GRANTS, Grants
from mcpcore_conformance.auth.issuing import Issuing, Keyring
from mcpcore_conformance.auth.model import (
    NO_STORE,
    Client,
    Fetch,
    Headers,
    Randomness,
    Refused,
    Request,
    Response,
    ServerSettings,
    reply,
)
from mcpcore_conformance.kit.tokens import Signer

MAX_BODY = 64 * 1024
"""Bytes of the body of a request."""
_ALGORITHMS = ["ES256", "RS256"]
_PUBLIC: Headers = (("cache-control", "max-age=300"),)
_CORS: Headers = (
    ("access-control-allow-origin", "*"),
    ("access-control-allow-headers", "authorization, content-type, dpop, mcp-protocol-version"),
    ("access-control-allow-methods", "GET, POST"),
    ("access-control-expose-headers", "dpop-nonce, www-authenticate"),
)
"""Headers for clients in browsers; the authorization endpoint does without."""

Handler = Callable[[Request], Response]


class DevelopmentServer:
    """Authorization server and identity provider for development.

    ``random``: returns as many random bytes as it is asked for.  ``fetch``: finds client id
    metadata documents, None: they are not supported.
    """

    def __init__(
        self,
        settings: ServerSettings,
        keys: Sequence[Signer],
        verify: Verify,
        *,
        random: Callable[[int], bytes],
        fetch: Fetch | None = None,
    ) -> None:
        self.settings = settings
        self.keys = Keyring(keys, settings)
        randomness = Randomness(random)
        nonces = Nonces(random(32)) if settings.nonces else None
        self._clients = Clients(settings, verify, randomness, fetch)
        self._issuing = Issuing(settings, self.keys, randomness)
        self._proofs = Proofs(settings, verify, nonces)
        self._grants = Grants(
            settings,
            self._clients,
            self.keys,
            self._issuing,
            self._proofs,
            randomness,
            verify,
        )
        self._consent = Consent(settings, self._clients, self._grants.codes, randomness)
        base = parse_url(settings.base, "the issuer").path
        self._authorize = f"{base}/authorize"
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", self._authorize): self._consent.ask,
            ("POST", self._authorize): self._consent.answer,
            ("POST", f"{base}/token"): self._token,
            ("POST", f"{base}/introspect"): self._introspect,
            ("POST", f"{base}/revoke"): self._revoke,
            ("GET", f"{base}/jwks"): self._jwks,
        }
        if settings.registration:
            self._routes["POST", f"{base}/register"] = self._register
        for url in server_metadata_urls(settings.issuer):
            self._routes["GET", parse_url(url, "the metadata").path] = self._metadata

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        if request.path == self._authorize:
            return self._answer(request)
        response = self._answer(request)
        return Response(response.status, (*response.headers, *_CORS), response.body)

    def _answer(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        route = self._routes.get((method, request.path))
        try:
            if route is not None:
                if len(request.body) > MAX_BODY:
                    raise Refused("invalid_request", "the body is too large", 413)
                return route(request)
            known = sorted(each for each, path in self._routes if path == request.path)
            if not known:
                raise Refused("not_found", "there is nothing here", 404)
            if method == "OPTIONS":
                return Response(204)
            allow = (("allow", ", ".join(known)),)
            raise Refused("invalid_request", "the method is not allowed", 405, allow)
        except Refused as refused:
            return refused.response()

    # Documents

    def metadata(self) -> dict[str, Any]:
        """Return the metadata (RFC 8414, OpenID Connect Discovery)."""
        settings, base = self.settings, self.settings.base
        # Over TLS alone: elsewhere no client has a certificate.
        methods = (*METHODS, ClientAuth.TLS) if base.startswith("https:") else METHODS
        document = ServerMetadata(
            issuer=settings.issuer,
            authorization_endpoint=f"{base}/authorize",
            token_endpoint=f"{base}/token",
            registration_endpoint=f"{base}/register" if settings.registration else None,
            introspection_endpoint=f"{base}/introspect",
            revocation_endpoint=f"{base}/revoke",
            jwks_uri=f"{base}/jwks",
            scopes_supported=(*settings.scopes, "openid", "offline_access"),
            grant_types_supported=GRANTS,
            token_endpoint_auth_methods_supported=tuple(each.value for each in methods),
            token_endpoint_auth_signing_alg_values_supported=("ES256", "RS256", "EdDSA", "Ed25519"),
            code_challenge_methods_supported=("S256",),
            authorization_response_iss_parameter_supported=True,
            client_id_metadata_document_supported=self._clients.documents,
            dpop_signing_alg_values_supported=tuple(sorted(settings.proofs.algorithms)),
        )
        return {
            **msgspec.to_builtins(document),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": _ALGORITHMS,
            "tls_client_certificate_bound_access_tokens": ClientAuth.TLS in methods,
        }

    def _metadata(self, request: Request) -> Response:
        return reply(self.metadata(), headers=_PUBLIC)

    def _jwks(self, request: Request) -> Response:
        return reply({"keys": self.keys.published(request.wall)}, headers=_PUBLIC)

    # Endpoints

    def _token(self, request: Request) -> Response:
        nonce = self._proofs.nonce_line(request.wall)
        return reply(self._grants.token(request), headers=(*NO_STORE, *nonce))

    def _register(self, request: Request) -> Response:
        return reply(self._clients.register(request.body, request.wall), 201)

    def _introspect(self, request: Request) -> Response:
        client, token = self._named(request)
        if client.method is ClientAuth.NONE:
            raise Refused("invalid_client", "only clients with credentials ask about tokens", 401)
        return reply(self._issuing.introspect(token, request.wall))

    def _revoke(self, request: Request) -> Response:
        client, token = self._named(request)
        self._issuing.revoke(token, client, request.wall)
        return reply({})

    def _named(self, request: Request) -> tuple[Client, str]:
        """Return the client of a request, and the token that it names."""
        form = request.form()
        client = self._clients.authenticate(request, form)
        if "token" not in form:
            raise Refused("invalid_request", "there is no token")
        return client, form["token"]
