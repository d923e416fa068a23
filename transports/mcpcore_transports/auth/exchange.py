"""Tokens of a server for the servers that it calls itself, got when they are needed and kept.

A handler never sees the token that came in: it is for this server alone.  What it may call in the
name of a person needs a token of that person from elsewhere, which is exchanged (RFC 8693).
"""

import hashlib
import os
import ssl
import time
from collections import OrderedDict
from collections.abc import Mapping

import anyio

from mcpcore.auth.endpoints import Endpoints
from mcpcore.auth.settings import AuthorizationSettings
from mcpcore.auth.upstream import Subject, Upstream, UpstreamToken, upstream_token
from mcpcore.auth.urls import parse_url
from mcpcore.wire.redaction import Secret
from mcpcore_transports.auth.browser import PastedSignIn
from mcpcore_transports.auth.carrying import FlowCarrier, Signer
from mcpcore_transports.auth.fetching import Fetcher
from mcpcore_transports.auth.stores import MemoryTokens
from mcpcore_transports.http.client.proxies import ENVIRONMENT, Proxy

_EARLY = 30.0
"""Most seconds before its end at which a token is replaced; a tenth of its life at most."""
_UNKNOWN = 60.0
"""Seconds for which a token is used that does not say when it ends."""
_NEW = 5.0
"""Seconds in which a token that its server refuses is not replaced: the next would be refused."""


class UpstreamTokens:
    """Tokens for calls to one upstream server, on any number of tasks of one event loop.

    ``keys``: private keys by the name that a :class:`~mcpcore.auth.grants.SigningKey` has.
    ``max_subjects``: persons whose tokens are kept; those not used for longest go first.  Raises
    UrlRefused for an issuer that is none.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        keys: Mapping[str, Signer] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: Proxy | str | None = ENVIRONMENT,
        settings: AuthorizationSettings | None = None,
        max_subjects: int = 1000,
    ) -> None:
        self.upstream = upstream
        self._settings = settings or AuthorizationSettings()
        self._local = parse_url(upstream.issuer, "the issuer").loopback
        self._ssl_context, self._proxy = ssl_context, proxy
        self._keys = {} if keys is None else keys
        self._max = max_subjects
        self._kept: OrderedDict[bytes, tuple[UpstreamToken, float, float]] = OrderedDict()
        """Token, time at which it was given, and time until which it is used."""
        self._turns: dict[bytes, anyio.Lock] = {}

    def __repr__(self) -> str:
        return f"UpstreamTokens({self.upstream.resource!r})"

    def adopt(self, ssl_context: ssl.SSLContext | None, proxy: Proxy | str | None) -> None:
        """Use the TLS settings and the proxy of a gateway, where none are given."""
        self._ssl_context = self._ssl_context or ssl_context
        if self._proxy == ENVIRONMENT:
            self._proxy = proxy

    async def token(self, subject: Subject | None = None) -> Secret:
        """Return a token of this server, or in the name of ``subject``.

        Tasks that want the same one wait for one request.  Raises AuthorizationError.
        """
        name = b"" if subject is None else hashlib.sha256(subject.token.encode()).digest()
        found = self._find(name)
        if found is None:
            turn = self._turns.setdefault(name, anyio.Lock())
            try:
                async with turn:
                    found = self._find(name) or await self._get(name, subject)
            finally:
                if not (turn.locked() or turn.statistics().tasks_waiting):
                    self._turns.pop(name, None)
        return found.token

    def forget(self, token: str) -> None:
        """Replace a token that its server refuses, unless it is new."""
        for name, (kept, since, _) in [*self._kept.items()]:
            if kept.token == token and not 0 <= time.time() - since < _NEW:
                del self._kept[name]

    async def headers(self, subject: Subject | None = None) -> dict[str, str]:
        """Return the headers of a request with the token.

        A connection with this server's own token takes ``auth=tokens.token``.
        """
        token = await self.token(subject)
        return {"Authorization": f"Bearer {token.reveal()}"}

    def _find(self, name: bytes) -> UpstreamToken | None:
        token, _, until = self._kept.get(name, (None, 0.0, 0.0))
        if token is None or time.time() >= until:
            return None
        self._kept.move_to_end(name)
        return token

    async def _get(self, name: bytes, subject: Subject | None) -> UpstreamToken:
        endpoints = Endpoints(self._settings, local=self._local, seed=os.urandom(32))
        endpoints.wall = now = time.time()
        fetcher = Fetcher(
            local=self._local,
            private=self._settings.private,
            ssl_context=self._ssl_context,
            proxy=self._proxy,
        )
        carrier = FlowCarrier(fetcher, MemoryTokens(), PastedSignIn(), self._keys, None)
        token = await carrier.run(upstream_token(endpoints, self.upstream, subject))
        until = now + _UNKNOWN
        if token.expires_at is not None:
            until = token.expires_at - min(_EARLY, (token.expires_at - now) / 10)
        self._kept[name] = token, now, until
        self._kept.move_to_end(name)
        while len(self._kept) > self._max:
            self._kept.popitem(last=False)
        return token
