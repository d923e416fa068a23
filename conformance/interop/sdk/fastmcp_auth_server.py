"""A protected server written with fastmcp, for the tokens of another authorization server.

Runs inside .venv-fastmcp only; see :mod:`conformance.interop.authorization.steps` for its tools.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from fastmcp import FastMCP
from fastmcp.server.auth import AccessToken, RemoteAuthProvider
from fastmcp.server.auth.providers.jwt import JWTVerifier
from fastmcp.server.dependencies import get_access_token

ROOT = Path(__file__).resolve().parents[3]
sys.path[:1] = [str(ROOT), str(ROOT / "conformance")]  # the steps are shared by all libraries

from conformance.interop.sdk.auth_serving import Refusing, main, offer

refusing = Refusing()


class ExpiringVerifier(JWTVerifier):
    """Its verifier of JWTs, which knows tokens that are refused."""

    async def load_access_token(self, token: str) -> AccessToken | None:
        """Return what is known of a token."""
        return None if token in refusing.tokens else await super().load_access_token(token)


def make_app(chosen: argparse.Namespace, origin: str) -> Any:
    """Make the server."""
    verifier = ExpiringVerifier(
        jwks_uri=f"{chosen.issuer}/jwks",
        issuer=chosen.issuer,
        audience=f"{origin}/mcp",
        algorithm="ES256",
        required_scopes=[chosen.require],
    )
    # As text: AnyHttpUrl would add a slash to it, and name another issuer.
    auth = RemoteAuthProvider(verifier, [chosen.issuer], origin)
    server = FastMCP("notes", auth=auth)

    offer(server, get_access_token, refusing)
    return server.http_app(path="/mcp")


if __name__ == "__main__":
    sys.exit(main(make_app))
