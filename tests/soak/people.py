"""People who are let in by token."""

from collections.abc import Mapping

from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal, Refusal, bearer_token

PEOPLE = ("ann", "bob", "cyd", "dan")
_TOKENS = {f"token-of-{name}": name for name in PEOPLE}


def shown(name: str) -> Mapping[str, str]:
    """The headers by which somebody shows who it is; there need not be such a person."""
    return {"Authorization": f"Bearer token-of-{name}"}


async def authenticate(request: HttpRequest) -> Principal | Refusal:
    """Let in whose token is known."""
    name = _TOKENS.get(bearer_token(request) or "")
    return Refusal(challenge='Bearer realm="soak"') if name is None else Principal(name)
