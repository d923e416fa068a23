"""Development authorization server of a run, with the tokens that the server under test judges."""

import secrets
import time
from typing import Any
from urllib.parse import urlencode

import anyio
import msgspec
from anyio.abc import TaskGroup

from mcpcore.auth.grants import ClientAuth
from mcpcore_conformance.auth.keys import PrivateKey, verify
from mcpcore_conformance.auth.model import CLIENT_CREDENTIALS, Client, Request, ServerSettings
from mcpcore_conformance.auth.server import DevelopmentServer
from mcpcore_conformance.auth.serving import serve
from mcpcore_conformance.kit.tokens import BROAD_SCOPE, SCOPE, TOOL_SCOPE, Tokens, proof

_ALGORITHM = "ES256"
_LIFETIME = 86_400.0
"""Seconds of a token: longer than any run."""
_OWN, _OTHER = "conformance-kit", "conformance-kit-other"


class RunningIssuer:
    """Asynchronous context with the authorization server, whose value are its tokens."""

    def __init__(self, resource: str) -> None:
        """Make the server for the tokens of one resource."""
        self._resource = resource
        self._key = PrivateKey.generate(_ALGORITHM)
        self._tasks: TaskGroup

    async def __aenter__(self) -> Tokens:
        """Serve; return the tokens."""
        self._tasks = await anyio.create_task_group().__aenter__()
        server = await self._tasks.start(serve, self._build)
        issuer, holder = server.settings.issuer, PrivateKey.generate(_ALGORITHM)
        every = (SCOPE, TOOL_SCOPE)
        shown = proof(
            holder,
            method="POST",
            url=f"{issuer}/token",
            wall=time.time(),
            id=secrets.token_urlsafe(),
        )
        return Tokens(
            issuer=issuer,
            resource=self._resource,
            good=self._issued(server, _OWN, *every),
            other=self._issued(server, _OTHER, *every),
            used=self._issued(server, _OWN, SCOPE),
            broad=self._issued(server, _OWN, BROAD_SCOPE),
            bare=self._issued(server, _OWN),
            bound=self._issued(server, _OWN, *every, proof=shown),
            key=self._key,
            stranger=PrivateKey.generate(_ALGORITHM),
            holder=holder,
        )

    async def __aexit__(self, *raised: Any) -> bool | None:
        """Stop."""
        self._tasks.cancel_scope.cancel()
        return await self._tasks.__aexit__(*raised)

    def _build(self, issuer: str) -> DevelopmentServer:
        settings = ServerSettings(
            issuer=issuer,
            resources=(self._resource,),
            scopes=(SCOPE, TOOL_SCOPE, BROAD_SCOPE),
            clients=tuple(map(_client, (_OWN, _OTHER))),
            registration=False,
            token_time=_LIFETIME,
            algorithm=_ALGORITHM,
        )
        return DevelopmentServer(settings, [self._key], verify, random=secrets.token_bytes)

    def _issued(
        self, server: DevelopmentServer, client: str, *scopes: str, proof: str | None = None
    ) -> str:
        """Return a token, from the token endpoint, so that it is known to introspection as well."""
        form = {
            "grant_type": CLIENT_CREDENTIALS,
            "client_id": client,
            "client_secret": _SECRET,
            "resource": self._resource,
            **({"scope": " ".join(scopes)} if scopes else {}),
        }
        headers = [("content-type", "application/x-www-form-urlencoded")]
        if proof is not None:
            headers.append(("dpop", proof))
        asked = Request(
            method="POST",
            path="/token",
            headers=headers,
            body=urlencode(form).encode(),
            wall=time.time(),
        )
        response = server.handle(asked)
        if response.status != 200:
            raise ValueError(f"no token for {self._resource}: {response.body.decode()}")
        token: str = msgspec.json.decode(response.body)["access_token"]
        return token


_SECRET = secrets.token_urlsafe()


def _client(name: str) -> Client:
    return Client(
        client_id=name,
        method=ClientAuth.POST,
        secret=_SECRET,
        grants=frozenset({CLIENT_CREDENTIALS}),
    )
