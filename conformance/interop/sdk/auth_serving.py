"""What the protected servers of both libraries share: arguments, tokens, announcement."""

import argparse
import logging
import socket
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import jwt
from mcp.server.auth.provider import AccessToken

from conformance.interop.authorization.steps import READ
from conformance.interop.sdk.serving import serve


class Refusing:
    """Tokens that are refused from now on."""

    def __init__(self) -> None:
        self.tokens: set[str] = set()

    def add(self, token: AccessToken | None) -> str:
        """Refuse a token."""
        self.tokens.add(token.token)
        return "expired"


class IssuerKeys:
    """Verification of JWTs by the keys that their issuer publishes."""

    def __init__(self, issuer: str, audience: str) -> None:
        self.issuer = issuer
        self.audience = audience
        self.keys = jwt.PyJWKClient(f"{issuer}/jwks")

    async def claims(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a token, None if it is not good."""
        try:
            key = await anyio.to_thread.run_sync(self.keys.get_signing_key_from_jwt, token)
            return jwt.decode(
                token,
                key,
                algorithms=["ES256", "RS256"],
                audience=self.audience,
                issuer=self.issuer,
            )
        except jwt.PyJWTError:
            return None


def offer(
    server: Any, get_access_token: Callable[[], AccessToken | None], refusing: Refusing
) -> None:
    """Add the tools."""

    @server.tool()
    def whoami() -> str:
        """Say whose token it is."""
        return get_access_token().claims["sub"]

    @server.tool()
    def serial() -> str:
        """Say which token it is."""
        return get_access_token().claims["jti"]

    @server.tool()
    def expire() -> str:
        """Refuse the token from now on."""
        return refusing.add(get_access_token())


def main(make_app: Callable[[argparse.Namespace, str], Any]) -> int:
    """Serve the application that is made for what the command line says, and for the own origin."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--issuer", metavar="URL", help="of tokens; none: the server itself")
    parser.add_argument("--require", metavar="SCOPE", default=READ, help="scope of every request")
    parser.add_argument("--opaque", action="store_true", help="give tokens that are no JWTs")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        anyio.run(serve, make_app(chosen, origin), listener, f"{origin}/mcp")
    return 0
