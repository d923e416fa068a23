"""Cases of the page basic/authorization: connections that are opened by one HTTP request.

Over WebSocket and HTTP+SSE it is the opening that needs a token; without a good one the server
refuses it as any other request, before there is a connection.
"""

import time
from urllib.parse import urlsplit

from mcpcore_conformance.cases.basic_authorization import UNAUTHORIZED, token_of
from mcpcore_conformance.cases.basic_authorization_tokens import HOUR, NEEDS
from mcpcore_conformance.kit.challenges import find_challenge
from mcpcore_conformance.kit.heard import Headers, header
from mcpcore_conformance.kit.model import (
    LEGACY_SSE,
    SINCE_2025_03_26,
    SINCE_2025_06_18,
    WEBSOCKET,
    Page,
)
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Broken, check
from mcpcore_conformance.kit.wire import Refused

page = Page("basic/authorization")

OPENED = WEBSOCKET | LEGACY_SSE
case = page.server(SINCE_2025_03_26, bindings=OPENED, needs=NEEDS)


async def _unauthorized(
    talk: ServerTalk, what: str, headers: Headers | None = None, path: str | None = None
) -> Refused:
    """Check that an opening without the kit's credentials gets 401; return the refusal."""
    try:
        wire = await talk.wire(anonymous=True, headers=headers, path=path)
    except Refused as error:
        check(error.status == UNAUTHORIZED, f"an opening {what} got {error.status}, not 401")
        return error
    await wire.close()
    raise Broken(f"an opening {what} was accepted")


@case.must("token-handling/opening-challenged", "401, and WWW-Authenticate with the scheme Bearer.")
async def challenged(talk: ServerTalk) -> None:
    """An opening without a token is challenged."""
    error = await _unauthorized(talk, "without a token")
    value = header(error.headers, "www-authenticate")
    bearer = find_challenge(value, "bearer")
    check(bearer is not None, f"the challenge of the 401 is {value!r}")


@case.must(
    "token-requirements/opening-not-by-the-query", "401: a token in the query counts for nothing."
)
async def in_query(talk: ServerTalk) -> None:
    """A good token in the query opens nothing."""
    path = urlsplit(talk.stage.target).path or "/"
    for name in ("access_token", "token"):
        query = f"{path}?{name}={token_of(talk)}"
        await _unauthorized(talk, f"with a token in the query, as {name},", path=query)


@case.must("token-handling/opening-expired", "401.")
async def expired(talk: ServerTalk) -> None:
    """A token that has expired opens nothing."""
    then = int(time.time()) - HOUR
    token = talk.tokens.changed(iat=then - HOUR, exp=then)
    bearer = [("authorization", f"Bearer {token}")]
    await _unauthorized(talk, "with a token that has expired", bearer)


@case.must(
    "token-handling/opening-audience",
    "401 for a token of another server, and for one of none.",
    SINCE_2025_06_18,
)
async def audience(talk: ServerTalk) -> None:
    """A token for another server opens nothing."""
    for what, value in (("another server", "https://mcp.example.com/mcp"), ("no server", None)):
        bearer = [("authorization", f"Bearer {talk.tokens.changed(aud=value)}")]
        await _unauthorized(talk, f"with a token for {what}", bearer)
