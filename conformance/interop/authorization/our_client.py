"""Our client, signing in: ``python -m conformance.interop.authorization.our_client URL``.

See :mod:`conformance.interop.authorization.steps` for the arguments.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

from conformance.interop.authorization.steps import NotAuthorized, SignedIn, main
from mcpcore import AuthorizationError, AuthorizationSettings, Client, ClientSettings, connect
from mcpcore.auth.needs import Callback, OpenUrl


class OurSignedIn(SignedIn):
    """One connection of our client."""

    client: Client

    async def ask(self, need: OpenUrl, listener: object) -> Callback:
        """Consent, as the sign-in of the client."""
        return Callback(urlencode(await self.consent(need.url)))

    async def call(self, tool: str) -> str:
        """Call a tool."""
        try:
            return (await self.client.call_tool(tool)).text
        except AuthorizationError as error:
            raise NotAuthorized(str(error)) from error

    async def expire(self) -> None:
        """Let the server refuse the token: the next 401 is what the client refreshes after."""
        await self.call("expire")


@asynccontextmanager
async def connect_ours(url: str, revision: str | None) -> AsyncIterator[OurSignedIn]:
    """Connect."""
    person = OurSignedIn()
    settings = ClientSettings(sign_in=person)
    try:
        async with connect(
            url, auth=AuthorizationSettings(), settings=settings, revision=revision
        ) as person.client:
            yield person
    except AuthorizationError as error:
        raise NotAuthorized(str(error)) from error


if __name__ == "__main__":
    sys.exit(main(connect_ours))
