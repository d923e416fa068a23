"""Authorization of the requests of a link: tokens on requests, and answers to challenges."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from msgspec import Struct, structs

from mcpcore.auth.authorization import Refused, Remedy
from mcpcore.auth.endpoints import Unreachable
from mcpcore.auth.proofs import nonce_of
from mcpcore.auth.settings import AuthorizationSettings
from mcpcore.auth.urls import check_url, parse_url
from mcpcore.engine.events import Event, Route
from mcpcore.errors import AuthorizationError
from mcpcore.http.client.challenges import Unauthorized, admits
from mcpcore.http.client.client import HttpClient
from mcpcore.http.headers import is_field_text
from mcpcore.http.messages import HttpSend
from mcpcore.wire.redaction import Discreet, Secret, shown_names
from mcpcore_transports.link import App, clock
from mcpcore_transports.running.functions import called, failure_of, without_messages

logger = logging.getLogger("mcpcore.auth")

T = TypeVar("T")

_ATTEMPTS = 7
"""Requests of a handshake; as many as over HTTP by default."""

TokenSource = Callable[[], str | Awaitable[str]]
"""Function, or coroutine function, that returns a token for the next request."""


class BearerToken(Struct, frozen=True):
    """Token of the application for one server, of the scheme ``Bearer``; no ``repr`` shows it."""

    token: str

    def __post_init__(self) -> None:
        structs.force_setattr(self, "token", Secret(self.token))


Auth = AuthorizationSettings | BearerToken | TokenSource
"""Ways to authorize a client: a whole authorization, a token, or a function that returns one."""


class Authorized(Discreet, frozen=True, kw_only=True):
    """Headers that authorize a request, and what tells a refusal of them from one of others."""

    headers: Mapping[str, str]
    generation: int = 0
    """Generation of the token."""
    nonce: str | None = None
    """DPoP nonce of the proof."""

    def __shown__(self) -> Mapping[str, object]:
        return {"headers": shown_names(self.headers)}

    def refused(
        self, status: int, challenges: tuple[str, ...], operation: str, remedy: Remedy | None
    ) -> Refused:
        """Return the refusal of a request with these headers, sent again after ``remedy``."""
        return Refused(
            status=status,
            lines=challenges,
            generation=self.generation,
            operation=operation,
            nonce=self.nonce,
            remedy=remedy,
        )


class RequestAuthorizer(Protocol):
    """Authorization of the requests to one server."""

    @property
    def generation(self) -> int:
        """Generation of the current token."""
        ...

    def expires_in(self) -> float | None:
        """Return the seconds until the current token expires, None if nobody knows."""
        ...

    async def prepare(self) -> None:
        """Get ready for the first request, before anything waits for it with a deadline."""
        ...

    async def headers(self, method: str, url: str) -> Authorized:
        """Return the headers of a request about to be sent.  Raises AuthorizationError."""
        ...

    def remedy(self, refused: Refused) -> Remedy:
        """Return what a refused request needs before it is sent again."""
        ...

    async def refused(self, refused: Refused) -> object:
        """Authorize after a refusal, so that the request can be sent again.

        Raises AuthorizationError.
        """
        ...

    def accepted(self, operation: str) -> None:
        """Note that the server has accepted a request that it had refused."""
        ...

    def take_nonce(self, url: str, nonce: str) -> None:
        """Keep the DPoP nonce of a response."""
        ...


class GivenTokens:
    """Tokens that the application gives, for each request and once more after a refusal.

    A request that is refused again, with its second token, has failed.

    ``forget``: function that is told of a token that the server refuses, before the next is asked
    for.  Raises UrlRefused for a server to which no token may be sent in the clear.
    """

    def __init__(
        self, server: str, source: TokenSource, forget: Callable[[str], None] | None = None
    ) -> None:
        if parse_url(server, "the URL of the server").scheme == "http":
            check_url(server, "the URL of the server", loopback=True)
        self._source = source
        self._forget = forget
        self._last = ""
        self._ahead: Secret | AuthorizationError | None = None
        """Outcome for the first request, which has been asked for ahead."""
        self.generation = 0

    async def prepare(self) -> None:
        """Implement :meth:`RequestAuthorizer.prepare`."""
        try:
            self._ahead = await self._token()
        except AuthorizationError as error:
            self._ahead = error

    async def headers(self, method: str, url: str) -> Authorized:
        """Implement :meth:`RequestAuthorizer.headers`."""
        ahead, self._ahead = self._ahead, None
        if isinstance(ahead, AuthorizationError):
            raise ahead
        token = ahead if ahead and ahead == self._last else await self._token()
        value = Secret(f"Bearer {token.reveal()}")
        return Authorized(headers={"authorization": value}, generation=self.generation)

    async def _token(self) -> Secret:
        try:
            token = _secret(await called(self._source))
        except AuthorizationError:  # its text can be shown
            raise
        except BaseException as raised:
            error = failure_of(raised)
            logger.debug("the function for tokens failed\n%s", without_messages(error))
            text = f"the function for tokens failed: {type(error).__name__}"
            raise AuthorizationError(text) from error
        if not token or not token.isascii() or " " in token or not is_field_text(token.encode()):
            raise AuthorizationError("the function for tokens returned none that can be sent")
        if token != self._last:
            self._last = token
            self.generation += 1
        return token

    def remedy(self, refused: Refused) -> Remedy:
        """Implement :meth:`RequestAuthorizer.remedy`."""
        newer = refused.generation < self.generation
        return Remedy.SEND_AGAIN if newer and refused.remedy is None else Remedy.AUTHORIZE

    async def refused(self, refused: Refused) -> None:
        """Implement :meth:`RequestAuthorizer.refused`."""
        if self._forget is not None and refused.generation == self.generation:
            self._forget(self._last)
        if refused.remedy is None:
            await self._token()
        if self.remedy(refused) is Remedy.AUTHORIZE:
            raise AuthorizationError("the server refuses the token that was given")

    def expires_in(self) -> None:
        """Implement :meth:`RequestAuthorizer.expires_in`: only the application knows."""

    def accepted(self, operation: str) -> None:
        """Implement :meth:`RequestAuthorizer.accepted`."""

    def take_nonce(self, url: str, nonce: str) -> None:
        """Implement :meth:`RequestAuthorizer.take_nonce`."""


def _secret(given: object) -> Secret:
    """Return the token that a function has given, an empty one for anything but a string."""
    return Secret(given if isinstance(given, str) else "")


class Challenged(Exception):
    """Refusal of a request outside of the machines of HTTP, such as an upgrade to WebSocket."""

    def __init__(
        self, status: int, challenges: tuple[str, ...], headers: Sequence[tuple[bytes, bytes]]
    ) -> None:
        super().__init__(f"refused with status {status}")
        self.status = status
        self.challenges = challenges
        self.headers = headers


async def authorized(
    authorizer: RequestAuthorizer,
    url: str,
    operation: str,
    attempt: Callable[[Mapping[str, str]], Awaitable[T]],
) -> T:
    """Return the outcome of a GET, sent again while it is refused and authorization helps.

    ``attempt``: sends it with these headers, and raises Challenged for a refusal.  Raises
    AuthorizationError.
    """
    remedy: Remedy | None = None
    for _ in range(_ATTEMPTS):
        made = await authorizer.headers("GET", url)
        try:
            outcome = await attempt(made.headers)
        except Challenged as refusal:
            refused = made.refused(refusal.status, refusal.challenges, operation, remedy)
            nonce = nonce_of(refusal.headers)
        else:
            authorizer.accepted(operation)
            return outcome
        if nonce is not None:
            authorizer.take_nonce(url, nonce)
        remedy = authorizer.remedy(refused)
        if remedy is Remedy.AUTHORIZE:
            await authorizer.refused(refused)
    raise AuthorizationError(f"the server has refused {operation} {_ATTEMPTS} times")


class _Again(Struct, frozen=True):
    """Message that was sent again after a refusal."""

    operation: str
    remedy: Remedy


class AuthorizedExchanges:
    """Exchanges of one link to one origin: their tokens, and answers to their challenges.

    It stands before the application of the link, as its own, and keeps Unauthorized from it.
    ``flush``: passes on what the machine has to send.
    """

    def __init__(
        self,
        machine: HttpClient,
        app: App,
        authorizer: RequestAuthorizer,
        flush: Callable[[], None],
    ) -> None:
        self._machine = machine
        self._app = app
        self._authorizer = authorizer
        self._flush = flush
        self._origin = parse_url(machine.url, "the URL of the server").origin
        self._sent: dict[Route, Authorized] = {}
        self._again: dict[Route, _Again] = {}
        self._asking: dict[Route, anyio.CancelScope] = {}
        self.tasks: TaskGroup | None = None
        """Tasks of the link; None while it does not run, or ends."""

    async def headers(self, send: HttpSend) -> Mapping[str, str]:
        """Return the headers that authorize a request.  Raises AuthorizationError."""
        made = await self._authorizer.headers(send.method, self._origin + send.target)
        await anyio.lowlevel.checkpoint_if_cancelled()  # nobody would forget it
        self._sent[send.exchange] = made
        return made.headers

    def begun(self, exchange: Route, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the head of a response."""
        nonce = nonce_of(headers)
        if nonce is not None:
            self._authorizer.take_nonce(self._origin, nonce)
        again = self._again.get(exchange)
        if again is not None and admits(status):
            self._authorizer.accepted(again.operation)

    def ended(self, exchange: Route) -> None:
        """Forget an exchange that has ended, unless it waits for an answer."""
        if not self._machine.parked(exchange):
            self._sent.pop(exchange, None)
            self._again.pop(exchange, None)

    def abort(self, exchange: Route) -> None:
        """Forget an exchange that was given up; nobody needs to sign in for it.

        If it waits for an answer only the rest of its refusal was, which is too long to be read.
        """
        if self._machine.parked(exchange):
            return
        self._sent.pop(exchange, None)
        self._again.pop(exchange, None)
        scope = self._asking.get(exchange)
        if scope is not None:
            scope.cancel()

    # App

    def handle(self, event: Event) -> None:
        """Answer challenges; pass on all other events."""
        if type(event) is Unauthorized:
            self._challenged(event)
        else:
            self._app.handle(event)

    def _challenged(self, event: Unauthorized) -> None:
        exchange, operation = event.exchange, event.operation
        if not self._machine.parked(exchange):
            return  # cancelled meanwhile
        sent, again = self._sent.pop(exchange, None), self._again.pop(exchange, None)
        made = sent or Authorized(headers={})
        before = None if again is None else again.remedy
        refused = made.refused(event.status, event.challenges, operation, before)
        remedy = self._authorizer.remedy(refused)
        if remedy is not Remedy.AUTHORIZE:
            self._retry(exchange, _Again(operation, remedy))
        elif self.tasks is None:
            self._machine.give_up_exchange(exchange, "this side is closing", now=clock())
        else:
            scope = self._asking[exchange] = anyio.CancelScope()
            self.tasks.start_soon(self._authorize, exchange, refused, scope)

    async def _authorize(self, exchange: Route, refused: Refused, scope: anyio.CancelScope) -> None:
        """Authorize for one exchange, and answer its challenge."""
        error: str | None = None
        passing = False
        try:
            with scope:
                try:
                    await self._authorizer.refused(refused)
                except AuthorizationError as failure:
                    error, passing = str(failure), isinstance(failure, Unreachable)
                except Exception as failure:  # it ends this exchange and nothing else
                    logger.exception("an authorization failed")
                    error = f"the authorization failed: {type(failure).__name__}"
        finally:
            del self._asking[exchange]
        if not self._machine.parked(exchange):
            return
        if error is None:
            self._retry(exchange, _Again(refused.operation, Remedy.AUTHORIZE))
        else:
            self._machine.give_up_exchange(exchange, error, now=clock(), passing=passing)
        self._flush()

    def _retry(self, exchange: Route, again: _Again) -> None:
        route = self._machine.retry_exchange(exchange, now=clock())
        if route is not None:
            self._again[route] = again
