"""What the clients of both libraries share that sign in at a protected server."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mcp import MCPError
from mcp.client.auth import OAuthFlowError, OAuthTokenError
from mcp.shared.auth import AuthorizationCodeResult

from conformance.interop.authorization.steps import FORBIDDEN, NotAuthorized, SignedIn, leaves

warnings.simplefilter("ignore")  # fastmcp would have tokens kept on a disk
logging.disable(logging.CRITICAL)  # a refusal is told by the exception

REFUSALS = (OAuthFlowError, OAuthTokenError, NotAuthorized)


class SdkSignedIn(SignedIn):
    """One connection."""

    client: Any
    provider: Any
    came_back: dict[str, str]

    async def open_browser(self, url: str) -> None:
        """Consent."""
        self.came_back = await self.consent(url)

    async def callback(self) -> AuthorizationCodeResult:
        """Return what the browser came back with."""
        found = self.came_back
        if "error" in found:
            raise OAuthFlowError(f"the authorization server says {found['error']}")
        return AuthorizationCodeResult(
            code=found["code"], state=found.get("state"), iss=found.get("iss")
        )

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


@contextmanager
def refusals() -> Iterator[None]:
    """Raise NotAuthorized for what was refused, however deep it is in an exception."""
    try:
        yield
    except Exception as error:
        found = list(leaves(error))
        for each in found:
            if isinstance(each, REFUSALS):
                raise NotAuthorized(str(each)) from error
            found += leaves(each.__cause__) if each.__cause__ else []
        raise
