"""Authorization of one client at one server: all that its pure machine needs, for many requests.

One flow at a time is carried out; all tasks wait for it and go on with its token; those that were
refused alike fail with its error.  A flow goes on for as long as a task waits for it: one that
nobody waits for any more ends, and leaves no lock and no listener.  A token that was asked for, by
a refresh or for a code, is stored first, within ``AuthorizationSettings.fetch_timeout``.
"""

import logging
import math
import os
import ssl
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

import anyio
from msgspec import Struct

from mcpcore.auth.authorization import Authorization, AuthState, Refused, Remedy
from mcpcore.auth.needs import (
    Done,
    Fetched,
    Load,
    Lock,
    Need,
    NeedFailed,
    Obtain,
    Outcome,
    Sign,
    Signed,
    expect,
)
from mcpcore.auth.settings import AuthorizationSettings
from mcpcore.auth.urls import parse_url
from mcpcore.errors import AuthorizationError
from mcpcore.wire.redaction import Secret, shown_url
from mcpcore_transports.auth.browser import SignIn, usual_sign_in
from mcpcore_transports.auth.carrying import Assertions, FlowCarrier, Signer
from mcpcore_transports.auth.fetching import (
    Fetcher,
    challenges_in,
    check_proxy,
    first_request,
)
from mcpcore_transports.auth.stores import MemoryTokens, TokenStore
from mcpcore_transports.http.client.authorization import (
    Auth,
    Authorized,
    BearerToken,
    GivenTokens,
    RequestAuthorizer,
)
from mcpcore_transports.http.client.proxies import ENVIRONMENT, Proxy
from mcpcore_transports.http1.settings import HttpClientLinkSettings
from mcpcore_transports.running.audit import log_decision
from mcpcore_transports.running.functions import without_messages

logger = logging.getLogger("mcpcore.auth")

AroundFlows = Callable[[], AbstractContextManager[object]]


_FAILURES = 16
"""Failed flows that are remembered for those who have waited meanwhile."""


def _is_alike(one: Refused, other: Refused) -> bool:
    """Return True if a flow for one refusal would most likely end as that for another one."""
    asked = (one.status, one.lines) == (other.status, other.lines)
    return asked or one.operation == other.operation


class AccessToken(Struct, frozen=True):
    """Token for requests; ``generation`` tells a refusal of it from one of its predecessor."""

    scheme: str
    secret: Secret
    generation: int

    def header(self) -> str:
        """Return the value of ``Authorization``."""
        return f"{self.scheme} {self.secret.reveal()}"


def make_authorizer(
    server: str,
    auth: Auth,
    *,
    store: TokenStore | None = None,
    sign_in: SignIn | None = None,
    keys: Mapping[str, Signer] | None = None,
    assertions: Assertions | None = None,
    ssl_context: ssl.SSLContext | None = None,
    proxy: Proxy | str | None = ENVIRONMENT,
    link_settings: HttpClientLinkSettings | None = None,
    around_flows: AroundFlows = nullcontext,
) -> RequestAuthorizer:
    """Return the authorizer of the requests to ``server``, an http, https, ws or wss URL.

    Raises UrlRefused for a server to which no token may be sent; see :class:`Authorizer`.
    """
    server = http_url(server)
    check_proxy(server, proxy, "the URL of the server")
    if isinstance(auth, BearerToken):
        token = auth.token
        return GivenTokens(server, lambda: token)
    if not isinstance(auth, AuthorizationSettings):
        return GivenTokens(server, auth)
    return Authorizer(
        server,
        auth,
        store=store,
        sign_in=sign_in,
        keys=keys,
        assertions=assertions,
        ssl_context=ssl_context,
        proxy=proxy,
        link_settings=link_settings,
        around_flows=around_flows,
    )


def http_url(server: str) -> str:
    """Return the URL of a server for HTTP: that of a WebSocket is of the same resource."""
    scheme, mark, rest = server.partition("://")
    return {"ws": "http", "wss": "https"}.get(scheme.lower(), scheme) + mark + rest


class Authorizer:
    """Authorization of the requests to one server, on any number of tasks of one event loop.

    ``keys``: private keys by the name that a :class:`~mcpcore.auth.grants.SigningKey` has.
    ``assertions``: source of assertions (workload identity, or the token of a person).  Requests
    use the TLS context, the proxy and the limits of the client.  ``around_flows`` makes a context
    for each flow, in which deadlines of others can stand still.  Raises UrlRefused for a server to
    which no token may be sent.
    """

    def __init__(
        self,
        server: str,
        settings: AuthorizationSettings | None = None,
        *,
        store: TokenStore | None = None,
        sign_in: SignIn | None = None,
        keys: Mapping[str, Signer] | None = None,
        assertions: Assertions | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: Proxy | str | None = ENVIRONMENT,
        link_settings: HttpClientLinkSettings | None = None,
        around_flows: AroundFlows = nullcontext,
    ) -> None:
        self.machine = Authorization(server, settings, seed=os.urandom(32))
        _alive.add(self)
        self._server = Secret(server)  # its query may hold a key
        local = parse_url(server, "the URL of the server").loopback
        self._carrier = FlowCarrier(
            Fetcher(
                local=local,
                private=self.machine.settings.private,
                ssl_context=ssl_context,
                proxy=proxy,
                settings=link_settings,
            ),
            MemoryTokens() if store is None else store,  # one that is empty may be false
            usual_sign_in() if sign_in is None else sign_in,
            {} if keys is None else keys,
            assertions,
        )
        self._around_flows = around_flows
        self._turn = anyio.Lock()
        self._waiting = 0
        """Tasks that wait for their turn: for the outcome of the flow under way."""
        self._left: anyio.CancelScope | None = None
        """Scope of a flow whose own task was cancelled."""
        self._refusal = False
        """True while a flow for a refused request is under way, which may wait for a person."""
        self._ended = 0  # flows that came to an end of their own
        self._failed: deque[tuple[int, Refused, AuthorizationError]] = deque(maxlen=_FAILURES)
        """Flows that have failed: their number, reason and error."""
        self._loaded = False
        self._unready: AuthorizationError | None = None

    # Tokens

    async def token(self) -> AccessToken | None:
        """Return the token for a request, refreshed if it expires; None without one.

        Nobody who is asked for another request is waited for: the token that there is may do, and
        a request that is refused waits as long as it takes.  Raises AuthorizationError if there was
        one that cannot be replaced.
        """
        machine, before, ran = self.machine, self._ended, False
        if self._loaded and (self._refusal or not machine.expiring(time.time())):
            return self._token()
        async with self._in_turn():
            if not self._loaded:
                if machine.state is AuthState.IDLE:
                    machine.load(wall=time.time())
                    ran = await self._run()
                self._loaded, before = True, self._ended
            if self._ended == before and machine.expiring(time.time()):
                machine.start(None, wall=time.time())
                ran = await self._run()
            failed = ran and machine.state is AuthState.FAILED
        found = self._token()
        if failed and machine.error is not None:
            if found is None:
                raise machine.error
            server = shown_url(machine.resource)
            logger.warning("%s: the token is not refreshed: %s", server, machine.error)
        return found

    async def refused(self, refused: Refused) -> AccessToken:
        """Authorize after a refusal; return the token to send the request again with.

        Raises AuthorizationError.
        """
        before, machine = self._ended, self.machine
        async with self._in_turn():
            if machine.remedy(refused) is Remedy.AUTHORIZE:
                for ended, other, error in self._failed:
                    if ended > before and _is_alike(refused, other):
                        raise error  # nobody is asked again who has just said no
            if machine.start(refused, wall=time.time()):
                await self._run(refused)
                if machine.error is not None:
                    raise machine.error
        found = self._token()
        if found is None:
            raise AuthorizationError("the authorization gave no token")
        return found

    async def prepare(self) -> None:
        """Load the stored token, and refresh it if it expires.

        What fails is an error of the first request.
        """
        self._unready = None
        try:
            await self.token()
        except AuthorizationError as error:
            self._unready = error

    async def headers(self, method: str, url: str) -> Authorized:
        """Return the headers of a request with the token.  Raises AuthorizationError."""
        unready, self._unready = self._unready, None
        if unready is not None:
            raise unready
        token = await self.token()
        if token is None:
            return Authorized(headers={}, generation=self.machine.generation)
        headers: dict[str, str] = {"authorization": Secret(token.header())}
        nonce = self.machine.nonce(self.machine.resource)  # of the origin; targets may be odd
        proof = self.machine.proof(method, url, wall=time.time())
        if proof is not None:
            made = expect(await self._carrier.carry_out(proof), Signed)
            headers["dpop"] = Secret(proof.input.signed(made.signature))
        return Authorized(headers=headers, generation=token.generation, nonce=nonce)

    async def challenges(self) -> tuple[str, ...]:
        """Return what the server says to a request without a token, as far as it says anything."""
        found = await self._carrier.carry_out(first_request(self._server.reveal()))
        return challenges_in(found) if isinstance(found, Fetched) else ()

    @property
    def generation(self) -> int:
        """Generation of the current token."""
        return self.machine.generation

    def expires_in(self) -> float | None:
        """Return the seconds until the current token expires, None if nobody knows."""
        return self.machine.expires_in(time.time())

    def remedy(self, refused: Refused) -> Remedy:
        """Return what a refused request needs before it is sent again."""
        return self.machine.remedy(refused)

    def accepted(self, operation: str) -> None:
        """Note that the server has accepted a request that it had refused."""
        self.machine.accepted(operation)

    def take_nonce(self, url: str, nonce: str) -> None:
        """Keep the DPoP nonce of a response."""
        self.machine.take_nonce(url, nonce)

    def _token(self) -> AccessToken | None:
        found = self.machine.token
        return None if found is None else AccessToken(*found, self.machine.generation)

    # Flows

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
            self._end_unwanted()
        try:
            yield
        finally:
            self._turn.release()

    def _end_unwanted(self) -> None:
        """End a flow that nobody waits for any more; one that is settling has some time for it."""
        flow, machine = self._left, self.machine
        if flow is None:
            return
        if self._waiting:
            flow.deadline = math.inf
        elif machine.settling:
            until = anyio.current_time() + machine.settings.fetch_timeout
            flow.deadline = min(flow.deadline, until)
        else:
            flow.cancel()

    async def _run(self, refused: Refused | None = None) -> bool:
        """Carry out a flow to its end, even if its task is cancelled while others wait for it.

        ``refused``: its reason.  Return True.
        """
        over, flow = anyio.Event(), anyio.CancelScope(shield=True)
        self._refusal = refused is not None
        interrupt: KeyboardInterrupt | None = None
        try:
            async with anyio.create_task_group() as tasks:  # it waits for the flow in any case
                tasks.start_soon(self._carry_out, flow, over, refused)
                try:
                    await over.wait()
                except (anyio.get_cancelled_exc_class(), KeyboardInterrupt) as error:
                    self._left = flow
                    self._end_unwanted()
                    if not isinstance(error, KeyboardInterrupt):  # of trio; a group would wrap it
                        raise
                    interrupt = error
        finally:
            self._left = None
        if interrupt is not None:
            raise interrupt
        return True

    async def _carry_out(
        self, flow: anyio.CancelScope, over: anyio.Event, refused: Refused | None
    ) -> None:
        """Carry out a flow; leave no lock and no listener behind."""
        machine, generation = self.machine, self.machine.generation
        try:
            with flow, self._around_flows():
                while (need := machine.need) is not None:
                    outcome = await self._outcome(need)
                    try:
                        machine.give(outcome, wall=time.time())
                    except Exception as error:  # what the application has given is no outcome
                        logger.error("an authorization failed\n%s", without_messages(error))
                    self._log()
                    self._end_unwanted()
                self._ended += 1
                if machine.error is not None or machine.generation != generation:
                    what, why = f"sign-in at {shown_url(machine.resource)}", machine.error or ""
                    log_decision("this client", what, str(why), admitted=not why)
                if refused is not None and machine.error is not None:
                    self._failed.append((self._ended, refused, machine.error))
        finally:
            try:
                machine.cancel("it was cancelled", wall=time.time())
                while machine.need is not None:  # to release the lock
                    machine.give(Done(), wall=time.time())
                with anyio.CancelScope(shield=True):
                    await self._carrier.aclose()
                self._log()
            finally:
                self._refusal = False
                over.set()

    async def _outcome(self, need: Need) -> Outcome:
        """Carry out a need; a request that nobody has refused waits for a short time.

        Whoever holds a lock may be asking a person, and so may a store, a key and the application;
        all other requests wait for this one meanwhile, with a token that is good still.
        """
        ahead = not self._refusal and self.machine.state is not AuthState.LOADING
        if not ahead or not isinstance(need, Lock | Load | Obtain | Sign):
            return await self._carrier.carry_out(need)
        seconds = self.machine.settings.fetch_timeout
        with anyio.move_on_after(seconds):
            return await self._carrier.carry_out(need)
        if isinstance(need, Lock):
            return NeedFailed("another process or connection holds the lock of the tokens")
        return NeedFailed(f"{type(need).__name__.lower()}: it took more than {seconds:g} s")

    def _log(self) -> None:
        for note in self.machine.notes:
            logger.warning("%s: %s", shown_url(self.machine.resource), note)
        self.machine.notes.clear()


_alive = weakref.WeakSet[Authorizer]()


def _reseed() -> None:
    """Let no random text of the parent, such as the id of a proof, be one of a forked process."""
    for each in _alive:
        each.machine.reseed(os.urandom(32))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reseed)
