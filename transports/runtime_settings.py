"""How a server runs its handlers."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from mcpcore.engine.config import Limits
from mcpcore.service.task_settings import TaskSettings
from mcpcore.spec.bounds import check_numbers
from mcpcore.spec.revisions import REVISIONS, Revision
from transports.error_ids import error_id

if TYPE_CHECKING:
    from mcpcore.engine.seal import Seal
    from mcpcore.service.rate import RateLimiter
    from transports.server_middleware import ServerMiddleware


class RuntimeSettings(Struct, frozen=True, kw_only=True):
    """How a server runs its handlers. Times in seconds."""

    revisions: tuple[Revision, ...] = REVISIONS
    limits: Limits = field(default_factory=Limits)
    seal: "Seal | None" = None
    """Seals ``requestState``; workers that serve the same clients share its keys.  None: one with
    a key of its own or, with a store, of the store's."""
    wall: Callable[[], float] = time.time
    """The clock of what outlives the process, such as a seal's expiry: seconds since the epoch."""
    input_timeout: float | None = 600.0
    """How long a legacy client may take to answer a question: there may be a person behind it."""
    input_attempts: int = 3
    """How often one question is asked while its answers do not fit (legacy, and tasks)."""
    input_rounds: int = 50
    """Rounds of input that one request may take (modern)."""
    notifications: int = 100
    """Notifications of one session that wait for the functions that hear those before them; what is
    more is dropped, with a warning in the log."""
    reports: int = 100
    """Reports of progress on one question that wait for the function that hears those before them;
    what is more is dropped, with a warning in the log."""
    middleware: "tuple[ServerMiddleware, ...]" = ()
    """Around every request but those that the engine answers alone, the first outermost."""
    limiter: "RateLimiter | None" = None
    """Bounds the rates of tool calls, completions, requests about tasks, log messages, progress."""
    limiter_failure: Literal["refuse", "admit"] = "refuse"
    """What becomes of what a limiter was to decide on that raised an exception."""
    tasks: TaskSettings = field(default_factory=TaskSettings)
    """Tasks of tools that declare them."""
    reveal_errors: bool = False
    """Show clients the types and messages of exceptions that they must not see otherwise.  For
    developing alone: there may be secrets in them."""
    error_ids: Callable[[], str] = error_id
    """Makes the id of an error that is masked, which stands in the log as well."""
    lifespan_start: float = 60.0
    """How long the server's lifespan may take to be entered."""
    lifespan_end: float = 30.0
    """How long it may take to be left."""

    def __post_init__(self) -> None:
        check_numbers(self, "input_timeout", "input_rounds")
