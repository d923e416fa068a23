"""Who sends a request: what an application's authentication finds out, or why it refuses.

Sources: RFC 9110 section 11 (authentication), RFC 6750 section 3 (Bearer challenges); the
authorization pages since 2025-03-26, of which nothing is built in here.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from mcpcore.http.messages import HttpRequest

# Yet to be compiled, which re does once: few servers ask who sends a request.
_LINE = r"[\t\x20-\x7e]*"
_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_BEARER = r"[A-Za-z0-9\-._~+/]+=*"  # RFC 6750 section 2.1
_UNAUTHORIZED = 401


class Principal(str):
    """Who was authenticated: a name, which is the string itself, and what is known besides.

    Sessions, sealed state, tasks and shares are bound to the name, which therefore must be of one
    party only, for instance issuer and subject of a token.  Equality and hash are the name's.
    ``scopes``: what the request may do; ``claims``: anything else that handlers ask about.
    """

    __slots__ = ("claims", "scopes")

    claims: Mapping[str, Any]
    scopes: frozenset[str]

    def __new__(
        cls, name: str, *, scopes: Iterable[str] = (), claims: Mapping[str, Any] | None = None
    ) -> "Principal":
        """Make one.  Raises ValueError for a name that is empty or not printable."""
        if not name or not name.isprintable():
            raise ValueError("a principal has a printable name")
        self = super().__new__(cls, name)
        self.scopes = frozenset(scopes)
        self.claims = {} if claims is None else claims
        return self

    @property
    def name(self) -> str:
        """The name as a plain string."""
        return str(self)


class Refusal(Struct, frozen=True, kw_only=True):
    """Why a request is not let in.

    ``challenge`` is the value of WWW-Authenticate, without which there is no 401: it is ``Bearer``
    then.  ``message`` goes to the client.  Raises ValueError for what cannot be sent.
    """

    status: int = _UNAUTHORIZED
    message: str = "authentication is required"
    challenge: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """Further ones, for instance Retry-After."""

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ValueError(f"{self.status} is no status of a refusal")
        for name, value in self.lines():
            sound = re.fullmatch(_NAME, name.decode("latin-1"))
            if not (sound and re.fullmatch(_LINE, value.decode())):
                raise ValueError(f"the header {name!r} of a refusal cannot be sent")

    def lines(self) -> tuple[tuple[bytes, bytes], ...]:
        """The header lines of the response."""
        challenge = self.challenge
        if challenge is None and self.status == _UNAUTHORIZED:
            challenge = "Bearer"
        lines = [] if challenge is None else [("www-authenticate", challenge)]
        return tuple(
            (name.lower().encode(), value.encode()) for name, value in (*lines, *self.headers)
        )


Verdict = Principal | Refusal
Authenticate = Callable[["HttpRequest"], Verdict | Awaitable[Verdict]]
"""An application's authentication: from the head of a request to who sends it, or a refusal."""


def bearer_token(request: "HttpRequest") -> str | None:
    """The token of an ``Authorization: Bearer`` header, None if there is no (readable) one.

    A token anywhere else, such as in the query, counts for nothing ("Token Requirements").
    """
    values = [value for name, value in request.headers if name == b"authorization"]
    if len(values) != 1:
        return None
    scheme, _, token = values[0].decode("latin-1").strip(" \t").partition(" ")
    token = token.strip(" ")
    return token if scheme.lower() == "bearer" and re.fullmatch(_BEARER, token) else None
