"""Servers behind a gateway: their conversations, the processes that are started, and their ends."""

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
from anyio.abc import TaskStatus
from msgspec import Struct, structs

from mcpcore.engine.config import Config, Negotiation, Role
from mcpcore.engine.events import (
    EndReason,
    ErrorReceived,
    Event,
    Fault,
    FaultKind,
    InputRequired,
    Ready,
    RequestEnded,
    RequestReceived,
)
from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnection import grown
from mcpcore.errors import AuthorizationError, BadConfig, BadTarget, LifespanError, LinkError
from mcpcore.http.client.call import refusal_text
from mcpcore.http.client.challenges import Unauthorized
from mcpcore.policy.balancing import Standing
from mcpcore.policy.breaker import Breaker
from mcpcore.policy.trust import BLOCKED
from mcpcore.relay.link import Audience, Target, UpstreamLink
from mcpcore.relay.link import Upstream as Machine
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, ErrorData
from mcpcore.spec.revisions import LATEST, REVISIONS, Revision, legacy_of
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore_transports import targets
from mcpcore_transports.client.links import (
    authorizer_for,
    http_link,
    http_machine,
    is_personal,
    stream_link,
)
from mcpcore_transports.client.managed import START_SHARE
from mcpcore_transports.client.pins import read_pins
from mcpcore_transports.gateway.guard import END_TEXTS, ServerGuard
from mcpcore_transports.gateway.replicas import BalancedReplicas
from mcpcore_transports.gateway.settings import GatewaySettings
from mcpcore_transports.http1.settings import HttpClientLinkSettings
from mcpcore_transports.link import clock
from mcpcore_transports.serve.assembling import join_in_memory
from mcpcore_transports.serve.serve import ungrouped
from mcpcore_transports.server.logs import label_server, labelled
from mcpcore_transports.server.settings import Observer
from mcpcore_transports.stream.connection import StreamConnection
from mcpcore_transports.stream.settings import ProcessSettings

if TYPE_CHECKING:  # each is imported with the transport that needs it
    from mcpcore.auth.settings import AuthorizationSettings
    from mcpcore.http.client.client import HttpClient
    from mcpcore_transports.auth.exchange import UpstreamTokens
    from mcpcore_transports.gateway.sign_in import ServerDesk
    from mcpcore_transports.gateway.subjects import Subjects
    from mcpcore_transports.http.client.authorization import RequestAuthorizer
    from mcpcore_transports.http.client.client import HttpClientLink

logger = logging.getLogger("mcpcore.gateway")

_WEB = (targets.HttpTarget, targets.SseTarget, targets.WebSocketTarget)

_DENIED = (401, 403)
"""Statuses that are about the credentials of one client, at a server that wants one of each."""
_NO_AUTHORIZATION = "the gateway has no other credentials for it"

_PLACE = r"(?:[a-z+]+://[^\s,;]*[^\s,;:]|\[[\da-fA-F:.%]+\]:\d+|[\w.-]+:\d+)"
_ADDRESS = re.compile(f"{_PLACE}: |: {_PLACE}$|{_PLACE}")
"""URLs, and hosts with a port."""
_HERE = "its address"
_LONGEST = 1000
"""Maximum characters of what a server says in the log."""

Take = Callable[["Conversation", Event], None]
"""Function that takes the events of a conversation."""


class Fleet:
    """State that all routes share: processes, guards, the tokens of clients to be exchanged.

    Raises BadConfig for a file of pins that is not there or cannot be used.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.processes: Counter[str] = Counter()
        """Number of processes by server."""
        self.own: Counter[str] = Counter()
        """Number of those that are for some clients alone, by server."""
        self.starting = anyio.Semaphore(settings.starting)
        self.subjects: Subjects | None = None
        self.observer: Observer | None = None
        self.labels = False
        """True to label the records of logs."""
        self._guards: dict[str, ServerGuard] = {}
        self._replicas: dict[str, BalancedReplicas] = {}
        if settings.pins is not None and not os.path.exists(settings.pins):
            raise BadConfig(f"{settings.pins}: the file of pins is not there")
        self._pins = {} if settings.pins is None else read_pins(settings.pins)

    def guard(self, name: str) -> ServerGuard:
        """Return the guard of a server, which is the same in all routes.

        Raises BadConfig for one that is to be strict and has no pins.
        """
        if name not in self._guards:
            pins = self._pins.get(name)
            try:
                self._guards[name] = ServerGuard(name, self.settings, pins, self._refused)
            except ValueError as error:
                raise BadConfig(f"guard: {name}: {error}") from None
        return self._guards[name]

    def replicas(self, name: str, targets: targets.Replicas) -> BalancedReplicas:
        """Return the replicas of a server, which are the same in all routes."""
        if name not in self._replicas:
            self._replicas[name] = BalancedReplicas(name, targets, self.settings)
        return self._replicas[name]

    def standings(self) -> Iterator[tuple[str, Standing]]:
        """Yield the names and states of all replicas."""
        for replicas in self._replicas.values():
            yield from replicas.standings

    def _refused(self, by: str) -> None:
        if self.observer is not None:
            self.observer.refused(by, INTERNAL_ERROR)

    def breakers(self) -> list[Breaker]:
        """Return the circuit breakers of all servers that have one."""
        return [it.breaker for it in self._guards.values() if it.breaker is not None]


class UpstreamAddress(Struct, eq=False):
    """Place where a server is reached: that of a replica, or its only one."""

    target: targets.Target
    negotiation: Negotiation
    authorizer: "RequestAuthorizer | None" = None
    tokens: "UpstreamTokens | None" = None
    """Tokens in the names of clients, if those of clients are exchanged."""
    failures: int = 0
    """Conversations in a row that could not be opened."""
    fault: str = ""
    """Reason of the last of these failures."""
    ready_at: float = 0.0
    """Time before which no conversation begins."""

    @property
    def commands(self) -> bool:
        """True if the server is started as a process."""
        return isinstance(self.target, targets.StdioTarget)

    def hidden(self, text: str) -> str:
        """Return a text without the place: URLs, the host that a certificate is not for, paths."""
        target = self.target
        if isinstance(target, targets.StdioTarget):
            cwd = "" if target.cwd is None else os.fspath(target.cwd)
            for path in (*target.command[:1], cwd):
                folder, name = os.path.split(path)
                text = text.replace(path, name) if folder and name else text
        elif host := urlsplit(getattr(target, "url", "")).hostname:
            text = text.replace(f"'{host}'", _HERE)
        return _ADDRESS.sub(lambda found: "" if ": " in found[0] else _HERE, text)


class ServerBehind:
    """Server behind a gateway, with its conversations.

    ``take`` gets their events; ``start`` runs a coroutine function in a task of the gateway.
    Raises BadTarget, UrlRefused.
    """

    def __init__(
        self,
        name: str,
        target: targets.Target | targets.Replicas,
        fleet: Fleet,
        *,
        take: Take,
        start: Callable[..., None],
        revisions: Sequence[Revision] = REVISIONS,
    ) -> None:
        settings = fleet.settings.client
        process = structs.replace(settings.process or ProcessSettings(), stderr_tail=0)
        self.settings = structs.replace(settings, process=process)  # clients read no server's log
        shared = fleet.settings.shared.get(name)
        self.guard = fleet.guard(name)
        self.relayed = Target(name, self._connect, guard=self.guard, shared=shared)
        self.replicas: BalancedReplicas | None = None
        """Replicas of the server, if there are several."""
        if isinstance(target, targets.Replicas):
            self.relayed.replicas = self.replicas = replicas = fleet.replicas(name, target)
            addresses = replicas.targets
        else:
            addresses = {"": target}
        self.take = take
        self.fleet = fleet
        self.conversations: dict[UpstreamLink, Conversation] = {}
        self.sign_in: tuple[str, AuthorizationSettings] | None = None
        """URL, and authorization of each client, if clients sign in there."""
        self.desk: ServerDesk | None = None
        """Desk at which clients sign in."""
        self.changed = anyio.Event()
        """Event that is set when a conversation has begun or ended."""
        self.start = start
        self._revisions = tuple(revisions)
        handshakes = () if self.settings.negotiation is Negotiation.MODERN else legacy_of(revisions)
        self.relayed.handshakes = self.guard.comparable(handshakes)
        self.addresses = {name: self._address(each) for name, each in addresses.items()}

    def _address(self, target: targets.Target) -> UpstreamAddress:
        """Return the address of a target.  Raises BadTarget, UrlRefused."""
        address = UpstreamAddress(target, self.settings.negotiation)
        if isinstance(target, _WEB) and (auth := target.auth) is not None:
            from mcpcore_transports.auth import exchange  # late: few authorize

            if is_personal(auth):
                if self.replicas is not None:
                    raise BadTarget(f"{self.name}: clients sign in at one server, not at replicas")
                from mcpcore_transports.auth.authorizer import make_authorizer  # late, as above

                make_authorizer(target.url, auth, proxy=self.settings.proxy)  # as it will be made
                self.relayed.personal, self.sign_in = True, (target.url, auth)
                return address
            if isinstance(auth, exchange.UpstreamTokens):
                self.relayed.personal, address.tokens = True, auth
                auth.adopt(self.settings.ssl_context, self.settings.proxy)
                auth = partial(self._token, auth, None)  # each conversation has one of its own
            address.authorizer = authorizer_for(target, auth, self.settings)
        if isinstance(target, targets.HttpTarget | targets.SseTarget):
            link = self.settings.http_link or HttpClientLinkSettings()
            self.relayed.listens = link.connections // 2  # the others are for calls
            self._http_machine(target, self._config(address))  # raises what it cannot use
        return address

    @property
    def name(self) -> str:
        """Name of the server."""
        return self.relayed.name

    @property
    def lazy(self) -> bool:
        """True if the server is to be started by the first client that needs it."""
        return self.fleet.settings.lazy and all(it.commands for it in self.addresses.values())

    @property
    def known(self) -> bool:
        """True if the server has told its era, or if more than one attempt to reach it failed."""
        failed = all(address.failures > 1 for address in self.addresses.values())
        return self.relayed.known or failed or self.sign_in is not None

    @property
    def asked(self) -> bool:
        """True if a conversation is being opened."""
        return not all(each.opened for each in self.conversations.values())

    @property
    def ready_at(self) -> float:
        """Time before which no conversation begins."""
        return min(address.ready_at for address in self.addresses.values())

    def closed(self, address: UpstreamAddress, *, own: bool) -> str | None:
        """Return the reason why no conversation may begin now; None if one may."""
        if (wait := address.ready_at - clock()) > 0:
            return f"{address.fault}; the next attempt is in {wait:.1f} s"
        return self.full(address, own=own)

    def full(self, address: UpstreamAddress, *, own: bool = False) -> str | None:
        """Return the reason why no process may be started now; None if one may.

        ``own``: True for one that is not for all clients.
        """
        fleet = self.fleet
        for count, most in (
            (fleet.own[self.name] if own else 0, fleet.settings.processes_per_server),
            (fleet.processes.total(), fleet.settings.processes),
        ):
            if address.commands and count >= most:
                return f"busy: {count} processes run already"
        return None

    def _config(self, address: UpstreamAddress) -> Config:
        settings, greeting = self.settings, self.relayed.greeting
        negotiation = address.negotiation
        if greeting is not None and not address.failures:  # else the era may be another one
            modern = greeting.revision.modern
            negotiation = Negotiation.MODERN if modern else Negotiation.LEGACY
        return Config(
            info=settings.info,
            capabilities=ClientCapabilities(),
            revisions=self._revisions,
            negotiation=negotiation,
            limits=settings.limits,
        )

    async def _token(self, tokens: "UpstreamTokens", principal: str | None) -> str:
        """Return the gateway's own token, or the one that a principal's is exchanged for.

        Raises AuthorizationError, without what the authorization server has said.
        """
        subjects, subject = self.fleet.subjects, None
        if principal is not None and subjects is not None:
            subject = subjects.of(principal)
        if principal is not None and subject is None:
            raise AuthorizationError("the client has shown no token that can be exchanged")
        try:
            return (await tokens.token(subject)).reveal()
        except AuthorizationError as error:
            said = str(error)
            if subject is not None:
                said = said.replace(subject.token, "<token>")
            logger.warning("%s: %s", self.name, said)
            what = "its own token" if subject is None else "the token of the client"
            raise AuthorizationError(f"{what} was not given") from None

    def _http_machine(
        self, target: targets.HttpTarget | targets.SseTarget, config: Config
    ) -> "HttpClient":
        return http_machine(self.settings, config, target, assume_sse=False, authorizes=True)

    def _connect(self, link: UpstreamLink) -> Machine:
        """Make the machine of a new conversation and start it, as the relay asks."""
        conversation = Conversation(self, link)
        address = conversation.address
        config = link.config(self._config(address))
        target, authorizer, tokens = address.target, address.authorizer, address.tokens
        principal = link.audience.principal
        if self.desk is not None and principal:
            authorizer = self.desk.account(principal)
        if tokens is not None and isinstance(target, _WEB):
            from mcpcore_transports.auth.authorizer import http_url  # late, with the next
            from mcpcore_transports.http.client.authorization import GivenTokens

            source = partial(self._token, tokens, principal)
            authorizer = GivenTokens(http_url(target.url), source, tokens.forget)
        if isinstance(target, targets.HttpTarget | targets.SseTarget):
            machine = self._http_machine(target, config)
            conversation.machine = machine
            conversation.carrier = http_link(machine, conversation, target, None, authorizer)
            conversation.authorizer = authorizer
        else:
            peer = conversation.machine = Peer(Role.CLIENT, config)
            conversation.carrier = (
                _ServedHere(peer, conversation, target)
                if isinstance(target, targets.MemoryTarget)
                else stream_link(conversation, target, authorizer, peer)
            )
        conversation.machine.start(now=clock())
        if self.replicas is not None and conversation.stays:
            self.replicas.begin(link.replica)
        self.conversations[link] = conversation
        self.start(conversation.run)
        return conversation.machine

    def change(self) -> None:
        """Wake who waits for a conversation to begin or end."""
        self.changed.set()
        self.changed = anyio.Event()

    def ended(self, conversation: "Conversation") -> None:
        """Take note of the end of a conversation."""
        self.conversations.pop(conversation.link, None)
        self.change()
        address, replica = conversation.address, conversation.link.replica
        if self.replicas is not None and conversation.stays:
            self.replicas.ended(replica, clock())
        if conversation.opened or not conversation.failed:
            return
        name = " ".join(filter(None, (self.name, replica)))
        tried = conversation.link.audience.revision
        if not tried.modern and self.relayed.modern_for(tried):
            text = "%s: lists %s but refuses the handshake: legacy clients are served in %s: %s"
            logger.warning(text, name, tried.name, LATEST.name, conversation.obituary)
            return
        level = logging.INFO if address.failures else logging.WARNING
        logger.log(level, "%s: cannot be reached: %s", name, conversation.obituary)
        settings = self.fleet.settings
        delay, address.fault = 0.0, self.relayed.fault
        if address.failures:  # the next attempt after the first failure is made at once
            delay = grown(settings.first_delay, 2.0, address.failures, settings.max_delay)
        address.failures += 1
        address.ready_at = clock() + delay
        if self.replicas is not None:
            self.replicas.ready_at[replica] = address.ready_at

    def reached(self, conversation: "Conversation", revision: Revision) -> None:
        """Take note of a conversation that has begun."""
        conversation.address.failures = 0
        conversation.address.ready_at = 0.0
        if self.replicas is not None:
            self.replicas.greeted(conversation.link.replica, revision, clock())
        self.change()


class Conversation:
    """Conversation of the gateway with a server: app of its machine, and its task."""

    machine: "Peer | HttpClient"
    carrier: "HttpClientLink | StreamConnection | _ServedHere"
    """Link of the machine."""
    authorizer: "RequestAuthorizer | None" = None
    """Authorizer of the requests over HTTP; another connection is opened once it has a token."""

    def __init__(self, upstream: ServerBehind, link: UpstreamLink) -> None:
        self.upstream = upstream
        self.link = link
        self.address = upstream.addresses[link.replica]
        self.settings = upstream.settings
        common = link.audience == Audience(revision=link.audience.revision)
        free = upstream.relayed.shared is not False or not upstream.relayed.known
        self._own = not (common and free)
        """True if it is not for all clients, nor tells the era."""
        legacy = upstream.relayed.known and not link.modern
        self.stays = legacy or link.audience.session is not None
        """True if later requests stay in it, so that it counts as one itself."""
        self.opened = False
        """True once the negotiation has succeeded."""
        self.failed = False
        """True if it ended by a failure."""
        self._closing = False
        self._begun = False
        self._made_at = clock()
        self._linked = False
        """True once the link was open."""
        self._end_text = ""
        """Reason of an end, which may tell where the server is."""
        self._unopened = ""
        """Reason for which the link does not run."""
        self._started = anyio.Event()
        """Event that is set once the negotiation has succeeded, or the link has ended."""
        self._scope = anyio.CancelScope()

    @property
    def obituary(self) -> str:
        """Reason of the end for the log, with the last words of a process."""
        words = getattr(self.carrier, "last_error_line", "")
        return _in_a_line(self._end_text + (words and f"; its standard error ends with: {words}"))

    def flush(self) -> None:
        """Write what the machine has to send, without a turn of the event loop where possible."""
        carrier = self.carrier
        if isinstance(carrier, StreamConnection):
            carrier.flush_now()
        else:
            carrier.flush_soon()

    def handle(self, event: Event) -> None:
        """Take an event of the machine."""
        if isinstance(event, Unauthorized):  # no authorizer has taken it; clients see no challenge
            assert not isinstance(self.machine, Peer)  # noqa: S101 - an event of HTTP
            self.machine.give_up_exchange(event.exchange, _NO_AUTHORIZATION, now=clock())
            self.carrier.flush_soon()
            return
        if isinstance(event, Ready):
            self.opened = True
            self._started.set()
            self.upstream.reached(self, event.revision)
        elif told := END_TEXTS.get(type(event)):
            event = self._ended(event, told)
        elif isinstance(event, ErrorReceived) and (status := self._denies(event.fault)):
            text = f"{event.method}: {refusal_text(status)}: {event.error.message!r}"
            ended = RequestEnded(event.request, event.method, EndReason.REFUSED, text, event.fault)
            event = self._ended(ended, "message")
        labels = self.upstream.fleet.labels
        if labels and (call := self.link.calls.get(getattr(event, "request", ""))):
            with labelled(call.arrival.event):
                self._take(event)
        else:
            self._take(event)

    def _ended(self, event: Event, told: str) -> Event:
        """Take note of the end of a request or all of them; return the event as clients see it."""
        text = getattr(event, told)
        fault = getattr(event, "fault", None) or getattr(self.carrier, "fault", None)
        event = structs.replace(event, **{told: self._shown(text, fault)})
        if isinstance(event, RequestEnded):
            return event if fault is None else structs.replace(event, fault=fault)
        self._end_text = self._end_text or text
        denied = fault is not None and (
            fault.kind is FaultKind.AUTHORIZATION or fault.status in _DENIED
        )
        personal = self.upstream.relayed.personal and self.link.audience.principal is not None
        self.link.refused |= denied and personal
        unwanted = self._closing or self.link.ended  # by us
        self.failed |= self._begun and not unwanted and not self.link.refused
        heard = self._linked and not self.carrier.unprovoked
        upset = heard and isinstance(self.machine, Peer) and self.machine.upset is not None
        if upset and self.address.negotiation is Negotiation.AUTO:
            # Some legacy servers end when they are asked server/discover.
            self.address.negotiation = Negotiation.LEGACY
        elif self.failed and not self.opened:
            self.address.negotiation = self.settings.negotiation
        return event

    def _take(self, event: Event) -> None:
        upstream = self.upstream
        passed = upstream.guard.passed(event, self.link.calls)
        if passed is not None:
            if isinstance(event, InputRequired) and isinstance(passed, ErrorReceived):
                self.machine.abandon(event.request)
            upstream.take(self, passed)
        elif isinstance(event, RequestReceived):
            self.machine.fail(event.key, ErrorData.make(INVALID_PARAMS, BLOCKED))
            self.carrier.flush_soon()

    def _denies(self, fault: Fault | None) -> int | None:
        """Return the status by which a server refuses the credentials of the gateway itself.

        Where the server gets those of each client, it is that client that it speaks to.
        """
        status = None if fault is None or self.upstream.relayed.personal else fault.status
        return status if status in _DENIED else None

    def _shown(self, text: str, fault: Fault | None) -> str:
        """Return a text for clients, which are not told where the server is."""
        shown = self.address.hidden(text)
        if status := self._denies(fault):  # what follows may repeat the credentials
            shown = "".join(shown.partition(str(status))[:2])
        if shown != text:
            logger.info("%s: %s", self.upstream.name, _in_a_line(text))
        return self._unopened or shown

    async def run(self) -> None:
        """Run the link, within the limits for processes if the server is a command."""
        upstream = self.upstream
        closed, fleet = upstream.closed(self.address, own=self._own), upstream.fleet
        counts = self.address.commands and closed is None
        fleet.processes[upstream.name] += counts
        fleet.own[upstream.name] += counts and self._own
        with label_server(upstream.name):
            try:
                with self._scope:
                    if closed is not None:
                        return
                    if counts:
                        await fleet.starting.acquire()
                        upstream.start(self._share_start)
                    if self.authorizer is not None:
                        await self._prepare(self.authorizer)
                    self._begun = True
                    await self.carrier.run(task_status=self)
            except LinkError as error:
                if self.opened:
                    logger.warning("%s: %s", upstream.name, _in_a_line(str(error)))
            except LifespanError as error:
                logger.warning("%s: %s", upstream.name, error)
                self._end("the lifespan of the server has failed")  # its text is for the log alone
            except Exception:
                logger.exception("%s: a conversation failed", upstream.name)
            finally:
                fleet.processes[upstream.name] -= counts
                fleet.own[upstream.name] -= counts and self._own
                self._started.set()
                if not self._begun:
                    self.link.refused = True
                    upstream.relayed.fault = closed or "closed by this side"
                    self._end(upstream.relayed.fault)
                upstream.ended(self)

    async def _prepare(self, authorizer: "RequestAuthorizer") -> None:
        """Get a token for the first request, while no deadline passes: for as long as one has."""
        with anyio.move_on_after(self.settings.limits.request_timeout):
            await authorizer.prepare()

    def started(self, value: Any = None) -> None:
        """Let the deadlines of requests begin, as the link is open; called by the link.

        Else a modern server that takes long to reach would be taken for a legacy one.
        """
        self._linked = True
        self.machine.postpone(self._made_at, clock())

    async def _share_start(self) -> None:
        """Give room to the next process once this one is ready, has ended, or takes long."""
        with anyio.move_on_after(START_SHARE):
            await self._started.wait()
        self.upstream.fleet.starting.release()

    def _end(self, reason: str) -> None:
        """End a conversation whose link has not run: its requests end with the reason."""
        machine, self._unopened = self.machine, reason
        if isinstance(machine, Peer):
            machine.receive_eof(now=clock(), reason=reason)
        else:
            machine.close(now=clock())
        while (event := machine.next_event()) is not None:
            self.handle(event)

    def hurry(self, seconds: float) -> None:
        """Let a process have no more than a time to end."""
        if isinstance(self.carrier, StreamConnection):
            self.carrier.hurry(seconds)

    async def close(self) -> None:
        """End the conversation; return once its link has ended."""
        self._closing = True
        if self._begun:
            await self.carrier.aclose()
        else:
            self._scope.cancel()


def _in_a_line(text: str) -> str:
    """Return words of a server for the log, in which they make no lines of their own."""
    from mcpcore.auth.metadata import printable  # late: few conversations fail

    return printable(text, _LONGEST)


class _ServedHere:
    """Link of a conversation with a server of this process, which it serves meanwhile."""

    unprovoked = False

    def __init__(self, peer: Peer, app: Conversation, target: targets.MemoryTarget) -> None:
        self._peer = peer
        self._app = app
        self._target = target
        self._link: StreamConnection | None = None
        trace = app.settings.trace
        self.trace = None if trace is None else trace.connection("client")
        """Recorder of the link, which is there before it."""

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Serve the server, and run the link to its end.  Raises LifespanError."""
        target = self._target
        with ungrouped():
            async with anyio.create_task_group() as group:
                self._link = await join_in_memory(
                    self._peer, self._app, target.server, group, target.settings, wire=target.wire
                )
                self._link.trace = self.trace
                await self._link.run(task_status=task_status)

    def flush_soon(self) -> None:
        """Flush the link, once it runs."""
        if self._link is not None:
            self._link.flush_soon()

    async def aclose(self) -> None:
        """End the link."""
        if self._link is not None:
            await self._link.aclose()
