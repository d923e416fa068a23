"""Tokens that the clients of a gateway have shown, for their exchange (RFC 8693)."""

from collections import OrderedDict
from collections.abc import Awaitable, Hashable, Mapping
from typing import Any

from mcpcore.auth.upstream import Subject
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Authenticate, Principal, Refusal, Verdict, bearer_token
from mcpcore.wire.redaction import Secret


class Subjects:
    """Authentication of requests that keeps the last token of each principal, by its rights.

    ``authenticate``: the function that judges the requests, and tells by the principal whether it
    was by the token.  ``limit``: principals whose tokens are kept; those not seen for longest go
    first.
    """

    def __init__(self, authenticate: Authenticate, limit: int) -> None:
        self.documents: Mapping[str, bytes] = getattr(authenticate, "documents", {})
        self._authenticate = authenticate
        self._limit = limit
        self._tokens: OrderedDict[tuple[str, Hashable], Secret] = OrderedDict()

    def __call__(self, request: HttpRequest) -> Verdict | Awaitable[Verdict]:
        """Judge a request."""
        verdict: Any = self._authenticate(request)
        if isinstance(verdict, Awaitable):
            return self._later(request, verdict)
        return self._noted(request, verdict)

    async def _later(self, request: HttpRequest, verdict: Awaitable[Verdict]) -> Verdict:
        return self._noted(request, await verdict)

    def _noted(self, request: HttpRequest, verdict: Verdict) -> Verdict:
        token = bearer_token(request) if isinstance(verdict, Principal) else None
        if isinstance(verdict, Refusal) or token is None or not verdict.exchangeable:
            return verdict
        place = str(verdict), verdict.rights
        self._tokens[place] = Secret(token)
        self._tokens.move_to_end(place)
        if len(self._tokens) > self._limit:
            self._tokens.popitem(last=False)
        return verdict

    def of(self, principal: str) -> Subject | None:
        """Return the token of a principal, None if it has shown none."""
        rights = principal.rights if isinstance(principal, Principal) else None
        token = self._tokens.get((str(principal), rights))
        return None if token is None else Subject(token=token)
