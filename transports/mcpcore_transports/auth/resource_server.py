"""ResourceServer: authorization of a server by the access tokens of trusted issuers.

It is an ``authenticate`` hook for HTTP, ASGI, WebSocket and ``HttpEndpoint``.  What may be in a
token is judged by :class:`~mcpcore.auth.resource_server.ResourceGuard`; here keys and answers are
fetched: one request at a time for each issuer, or token, however many requests wait for it.

Sources: RFC 6750, RFC 7662, RFC 8705 section 3, RFC 9449, RFC 9728.
"""

import logging
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from contextvars import copy_context
from copy import copy
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import anyio
from msgspec import structs

from mcpcore.auth.grants import base64url
from mcpcore.auth.introspection import token_key
from mcpcore.auth.issuers import ask_about, asking_method, find_keys
from mcpcore.auth.needs import Fetch, Steps
from mcpcore.auth.proofs import Nonces, ReplayWindow, Seen
from mcpcore.auth.resource_server import (
    Credential,
    Denied,
    FailureLimit,
    Issuer,
    Need,
    NeedIntrospection,
    NeedKeys,
    NeedUse,
    ResourceGuard,
    ResourceRules,
    principal_name,
)
from mcpcore.auth.scopes import Missing
from mcpcore.auth.tokens import Grant
from mcpcore.errors import (
    AuthorizationError,
    DocumentRefused,
    StoreUnavailableError,
    UrlRefused,
)
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal, Refusal, Verdict, address_of, quota_key
from mcpcore.spec.bounds import check_names
from mcpcore.spec.refusals import AUTHENTICATION_FAILED, NOT_JUDGED
from mcpcore_transports.auth.fetching import Fetcher
from mcpcore_transports.auth.schemes import Audit, Records, authorization_of, has_key
from mcpcore_transports.http.client.proxies import ENVIRONMENT, Proxy
from mcpcore_transports.http.server.identity import LONGEST
from mcpcore_transports.link import clock
from mcpcore_transports.running.functions import (
    call_in_loop,
    current_loop,
    is_over,
    looked_up,
    start_background,
)

if TYPE_CHECKING:  # late: few authorize
    from mcpcore_transports.stores.base import Store

logger = logging.getLogger("mcpcore.auth")

_ROUNDS = 5
"""Most steps of a judgement: keys, an answer, a race of each, and a proof that is looked up."""
_MAX_OUTLIVING = 86_400.0
_OPEN = "open streams and connections"
"""Share of the introspections that they have, as an address has one; new requests have the rest."""
_SEEN = {True: Seen.FRESH, False: Seen.REPLAYED, None: Seen.FULL}
_UNAVAILABLE = Denied(
    status=NOT_JUDGED.status,
    reason="it cannot be said now if the request is authorized",
    headers=(("Retry-After", "5"),),
)
_FAILED = Denied(
    status=AUTHENTICATION_FAILED.status,
    reason="it could not be found out if the request is authorized",
)


class ResourceServer:
    """Authorization of the requests to one protected resource.

    ``resource``: URL of the MCP endpoint as clients know it, which tokens must be for.
    ``issuers``: authorization servers whose tokens are accepted.  ``required``: scopes that every
    request needs.  ``scope_tree``: scopes that imply others.  ``rules``: all else of
    :class:`~mcpcore.auth.resource_server.ResourceRules`, by name.

    ``audit``: called with an AuthEvent for each judgement, and for each operation that is refused.
    ``outlive``: seconds for which streams and connections may outlive their token, at most a day;
    a token is good until ``leeway`` seconds after its ``exp``, as clocks differ.
    ``max_failures``: refused tokens of one address in a minute, after which it gets 429; None: no
    limit, as behind a proxy, nor one of its introspections.  Nor is there one where no address is
    known.  ``fetch_timeout``: seconds of each request to an issuer.  ``ssl_context``, ``proxy``: of
    these requests.  ``nonces``: True to demand nonces in DPoP proofs; ``secret``: 32 random bytes
    that they are made of, the same for all workers.
    ``replays``: memory of used DPoP proofs: a window of this process, by default one of its own, or
    a store that workers share and that stays when they are started anew.

    Raises ValueError for invalid settings, TypeError for a string in place of several scopes, and
    ExtraMissingError without the extra ``auth``.
    """

    def __init__(
        self,
        resource: str,
        issuers: Iterable[Issuer],
        *,
        required: Iterable[str] = (),
        scope_tree: Mapping[str, Iterable[str]] | None = None,
        audit: Audit | None = None,
        outlive: float = 60.0,
        max_failures: int | None = 100,
        fetch_timeout: float = 5.0,
        ssl_context: ssl.SSLContext | None = None,
        proxy: Proxy | str | None = ENVIRONMENT,
        nonces: bool = False,
        secret: bytes | None = None,
        replays: "ReplayWindow | Store | None" = None,
        wall: Callable[[], float] = time.time,
        **rules: Any,
    ) -> None:
        from mcpcore_transports.auth.signing import verify  # late: few authorize

        if not 0 <= outlive <= _MAX_OUTLIVING:
            raise ValueError(f"outlive must be 0 to {_MAX_OUTLIVING:.0f} seconds")
        check_names(required, *(scope_tree or {}).values())
        self._uses = None if isinstance(replays, ReplayWindow) else replays
        tree = {scope: tuple(below) for scope, below in (scope_tree or {}).items()}
        if max_failures is None:
            rules.setdefault("max_introspections_of_one", None)
        self._guard = guard = ResourceGuard(
            ResourceRules(
                resource=resource,
                issuers=tuple(issuers),
                required=frozenset(required),
                scope_tree=tree,
                **rules,
            ),
            verify,
            nonces=Nonces(secret or os.urandom(32)) if nonces else None,
            replays=replays if isinstance(replays, ReplayWindow) else None,
            remembers=self._uses is None,
        )
        for issuer in guard.rules.issuers:
            asking_method(issuer)  # raises for credentials that cannot be used
        self.documents: Mapping[str, bytes] = {guard.metadata_path: guard.metadata()}
        """Protected resource metadata by its path."""
        limit = None if max_failures is None else FailureLimit(max_failures)
        self._records = Records("oauth", audit, limit)
        self._audited = audit is not None
        self._outlive = outlive
        self._timeout = fetch_timeout
        self._fetchers = {
            private: Fetcher(
                local=guard.url.loopback, private=private, ssl_context=ssl_context, proxy=proxy
            )
            for private in (False, True)
        }
        self._wall = wall
        self._principals: dict[int, tuple[Grant, Principal]] = {}
        """Principals of the grants that are cached, by their identity."""
        self._renewals = {each.issuer: NeedKeys(each, None) for each in guard.rules.issuers}
        """Needs of the keys of issuers, which nobody waits for."""
        self._flights: dict[str | bytes, _Flight] = {}
        self._lock = Lock()
        self._context = copy_context()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._guard.url.text!r})"

    # Scheme

    def presented(self, request: HttpRequest) -> bool:
        """Return True if a request comes with a token, of Bearer or DPoP, that is no API key."""
        schemes = (value.strip(" \t").partition(" ")[0] for value in authorization_of(request))
        return not has_key(request) and any(x.lower() in ("bearer", "dpop") for x in schemes)

    def challenges(self) -> tuple[str, ...]:
        """Return the challenge of a request without a token."""
        return (self._guard.challenge(),)

    def __call__(self, request: HttpRequest) -> Verdict | Awaitable[Verdict]:
        """Judge a request: at once if all that it takes is known."""
        guard = self._guard
        credential = guard.credential(request.headers)
        if isinstance(credential, Denied):
            if not authorization_of(request):
                return self._refuse(request, credential, None)
            if wait := self._records.wait(request):
                return self._records.flooded(request, wait)
            return self._refuse(request, credential, "malformed")
        if wait := self._records.wait(request):
            with self._lock:
                known = guard.tokens.look(token_key(credential.token), clock())
            if not isinstance(known, Grant):
                return self._records.flooded(request, wait)
        found = self._judge(request, credential)
        if isinstance(found, (Grant, Denied)):
            return self._verdict(request, credential, found)
        return self._later(request, credential, found)

    def revoke(self, token: str) -> None:
        """Refuse a token from now on: for as long as it says that it is valid, else for a day.

        This process alone knows of it: call it in each worker, or give tokens a short life.

        What it has opened ends: streams at their next heartbeat, connections in 15 seconds.
        """
        with self._lock:
            self._guard.revoke(token, wall=self._wall())

    # Judgement

    def _judge(
        self, request: HttpRequest, credential: Credential
    ) -> Grant | Denied | Need | NeedUse:
        certificate = None
        if request.certificate is not None:
            digest = bytes.fromhex(request.certificate.fingerprint)
            certificate = base64url(digest).decode()
        with self._lock:
            return self._guard.judge(
                credential,
                request.method,
                request.root + request.path,
                certificate=certificate,
                now=clock(),
                wall=self._wall(),
            )

    async def _later(
        self, request: HttpRequest, credential: Credential, need: Need | NeedUse
    ) -> Verdict:
        """Fetch what is needed, and judge again."""
        try:
            found = await self._fetched(request, credential, need)
        except anyio.get_cancelled_exc_class():  # it took too long, or the client has left
            self._verdict(request, credential, _UNAVAILABLE)
            raise
        except Exception:  # of a store
            self._verdict(request, credential, _FAILED)
            raise
        return self._verdict(request, credential, found)

    async def _fetched(
        self, request: HttpRequest, credential: Credential, need: Need | NeedUse
    ) -> Grant | Denied:
        found: Grant | Denied | Need | NeedUse = need
        for _ in range(_ROUNDS):
            if isinstance(found, NeedUse):
                found = await self._used(found)
            elif isinstance(found, (NeedKeys, NeedIntrospection)):
                address = request.peer and quota_key(address_of(request.peer))
                flight = self._fly(found, credential.token, address)
                if flight is not None:
                    await flight.wait(self._lock)
                    if flight.failed and isinstance(found, NeedIntrospection):
                        break  # another question would most likely fail as well
                need, found = found, self._judge(request, credential)
                if flight is None and found == need:
                    break
        return found if isinstance(found, (Grant, Denied)) else _UNAVAILABLE

    async def _used(self, need: NeedUse) -> Grant | Denied:
        """Look a proof up in the store."""
        assert self._uses is not None  # noqa: S101 - else the guard remembers by itself
        use = partial(
            self._uses.use_once,
            need.digest,
            party=need.party,
            until=need.until,
            wall=self._wall(),
        )
        try:
            first = await looked_up(use)
        except StoreUnavailableError as error:
            logger.error("used proofs cannot be looked up: %s", error)
            return _UNAVAILABLE
        return self._guard.used(need, _SEEN[first])

    def _verdict(
        self, request: HttpRequest, credential: Credential, found: Grant | Denied
    ) -> Verdict:
        name = None
        if self._audited or isinstance(found, Denied):
            name = token_key(credential.token).hex()[:16]
        if isinstance(found, Denied):
            return self._refuse(request, found, name)
        known = self._principals.get(id(found))
        if known is None or known[0] is not found:
            known = found, self._principal(found, credential)
            if len(self._principals) >= self._guard.rules.max_tokens:
                self._principals.clear()
            self._principals[id(found)] = known
            self._fly(self._renewals[found.issuer])
        # The audit of a refused operation tells of its own request.
        principal = copy(known[1]) if self._audited else known[1]
        if found.thumbprint is not None:
            principal.lines = tuple(
                (name.lower().encode(), value.encode()) for name, value in self._nonce()
            )
        return self._records.admit(request, principal, name, found.kid)

    def _refuse(self, request: HttpRequest, denied: Denied, credential: str | None) -> Refusal:
        """Refuse a request; the answer brings the next nonce, if nonces are demanded."""
        headers = {**dict(self._nonce()), **dict(denied.headers)}
        denied = structs.replace(denied, headers=tuple(headers.items()))
        return self._records.refuse(request, denied, credential)

    def _nonce(self) -> tuple[tuple[str, str], ...]:
        return self._guard.nonce_line(self._wall())

    def _principal(self, grant: Grant, credential: Credential) -> Principal:
        left = grant.expires_at + self._guard.rules.leeway - self._wall()
        return Principal(
            principal_name(grant.issuer, grant.subject),
            scopes=self._guard.tree.all_of(grant.scopes),
            roles=grant.roles,
            claims=grant.claims,
            until=clock() + min(max(0.0, left), LONGEST) + self._outlive,
            revoked=lambda: self._taken_back(grant, credential),
            challenge=self._insufficient,
            exchangeable=grant.thumbprint is None and grant.certificate is None,
        )

    def _taken_back(self, grant: Grant, credential: Credential) -> bool:
        """Return True if a token has lost what it granted; ask its issuer again if it is time.

        Nobody waits for the answer, or the keys: the next look finds it.
        """
        with self._lock:
            held = self._guard.holds(grant, credential.token, now=clock(), wall=self._wall())
        if isinstance(held, NeedIntrospection):
            self._fly(held, credential.token, _OPEN)
        else:
            with suppress(RuntimeError):  # in a thread of a handler there is no event loop
                self._fly(self._renewals[grant.issuer])
        return held is False

    def _insufficient(self, scopes: frozenset[str], role: bool) -> str | None:
        return self._guard.insufficient(Missing(scopes, role)).challenge

    # Requests to issuers

    def _fly(self, need: Need, token: str = "", address: str | None = None) -> "_Flight | None":
        """Begin a request to an issuer, or find it; None if there is none to wait for.

        ``token``, ``address``: of a question, the token and what sent it, None: nobody knows.
        """
        name = need.issuer.issuer if isinstance(need, NeedKeys) else need.key
        guard, loop = self._guard, current_loop()
        with self._lock:
            flight = self._flights.get(name)
            if flight is not None and is_over(flight.loop):
                self._end(need)  # the loop that it ran in has gone
                del self._flights[name]
                flight = None
            if flight is None:
                work: Callable[[], Coroutine[Any, Any, None]]
                if isinstance(need, NeedKeys):
                    if not guard.key_sets[need.issuer.issuer].due(clock()):
                        return None
                    work = partial(self._fetch_keys, need)
                else:
                    if guard.tokens.begin(need.key, address) is not True:
                        return None
                    work = partial(self._introspect, need, token)
                flight = self._flights[name] = _Flight(loop)
                start_background(partial(self._carry_out, name, need, work), self._context.copy())
            return flight

    async def _carry_out(
        self,
        name: str | bytes,
        need: Need,
        work: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        """Carry out a request to an issuer; wake all that wait for it, whatever happens."""
        done = False
        try:
            await work()
            done = True
        except (DocumentRefused, AuthorizationError, UrlRefused) as error:
            logger.warning("asking %s failed: %s", need.issuer.issuer, error)
        except Exception:
            logger.exception("asking %s failed", need.issuer.issuer)
        finally:
            with self._lock:
                if not done:
                    self._end(need)
                flight = self._flights.pop(name, None)
                if flight is not None:
                    flight.failed = not done
                    flight.land()

    def _end(self, need: Need) -> None:
        """Note that a request to an issuer has failed."""
        if isinstance(need, NeedKeys):
            self._guard.key_sets[need.issuer.issuer].failed(clock())
        else:
            self._guard.tokens.end(need.key, None, now=clock(), wall=self._wall())

    async def _fetch_keys(self, need: NeedKeys) -> None:
        limit = self._guard.rules.keys.max_bytes
        steps = find_keys(need.issuer, timeout=self._timeout, limit=limit)
        body, age = await self._run(steps, need.issuer)
        with self._lock:
            keys = self._guard.key_sets[need.issuer.issuer]
            keys.fetched(body, clock(), max_age=age, asked=need.kid)

    async def _introspect(self, need: NeedIntrospection, token: str) -> None:
        limit = self._guard.rules.keys.max_bytes
        steps = ask_about(need.issuer, token, timeout=self._timeout, limit=limit)
        body = await self._run(steps, need.issuer)
        with self._lock:
            self._guard.introspected(need, body, now=clock(), wall=self._wall())

    async def _run(self, steps: Steps[Any], issuer: Issuer) -> Any:
        fetcher = self._fetchers[issuer.private]
        try:
            need = next(steps)
            while True:
                need = steps.send(await fetcher.fetch(cast(Fetch, need)))
        except StopIteration as over:
            return over.value


class _Flight:
    """Request to an issuer, and those who wait for it, in any event loop."""

    def __init__(self, loop: object) -> None:
        self.loop = loop
        self.failed = False
        self._landed = False
        self._waiting: list[tuple[object, anyio.Event]] = []

    async def wait(self, lock: Lock) -> None:
        """Wait until it has landed; ``lock``: the one under which it lands."""
        event = anyio.Event()
        with lock:
            if self._landed:
                return
            self._waiting.append((current_loop(), event))
        await event.wait()

    def land(self) -> None:
        """Wake all who wait."""
        self._landed = True
        here = current_loop()
        for loop, event in self._waiting:
            if loop is here:
                event.set()
            else:
                call_in_loop(loop, event.set)
