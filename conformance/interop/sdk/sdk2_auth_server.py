"""A protected server written with the official SDK 2.x, and an authorization server of its own.

Runs inside .venv-sdk only.  Without ``--issuer`` its tokens are those of its own authorization
server, which publishes keys at ``/jwks`` and can be asked about tokens at ``/introspect``, so that
others can trust it too; see :mod:`conformance.interop.authorization.steps` for its tools.
"""

import argparse
import json
import secrets
import sys
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from starlette.requests import Request
from starlette.responses import JSONResponse

ROOT = Path(__file__).resolve().parents[3]
sys.path[:1] = [str(ROOT), str(ROOT / "conformance")]  # the steps are shared by all libraries

from conformance.interop.authorization.steps import ADMIN, READ, USER, WRITE
from conformance.interop.sdk.auth_serving import IssuerKeys, Refusing, main, offer

LIFETIME = 3600
refusing = Refusing()


class OwnIssuer:
    """Authorization server's part of the SDK that is the application's: consent and tokens.

    One person consents to all that may be granted, at once.
    """

    def __init__(self, issuer: str, *, opaque: bool) -> None:
        self.issuer = issuer
        self.opaque = opaque
        self.key = rsa.generate_private_key(65537, 2048)
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.access: dict[str, AccessToken] = {}
        self.refresh: dict[str, RefreshToken] = {}

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        """Find a client."""
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        """Keep a client, which may ask for any scope later."""
        client_info.scope = f"{READ} {WRITE} {ADMIN}"
        self.clients[client_info.client_id] = client_info

    async def authorize(
        self, client: OAuthClientInformationFull, params: AuthorizationParams
    ) -> str:
        """Consent, to what is asked for and may be granted."""
        code = AuthorizationCode(
            code=secrets.token_urlsafe(32),
            scopes=[each for each in params.scopes or [READ] if each in (READ, WRITE)],
            expires_at=time.time() + 60,
            client_id=client.client_id,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
            subject=USER,
        )
        self.codes[code.code] = code
        return construct_redirect_uri(
            str(params.redirect_uri), code=code.code, state=params.state, iss=self.issuer
        )

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        """Find a code."""
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        """Give tokens for a code, once."""
        del self.codes[authorization_code.code]
        return self.give(authorization_code, authorization_code.scopes)

    async def load_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: str
    ) -> RefreshToken | None:
        """Find a refresh token."""
        return self.refresh.get(refresh_token)

    async def exchange_refresh_token(
        self,
        client: OAuthClientInformationFull,
        refresh_token: RefreshToken,
        scopes: list[str],
    ) -> OAuthToken:
        """Give new tokens; the refresh token is good once."""
        del self.refresh[refresh_token.token]
        return self.give(refresh_token, scopes)

    async def load_access_token(self, token: str) -> AccessToken | None:
        """Find an access token."""
        return None if token in refusing.tokens else self.access.get(token)

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        """Forget a token."""
        self.access.pop(token.token, None)
        self.refresh.pop(token.token, None)

    def give(self, grant: AuthorizationCode | RefreshToken, scopes: list[str]) -> OAuthToken:
        """Make tokens."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": grant.subject,
            "aud": grant.resource,
            "client_id": grant.client_id,
            "iat": now,
            "exp": now + LIFETIME,
            "jti": secrets.token_hex(8),
            "scope": " ".join(scopes),
        }
        headers = {"typ": "at+jwt", "kid": "own"}
        token = secrets.token_urlsafe(32)
        if not self.opaque:
            token = jwt.encode(claims, self.key, algorithm="RS256", headers=headers)
        known = {"client_id": grant.client_id, "scopes": scopes, "resource": grant.resource}
        self.access[token] = AccessToken(
            token=token, expires_at=claims["exp"], subject=grant.subject, claims=claims, **known
        )
        again = RefreshToken(token=secrets.token_urlsafe(32), subject=grant.subject, **known)
        self.refresh[again.token] = again
        return OAuthToken(
            access_token=token,
            expires_in=LIFETIME,
            scope=" ".join(scopes),
            refresh_token=again.token,
        )

    async def jwks(self, request: Request) -> JSONResponse:
        """Publish the key."""
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return JSONResponse({"keys": [{**public, "kid": "own", "alg": "RS256", "use": "sig"}]})

    async def introspect(self, request: Request) -> JSONResponse:
        """Say what is known of a token."""
        form = await request.form()
        known = await self.load_access_token(str(form["token"]))
        if "authorization" not in request.headers:
            return JSONResponse({"error": "invalid_client"}, 401)
        if known is None:
            return JSONResponse({"active": False})
        return JSONResponse({"active": True, **known.claims})


class Verifier:
    """Verifier of the tokens of another authorization server."""

    def __init__(self, issuer: str, resource: str) -> None:
        self.keys = IssuerKeys(issuer, resource)
        self.resource = resource

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return what is known of a token."""
        claims = await self.keys.claims(token)
        if claims is None or token in refusing.tokens:
            return None
        return AccessToken(
            token=token,
            client_id=claims["client_id"],
            scopes=claims.get("scope", "").split(),
            expires_at=claims["exp"],
            resource=self.resource,
            subject=claims["sub"],
            claims=claims,
        )


def make_app(chosen: argparse.Namespace, origin: str) -> Any:
    """Make the server."""
    resource = f"{origin}/mcp"
    own = OwnIssuer(origin, opaque=chosen.opaque)
    named = {} if chosen.issuer else {"auth_server_provider": own}
    if chosen.issuer:
        named = {"token_verifier": Verifier(chosen.issuer, resource)}
    server = MCPServer(
        "notes",
        log_level="CRITICAL",
        auth=AuthSettings(
            issuer_url=chosen.issuer or origin,
            resource_server_url=resource,
            required_scopes=[chosen.require],
            validate_token_resource=True,
            client_registration_options=ClientRegistrationOptions(enabled=True),
        ),
        **named,
    )
    server.custom_route("/jwks", methods=["GET"])(own.jwks)
    server.custom_route("/introspect", methods=["POST"])(own.introspect)

    offer(server, get_access_token, refusing)
    return server.streamable_http_app()


if __name__ == "__main__":
    sys.exit(main(make_app))
