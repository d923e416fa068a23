"""A server behind a bearer token: ``python -m tests.conformance_kit.run.token_server T``."""

import sys

from mcpcore import (
    HttpRequest,
    HttpServerSettings,
    Principal,
    Refusal,
    ServeSettings,
    bearer_token,
    run,
)
from mcpcore_conformance.everything.app import server


def authenticate(request: HttpRequest) -> Principal | Refusal:
    """Let in whoever has the token."""
    if bearer_token(request) == sys.argv[1]:
        return Principal("the only one")
    return Refusal(challenge="Bearer")


if __name__ == "__main__":
    link = HttpServerSettings(authenticate=authenticate)
    run(
        server,
        http="127.0.0.1:0",
        settings=ServeSettings(http_link=link),
        on_listening=lambda url: print(f"listening on {url}", file=sys.stderr, flush=True),
    )
