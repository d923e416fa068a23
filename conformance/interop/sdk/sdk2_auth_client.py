"""The client of the official Python SDK 2.x, signing in at a protected server.

Runs inside .venv-sdk only; see :mod:`conformance.interop.authorization.steps` for its arguments.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

ROOT = Path(__file__).resolve().parents[3]
sys.path[:1] = [str(ROOT), str(ROOT / "conformance")]  # the steps are shared by all libraries

from conformance.interop.authorization.steps import main
from conformance.interop.sdk.auth_calling import SdkSignedIn, refusals


class Sdk2Storage:
    """Tokens and credentials, for as long as the program runs."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        """Return the tokens."""
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep the tokens."""
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Return the credentials."""
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep the credentials."""
        self.client = client_info


class Sdk2SignedIn(SdkSignedIn):
    """One connection."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.provider = OAuthClientProvider(
            url,
            OAuthClientMetadata(
                client_name="sdk2",
                redirect_uris=[AnyUrl("http://127.0.0.1/callback")],
                grant_types=["authorization_code", "refresh_token"],
                token_endpoint_auth_method="none",  # noqa: S106
            ),
            Sdk2Storage(),
            self.open_browser,
            self.callback,
        )


@asynccontextmanager
async def connect_sdk2(url: str, revision: str | None) -> AsyncIterator[Sdk2SignedIn]:
    """Connect."""
    person = Sdk2SignedIn(url)
    with refusals():
        async with create_mcp_http_client(auth=person.provider) as http:
            server = streamable_http_client(url, http_client=http)
            async with Client(server, mode="auto") as person.client:
                yield person


if __name__ == "__main__":
    sys.exit(main(connect_sdk2))
