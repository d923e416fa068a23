"""The client of fastmcp, signing in at a protected server.

Runs inside .venv-fastmcp only; see :mod:`conformance.interop.authorization.steps` for its
arguments.
"""

import logging
import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastmcp import Client
from fastmcp.client.auth import OAuth
from mcp import MCPError
from mcp.client.auth import OAuthFlowError, OAuthTokenError
from mcp.shared.auth import AuthorizationCodeResult

ROOT = Path(__file__).resolve().parents[3]
sys.path[:1] = [str(ROOT), str(ROOT / "conformance")]  # the steps are shared by all libraries

from conformance.interop.authorization.steps import (
    FORBIDDEN,
    NotAuthorized,
    SignedIn,
    leaves,
    main,
)

warnings.simplefilter("ignore")  # it would have tokens kept on a disk
logging.disable(logging.CRITICAL)

REFUSALS = (OAuthFlowError, OAuthTokenError)


class WithoutBrowser(OAuth):
    """Its sign-in, with a person who needs no browser."""

    person: "FastmcpSignedIn"
    came_back: dict[str, str]

    async def redirect_handler(self, authorization_url: str) -> None:
        """Consent."""
        self.came_back = await self.person.consent(authorization_url)

    async def callback_handler(self) -> AuthorizationCodeResult:
        """Return what the browser came back with."""
        found = self.came_back
        if "error" in found:
            raise OAuthFlowError(f"the authorization server says {found['error']}")
        return AuthorizationCodeResult(
            code=found["code"], state=found.get("state"), iss=found.get("iss")
        )


class FastmcpSignedIn(SignedIn):
    """One connection."""

    client: Client

    def __init__(self, url: str) -> None:
        super().__init__()
        self.provider = WithoutBrowser(url)
        self.provider.person = self

    async def call(self, tool: str) -> str:
        """Call a tool."""
        try:
            result = await self.client.call_tool(tool)
        except MCPError as error:
            if error.code == FORBIDDEN:
                raise NotAuthorized(error.message) from error
            raise
        return result.content[0].text

    async def expire(self) -> None:
        """Let the lifetime pass: the client refreshes before it sends the next request."""
        self.provider.context.token_expiry_time = 1.0


@asynccontextmanager
async def connect_fastmcp(url: str, revision: str | None) -> AsyncIterator[FastmcpSignedIn]:
    """Connect."""
    person = FastmcpSignedIn(url)
    try:
        async with Client(url, auth=person.provider) as person.client:
            yield person
    except Exception as error:
        for each in causes(error):
            if isinstance(each, REFUSALS):
                raise NotAuthorized(str(each)) from error
        raise


def causes(error: BaseException) -> list[BaseException]:
    """Return an exception's parts, and what they come from."""
    found = list(leaves(error))
    for each in found:
        found += leaves(each.__cause__) if each.__cause__ else []
    return found


if __name__ == "__main__":
    sys.exit(main(connect_fastmcp))
