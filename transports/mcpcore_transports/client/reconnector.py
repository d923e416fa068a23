"""Common base of all ways to reconnect: timing, events, and the end of the attempts."""

import logging
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio

from mcpcore.engine.events import ConnectionEnded, Fault, NegotiationFailed, Ready
from mcpcore.engine.reconnection import (
    Attempt,
    ConnectionEvent,
    ConnectionLost,
    Reconnected,
    Reconnecting,
    ReconnectingGivenUp,
    Reconnection,
    ReconnectSettings,
    fails_for_good,
    refuses_for_good,
)
from mcpcore_transports.link import clock

if TYPE_CHECKING:
    from mcpcore_transports.client.core import ClientCore

logger = logging.getLogger("mcpcore.client")


class Reconnector(ABC):
    """Continuation of an ended conversation by another one, with its events."""

    def __init__(self, core: "ClientCore", settings: ReconnectSettings, attempts: int) -> None:
        self.settings = settings
        self.attempts = attempts
        self.loss = anyio.Event()
        """Event that is set when the current connection is lost and there is to be another."""
        self._core = core
        self._plan = Reconnection(settings, attempts, seed=secrets.token_bytes(16))
        self._begun = False
        """True if there has been a conversation."""
        self._open = False
        """True if there is a conversation now."""
        self._attempt: Attempt | None = None
        """The attempt under way."""
        self._refusal: NegotiationFailed | None = None

    @property
    def away(self) -> bool:
        """True if there has been a conversation, and there is none now."""
        return self._begun and not self._open

    @property
    def pace(self) -> tuple[int, float, float]:
        """Pace of retries: their number, and the minimum and maximum delay in seconds."""
        return self.attempts, self.settings.first_delay, self.settings.max_delay

    # Interface for subclasses

    @abstractmethod
    def _keep(self, settings: ReconnectSettings) -> None:
        """Have the machine keep the state that the next conversation needs."""

    @abstractmethod
    def _go_on(self, attempt: Attempt) -> bool:
        """Prepare and schedule the next conversation; return False if there cannot be one."""

    @abstractmethod
    def _renounce(self, reason: str) -> None:
        """End without a next conversation."""

    @abstractmethod
    def _leave(self, reason: str) -> None:
        """Begin to end a conversation whose negotiation has failed."""

    @abstractmethod
    def _judge(self, reason: str) -> tuple[str, bool, Fault | None]:
        """Return the reason of an end, True if the next attempt would fail alike, and the fault."""

    @property
    @abstractmethod
    def _closing(self) -> bool:
        """True if this side ends the connection for good."""

    # Events from the core

    def opened(self, ready: Ready) -> None:
        """Record that negotiation has succeeded."""
        self._open = self._begun = True
        self.loss = anyio.Event()
        self._plan.opened(clock())
        if self.attempts and not self._closing:
            self._keep(self.settings)
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            self._tell(Reconnected(ready=ready, attempt=attempt.number))

    def refused(self, event: NegotiationFailed) -> None:
        """Record that negotiation has failed on a later connection."""
        self._refusal = event
        self._leave(event.message)

    def ended(self, event: ConnectionEnded) -> str | None:
        """Handle the end of a connection; return None if another follows, else the final reason."""
        was_open, self._open = self._open, False
        reason, final, fault = self._judge(event.reason)
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            reason, fault = refusal.message, refusal.fault
            final = refuses_for_good(refusal.error) or fails_for_good(fault)
        again = None
        silent = self._closing or not self._begun
        if not silent:
            wanted = None if fault is None else fault.retry_after
            again = self._plan.lost(clock(), final=final, wanted=wanted)
        if again is None or not self._go_on(again):
            return self._give_up(reason, silently=silent)
        self._attempt = again
        if was_open:
            self._tell(ConnectionLost(reason=reason))
        self._tell(
            Reconnecting(
                attempt=again.number, attempts=self.attempts, delay=again.delay, reason=reason
            )
        )
        self.loss.set()
        return None

    def _give_up(self, reason: str, *, silently: bool) -> str:
        made = self._plan.made
        text = reason
        if made and not silently:
            times = "one attempt" if made == 1 else f"{made} attempts"
            text = f"{reason} (given up after {times} to come back)"
        self._renounce(text)
        if not silently:
            self._tell(ReconnectingGivenUp(reason=reason, attempts=made))
        return text

    def _tell(self, event: ConnectionEvent) -> None:
        _LOG[type(event)](event)
        self._core.tell(event)


def _log_lost(event: ConnectionLost) -> None:
    logger.warning("the connection is lost: %s", event.reason)


def _log_again(event: Reconnecting) -> None:
    number, delay = event.attempt, event.delay
    logger.info("attempt %d of %d to come back in %.1f s", number, event.attempts, delay)


def _log_back(event: Reconnected) -> None:
    logger.info("connected again, in %s", event.ready.revision.name)


def _log_over(event: ReconnectingGivenUp) -> None:
    logger.warning("the connection is over: %s", event.reason)


_LOG: dict[type[Any], Callable[[Any], None]] = {
    ConnectionLost: _log_lost,
    Reconnecting: _log_again,
    Reconnected: _log_back,
    ReconnectingGivenUp: _log_over,
}
