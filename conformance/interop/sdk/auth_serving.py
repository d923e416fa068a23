"""What the protected servers of both libraries share: arguments, tokens, announcement."""

import argparse
import logging
import socket
import sys
import warnings
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import jwt
import uvicorn
from mcp.server.auth.provider import AccessToken

from conformance.interop.authorization.steps import READ

warnings.simplefilter("ignore")  # the SDK deprecates parts of the protocol that are served here


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


def main(make_app: Callable[[argparse.Namespace, str], Any]) -> int:
    """Serve the application that is made for what the command line says, and for the own origin."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--issuer", metavar="URL", help="of tokens; none: the server itself")
    parser.add_argument("--require", metavar="SCOPE", default=READ, help="scope of every request")
    parser.add_argument("--opaque", action="store_true", help="give tokens that are no JWTs")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    # asyncio does this only for sockets it made itself; without it each answer waits for an ack
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = make_app(chosen, origin)
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    print(f"listening on {origin}/mcp", file=sys.stderr, flush=True)
    anyio.run(lambda: uvicorn.Server(config).serve(sockets=[listener]))
    return 0
