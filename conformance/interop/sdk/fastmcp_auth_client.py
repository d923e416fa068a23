"""The client of fastmcp, signing in at a protected server.

Runs inside .venv-fastmcp only; see :mod:`conformance.interop.authorization.steps` for its
arguments.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastmcp import Client
from fastmcp.client.auth import OAuth
from mcp.shared.auth import AuthorizationCodeResult

ROOT = Path(__file__).resolve().parents[3]
sys.path[:1] = [str(ROOT), str(ROOT / "conformance")]  # the steps are shared by all libraries

from conformance.interop.authorization.steps import main
from conformance.interop.sdk.auth_calling import SdkSignedIn, refusals


class WithoutBrowser(OAuth):
    """Its sign-in, with a person who needs no browser."""

    person: SdkSignedIn

    async def redirect_handler(self, authorization_url: str) -> None:
        """Consent."""
        await self.person.open_browser(authorization_url)

    async def callback_handler(self) -> AuthorizationCodeResult:
        """Return what the browser came back with."""
        return await self.person.callback()


@asynccontextmanager
async def connect_fastmcp(url: str, revision: str | None) -> AsyncIterator[SdkSignedIn]:
    """Connect."""
    person = SdkSignedIn()
    person.provider = WithoutBrowser(url)
    person.provider.person = person
    with refusals():
        async with Client(url, auth=person.provider) as person.client:
            yield person


if __name__ == "__main__":
    sys.exit(main(connect_fastmcp))
