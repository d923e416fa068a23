"""Our protected server: ``python -m conformance.interop.authorization.our_server --issuer URL``.

Tokens of the issuer are JWTs, whose keys are named by its metadata or by ``--jwks``; or they are
opaque, and ``--introspection`` is asked about them.  Its tools are those of
:mod:`conformance.interop.authorization.steps`.
"""

import argparse
import socket
import sys
from collections.abc import Awaitable

from conformance.interop.authorization.steps import ADMIN, READ, WRITE
from mcpcore import (
    ClientIdentity,
    Context,
    HttpRequest,
    HttpServerSettings,
    Issuer,
    ResourceServer,
    RuntimeSettings,
    Server,
    ServeSettings,
    bearer_token,
    run,
)
from mcpcore.http.principals import Verdict
from mcpcore.spec.revisions import REVISIONS, parse_revisions
from mcpcore_conformance.launch import ANNOUNCEMENT

INTROSPECTOR = ClientIdentity(client_id="notes-server", client_secret="notes-server-secret")  # noqa: S106
"""Credentials of the server at the issuer that it asks about tokens."""


class ExpiringGuard:
    """Guard by tokens, which refuses from ``expire`` on those that it has seen so far."""

    def __init__(self, guard: ResourceServer) -> None:
        self.documents = guard.documents
        self._guard = guard
        self._seen: set[str] = set()

    def __call__(self, request: HttpRequest) -> Verdict | Awaitable[Verdict]:
        """Judge a request."""
        token = bearer_token(request)
        if token is not None:
            self._seen.add(token)
        return self._guard(request)

    def expire(self) -> None:
        """Refuse the tokens that were seen."""
        for token in self._seen:
            self._guard.revoke(token)
        self._seen.clear()


def notes(guard: ExpiringGuard) -> Server:
    """Make the server."""
    server = Server("notes")

    @server.tool
    def whoami(context: Context) -> str:
        """Say whose token it is."""
        assert context.principal is not None
        return str(context.principal.claims["sub"])

    @server.tool
    def serial(context: Context) -> str:
        """Say which token it is."""
        assert context.principal is not None
        return str(context.principal.claims["jti"])

    @server.tool
    def expire() -> str:
        """Refuse the token from now on."""
        guard.expire()
        return "expired"

    @server.tool(scopes={WRITE})
    def write() -> str:
        """Write a note."""
        return "written"

    @server.tool(scopes={ADMIN})
    def purge() -> str:
        """Erase all notes."""
        return "purged"

    return server


def free_port() -> int:
    """Return a port that is free: the URL of the resource has to be known first."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--issuer", required=True, metavar="URL")
    parser.add_argument("--jwks", metavar="URL")
    parser.add_argument("--introspection", metavar="URL")
    parser.add_argument("--revision", metavar="NAME", action="append", default=[])
    chosen = parser.parse_args()
    where = f"127.0.0.1:{free_port()}"
    issuer = Issuer(
        issuer=chosen.issuer,
        jwks_url=chosen.jwks,
        introspection_url=chosen.introspection,
        client=INTROSPECTOR if chosen.introspection else None,
    )
    guard = ExpiringGuard(ResourceServer(f"http://{where}/mcp", [issuer], required={READ}))
    run(
        notes(guard),
        http=where,
        settings=ServeSettings(
            runtime=RuntimeSettings(revisions=parse_revisions(chosen.revision) or REVISIONS),
            http_link=HttpServerSettings(authenticate=guard),
        ),
        on_listening=lambda url: print(f"{ANNOUNCEMENT}{url}", file=sys.stderr, flush=True),
    )


if __name__ == "__main__":
    main()
