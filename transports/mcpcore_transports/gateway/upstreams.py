"""Servers behind a gateway: their conversations, the processes that are started, and their ends."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import anyio

from mcpcore.engine.config import Config, Negotiation, Role
from mcpcore.engine.events import ConnectionEnded, Event, NegotiationFailed, Ready
from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnection import grown
from mcpcore.errors import BadTarget, LinkError
from mcpcore.relay import link as relayed
from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore_transports import targets
from mcpcore_transports.client.client import (
    authorizer_for,
    http_link,
    http_machine,
    stream_link,
)
from mcpcore_transports.gateway.guard import ServerGuard
from mcpcore_transports.gateway.settings import GatewaySettings
from mcpcore_transports.link import clock

if TYPE_CHECKING:  # each is imported with the transport that needs it
    from mcpcore.http.client.client import HttpClient
    from mcpcore_transports.http.client.client import HttpCarrier
    from mcpcore_transports.stream.connection import StreamConnection

logger = logging.getLogger("mcpcore.gateway")

_WEB = (targets.HttpTarget, targets.SseTarget, targets.WebSocketTarget)

Take = Callable[["Conversation", Event], None]
"""Function that takes the events of a conversation."""


class Fleet:
    """Processes of all servers: their number, and those that are being started."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.processes = 0
        self.starting = anyio.Semaphore(settings.starting)


class Upstream:
    """Server behind a gateway, with its conversations.

    ``take`` gets their events; ``start`` runs a coroutine function in a task of the gateway.
    Raises BadTarget, UrlRefused.
    """

    def __init__(
        self,
        name: str,
        target: targets.Target,
        fleet: Fleet,
        *,
        take: Take,
        start: Callable[..., None],
        revisions: Sequence[Revision] = REVISIONS,
    ) -> None:
        self.target = target
        self.settings = fleet.settings.client
        guard = ServerGuard(name, fleet.settings)
        self.relayed = relayed.Target(name, self._connect, guard=guard)
        self.take = take
        self.fleet = fleet
        self.conversations: dict[relayed.Link, Conversation] = {}
        self.processes = 0
        """Processes of this server."""
        self.changed = anyio.Event()
        """Event that is set when a conversation has begun or ended."""
        self.failures = 0
        """Conversations in a row that could not be opened."""
        self.ready_at = 0.0
        """Time before which no conversation begins."""
        self.negotiation = self.settings.negotiation
        self._start = start
        self._revisions = tuple(revisions)
        self._sse = False
        self._authorizer = None
        auth = target.auth if isinstance(target, _WEB) else None
        if auth is not None:
            self._authorizer = authorizer_for(target, auth, self.settings)
        if isinstance(target, targets.MemoryTarget):
            raise BadTarget("a gateway has no servers of its own process: serve them by themselves")
        if isinstance(target, targets.HttpTarget | targets.SseTarget):
            self._http_machine(target, self._config())  # raises what it cannot use

    @property
    def name(self) -> str:
        """Name of the server."""
        return self.relayed.name

    @property
    def commands(self) -> bool:
        """True if the server is started as a process."""
        return isinstance(self.target, targets.StdioTarget)

    @property
    def closed(self) -> str | None:
        """Reason why no conversation may begin now; None if one may."""
        if (wait := self.ready_at - clock()) > 0:
            return f"it cannot be reached; the next attempt is in {wait:.1f} s"
        fleet = self.fleet
        for count, most in (
            (self.processes, fleet.settings.processes_per_server),
            (fleet.processes, fleet.settings.processes),
        ):
            if self.commands and count >= most:
                return f"busy: {count} processes run already"
        return None

    def count(self, number: int) -> None:
        """Count processes that begin, or with a negative number end."""
        self.processes += number
        self.fleet.processes += number

    def _config(self) -> Config:
        settings, greeting = self.settings, self.relayed.greeting
        negotiation = self.negotiation
        if greeting is not None:
            modern = greeting.revision.modern
            negotiation = Negotiation.MODERN if modern else Negotiation.LEGACY
        return Config(
            info=settings.info,
            capabilities=ClientCapabilities(),
            revisions=self._revisions,
            negotiation=negotiation,
            limits=settings.limits,
        )

    def _http_machine(
        self, target: targets.HttpTarget | targets.SseTarget, config: Config
    ) -> "HttpClient":
        authorizes = self._authorizer is not None
        return http_machine(
            self.settings, config, target, assume_sse=self._sse, authorizes=authorizes
        )

    def _connect(self, link: relayed.Link) -> relayed.Upstream:
        """Make the machine of a new conversation and start it, as the relay asks."""
        conversation = Conversation(self, link)
        config = link.config(self._config())
        target = self.target
        if isinstance(target, targets.HttpTarget | targets.SseTarget):
            machine = self._http_machine(target, config)
            conversation.machine = machine
            conversation.carrier = http_link(machine, conversation, target, None, self._authorizer)
        else:
            assert not isinstance(target, targets.MemoryTarget)  # noqa: S101 - refused before
            peer = conversation.machine = Peer(Role.CLIENT, config)
            conversation.carrier = stream_link(conversation, target, self._authorizer, peer)
        conversation.machine.start(now=clock())
        self.conversations[link] = conversation
        self._start(conversation.run)
        return conversation.machine

    def change(self) -> None:
        """Wake who waits for a conversation to begin or end."""
        self.changed.set()
        self.changed = anyio.Event()

    def ended(self, conversation: "Conversation") -> None:
        """Take note of the end of a conversation."""
        self.conversations.pop(conversation.link, None)
        self.change()
        if conversation.opened is not None:
            self.failures, self.ready_at = 0, 0.0
        elif conversation.failed:
            settings = self.fleet.settings
            delay = 0.0
            if self.failures:  # the next attempt after the first failure is made at once
                delay = grown(settings.first_delay, 2.0, self.failures, settings.max_delay)
            self.failures += 1
            self.ready_at = clock() + delay


class Conversation:
    """One conversation of the gateway with a server: app of its machine, and its task."""

    machine: "Peer | HttpClient"
    carrier: "HttpCarrier | StreamConnection"
    """Link of the machine."""

    def __init__(self, upstream: Upstream, link: relayed.Link) -> None:
        self.upstream = upstream
        self.link = link
        self.settings = upstream.settings
        self.opened: float | None = None
        """Time at which the negotiation succeeded."""
        self.failed = False
        """True if it ended by a failure."""
        self._closing = False
        self._begun = False
        self._starting = False
        """True while this counts as a process that is being started."""
        self._scope = anyio.CancelScope()

    def handle(self, event: Event) -> None:
        """Take an event of the machine."""
        kind = type(event)
        if kind is Ready:
            self.opened = clock()
            self._started()
            self.upstream.change()
        elif kind in (NegotiationFailed, ConnectionEnded):
            self.failed |= self._begun and not self._closing
            upset = isinstance(self.machine, Peer) and self.machine.upset is not None
            if upset and self.upstream.negotiation is Negotiation.AUTO:
                # Some legacy servers end when they are asked server/discover.
                self.upstream.negotiation = Negotiation.LEGACY
        self.upstream.take(self, event)

    async def run(self) -> None:
        """Run the link to its end, within the limits for processes if the server is a command."""
        upstream = self.upstream
        closed = upstream.closed
        counts = upstream.commands and closed is None
        upstream.count(counts)
        try:
            with self._scope:
                if closed is not None:
                    return
                if counts:
                    await upstream.fleet.starting.acquire()
                    self._starting = True
                self._begun = True
                await self.carrier.run()
        except LinkError as error:
            logger.warning("%s: %s", upstream.name, error)
        except Exception:
            logger.exception("%s: a conversation failed", upstream.name)
        finally:
            upstream.count(-counts)
            self._started()
            if not self._begun:
                self._end(closed or "closed by this side")
            upstream.ended(self)

    def _started(self) -> None:
        if self._starting:
            self._starting = False
            self.upstream.fleet.starting.release()

    def _end(self, reason: str) -> None:
        """End a conversation whose link has not run: its requests end with the reason."""
        machine = self.machine
        if isinstance(machine, Peer):
            machine.receive_eof(now=clock(), reason=reason)
        else:
            machine.close(now=clock())
        while (event := machine.next_event()) is not None:
            self.handle(event)

    async def close(self) -> None:
        """End the conversation; return once its link has ended."""
        self._closing = True
        if self._begun:
            await self.carrier.aclose()
        else:
            self._scope.cancel()
