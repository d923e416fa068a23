"""Settings for the handlers of a server, and the interface of their observer."""

import os
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from msgspec import Struct, field

from mcpcore.engine.config import Limits
from mcpcore.engine.events import Key, RequestReceived
from mcpcore.engine.peer import Peer
from mcpcore.service.task_settings import TaskSettings
from mcpcore.spec.bounds import check_kinds, check_numbers
from mcpcore.spec.errors import ErrorData
from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore_transports.link import App, Link

# Optional parts are imported where they are configured; the module of middleware imports this one.
if TYPE_CHECKING:
    from mcpcore.engine.seal import Seal
    from mcpcore.http.server.server import HttpServer
    from mcpcore.policy.balancing import Standing
    from mcpcore.policy.breaker import Breaker
    from mcpcore.policy.rates import RateLimiter
    from mcpcore.policy.suspicion import Suspicion
    from mcpcore_transports.server.middleware import ServerMiddleware
else:  # for signatures
    RateLimiter = Seal = ServerMiddleware = Suspicion = Any


ServerMachine: TypeAlias = "Peer | HttpServer"


def error_id() -> str:
    """Return an unguessable id that reveals nothing and leads from a masked error to the log."""
    return os.urandom(4).hex()


class Runtime(App, Protocol):
    """App of one machine of a server, which runs around its link."""

    link: Link | None
    settings: "RuntimeSettings"

    async def run(self, link_run: Callable[[], Awaitable[object]]) -> None:
        """Run the link to its end; then end what belongs to it."""


class RelayObserver(Protocol):
    """Observer of the requests at a machine of a gateway, which takes their answers for it."""

    def begin(self, event: RequestReceived) -> RequestReceived:
        """Begin to observe a request; return it as it is to be passed on."""

    def end(self, key: Key, error: ErrorData | None = None, *, cancelled: bool = False) -> None:
        """End the observation of a request, if it is observed."""

    def close(self) -> None:
        """End all, as the machine has ended."""


class Observer(Protocol):
    """Observer of all machines of a server."""

    def observed(self, runtime: Runtime, machine: ServerMachine) -> Runtime:
        """Return a runtime that stands between the machine and its own, and passes all on."""

    def relayed(self, machine: ServerMachine) -> RelayObserver:
        """Return what observes the requests at a machine of a gateway."""

    def refused(self, by: str, code: int) -> None:
        """Count a refusal by a part of the server, with an error code of JSON-RPC or a status."""

    def watch(
        self,
        breakers: Callable[[], Iterable["Breaker"]],
        standings: Callable[[], Iterable[tuple[str, "Standing"]]],
    ) -> None:
        """Observe the circuit breakers, and the states of replicas, that functions return."""


class RuntimeSettings(Struct, frozen=True, kw_only=True):
    """Settings for the handlers of a server.  Times are in seconds."""

    revisions: tuple[Revision, ...] = REVISIONS
    """Revisions to speak."""
    limits: Limits = field(default_factory=Limits)
    """Limits of each conversation."""
    seal: "Seal | None" = None
    """Seal for ``requestState``; workers that serve the same clients share its keys.

    None: a seal with a key of its own or, with a store, of the store's.
    """
    wall: Callable[[], float] = time.time
    """Clock for data that outlives the process, such as seals: seconds since the epoch."""
    input_timeout: float | None = 600.0
    """Seconds for a legacy client to answer a question, which may involve a person."""
    input_attempts: int = 3
    """Maximum number of times that a question is asked while its answers do not fit.

    It applies in the legacy era and to tasks.
    """
    input_rounds: int = 50
    """Maximum number of input rounds that a server goes through for one request (modern)."""
    notifications: int = 100
    """Maximum number of notifications of one session that wait for the functions of earlier ones.

    Further ones are dropped, with a warning in the log.
    """
    reports: int = 100
    """Maximum number of progress reports on one question that wait for its callback.

    Further ones are dropped, with a warning in the log.
    """
    middleware: "tuple[ServerMiddleware, ...]" = ()
    """Middleware around every request but those that the engine answers alone, outermost first."""
    observer: Observer | None = None
    """Observer of connections and sessions, for their metrics."""
    limiter: "RateLimiter | None" = None
    """Limiter of the rates of requests, log messages and progress notifications."""
    limiter_failure: Literal["refuse", "admit"] = "refuse"
    """Decision on a request if the limiter raises an exception."""
    suspicion: "Suspicion | None" = None
    """Counter of the rules that clients break; a client that breaks many is logged."""
    tasks: TaskSettings = field(default_factory=TaskSettings)
    """Settings for tasks of tools that declare them."""
    reveal_errors: bool = False
    """True to show clients the types and messages of exceptions that are otherwise masked.

    For development only: they may contain secrets.
    """
    error_ids: Callable[[], str] = error_id
    """Function that makes the id of a masked error, which is logged as well."""
    lifespan_start: float = 60.0
    """Seconds for entering the server's lifespan."""
    lifespan_end: float = 30.0
    """Seconds for leaving the server's lifespan."""
    health_interval: float = 5.0
    """Seconds between two runs of the server's health checks, over HTTP."""
    health_timeout: float = 5.0
    """Seconds for a health check; one that takes longer has failed."""

    def __post_init__(self) -> None:
        check_kinds(self)
        check_numbers(self, "input_timeout", "input_rounds")
