"""Routes of a gateway: each is a relay between the clients of one endpoint and its servers.

The relay (:mod:`mcpcore.relay.relay`) decides everything about the protocol.  Here its machines
are fed and flushed, and its deadline is kept.
"""

import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import anyio
from anyio.abc import TaskGroup
from msgspec import structs

from mcpcore.engine.config import ANY_EXTENSION, ASKABLE, Config
from mcpcore.engine.events import Event, Key, RequestCancelled, RequestReceived, Violation
from mcpcore.engine.seal import Binding, Seal
from mcpcore.relay.link import PassedCall, UpstreamLink
from mcpcore.relay.names import ListCut, NameConflict
from mcpcore.relay.questions import UNCLEAR
from mcpcore.relay.relay import Relay
from mcpcore.spec.revisions import Revision
from mcpcore_transports.gateway.replicas import BalancedReplicas
from mcpcore_transports.gateway.upstreams import Conversation, Fleet, ServerBehind
from mcpcore_transports.link import Link, clock
from mcpcore_transports.running.functions import current_loop
from mcpcore_transports.running.pending import Handlers
from mcpcore_transports.serve.assembling import ServedRoute
from mcpcore_transports.server.answering import Answering
from mcpcore_transports.server.failures import Failures
from mcpcore_transports.server.input_rounds import OwnSeal
from mcpcore_transports.server.logs import labelled, without_labels
from mcpcore_transports.server.settings import RelayObserver, RuntimeSettings, ServerMachine
from mcpcore_transports.server.violations import ClientViolations
from mcpcore_transports.targets import Replicas, Target

if TYPE_CHECKING:  # late: few sign in, or limit rates
    from mcpcore_transports.gateway.sign_in import SignInDesk
    from mcpcore_transports.server.rate_limits import Throttle

logger = logging.getLogger("mcpcore.gateway")

_DISCOVER_TTL = 3_600_000
"""Maximum milliseconds for which clients may keep what all servers declare, once they are known."""


class RouteSeal(Seal):
    """Seal of one route: the others open nothing that it has sealed."""

    def __init__(self, seal: Seal, path: str | None) -> None:
        self._seal = seal
        self._path = path

    def _bound(self, binding: Binding) -> Binding:
        return structs.replace(binding, method=f"{binding.method} {self._path}")

    def seal(self, payload: bytes, binding: Binding, *, wall: float) -> str:
        """Implement :meth:`Seal.seal <mcpcore.engine.seal.Seal.seal>`."""
        return self._seal.seal(payload, self._bound(binding), wall=wall)

    def open(self, text: str, binding: Binding, *, wall: float) -> bytes:
        """Implement :meth:`Seal.open <mcpcore.engine.seal.Seal.open>`."""
        return self._seal.open(text, self._bound(binding), wall=wall)


class GatewayRoute(ServedRoute):
    """Endpoint that offers what several servers offer together.

    Raises UrlRefused, BadTarget; ValueError for a name that cannot be used.
    """

    def __init__(
        self,
        targets: Mapping[str, Target | Replicas],
        fleet: Fleet,
        *,
        path: str | None = None,
        revisions: Sequence[Revision],
    ) -> None:
        self._fleet = fleet
        self._path = path
        self.runtimes: dict[ServerMachine, GatewayRuntime] = {}
        self.upstreams = {
            name: ServerBehind(
                name,
                target,
                fleet,
                take=self._from_server,
                start=self.start,
                revisions=revisions,
            )
            for name, target in targets.items()
        }
        self.relay = Relay(
            [upstream.relayed for upstream in self.upstreams.values()],
            seal=OwnSeal(),
            place=secrets.token_hex(8),
            settings=fleet.settings.relay,
        )
        self.relay.declared = self._declare
        if fleet.settings.client.trace is not None:
            self.relay.passed = self._correlate
        self.relay.bind = lambda work: partial(copy_context().run, work)
        self._told: object = None
        """Content of the last declaration to the machines of clients."""
        self._hidden: set[NameConflict | ListCut] = set()
        """Conflicts of names that the log has told of."""
        self._to_start: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._wake = anyio.Event()
        self._sleep: anyio.CancelScope | None = None
        self._alarm = math.inf
        self._ahead = 0.0  # seconds by which the clock of the event loop is ahead of ours

    # Endpoint

    def config(self, settings: RuntimeSettings) -> Config:
        """Return the configuration of the clients' machines, as far as the servers are known."""
        info, instructions = self._fleet.settings.client.info, None
        first = next(iter(self.upstreams.values()))
        only = first.relayed.greeting
        if len(self.upstreams) == 1 and only is not None and first.sign_in is None:
            info, instructions = only.info or info, only.instructions
        greetings = [each.relayed.greeting for each in self.upstreams.values()]
        ttls = (each.ttl_ms or 0 for each in greetings if each is not None and each.revision.modern)
        return Config(
            info=info,
            capabilities=self.relay.capabilities(),
            instructions=instructions,
            discover_ttl_ms=min((_DISCOVER_TTL, *ttls)) if all(greetings) else 0,
            revisions=settings.revisions,
            limits=settings.limits,
            header_params=self.relay.header_params,
            has_tool=self.relay.lists.has_mirrored,
            asked_first=ASKABLE,
            extension_methods=ANY_EXTENSION,
        )

    def runtime(self, machine: ServerMachine, settings: RuntimeSettings) -> "GatewayRuntime":
        """Make the app of a machine of clients."""
        if settings.seal is not None and not isinstance(settings.seal, OwnSeal):
            self.relay.seal = RouteSeal(settings.seal, self._path)  # shared by all workers
        machine.declare(self.config(settings))  # it may have been made long before
        if not without_labels(settings.middleware)[1]:
            return GatewayRuntime(self, machine, settings)
        from mcpcore_transports.gateway.middleware import SurroundedRuntime  # late: few have any

        return SurroundedRuntime(self, machine, settings)

    def _declare(self) -> None:
        """Tell the machines of clients what the servers declare now."""
        servers = [each.relayed for each in self.upstreams.values()]
        told = [
            each and (each.info, each.capabilities, each.instructions, each.ttl_ms)
            for server in servers
            for each in (server.greeting, server.handshake)
        ]
        if told != self._told:
            self._told = told
            for machine, runtime in self.runtimes.items():
                machine.declare(self.config(runtime.settings))

    def open_desk(self, desk: "SignInDesk", upstream: ServerBehind) -> None:
        """Let clients sign in at a server, if they do there."""
        if upstream.sign_in is None:
            return
        from mcpcore_transports.gateway.sign_in import ServerDesk  # late: few sign in

        def told(principal: str, id: str | None) -> None:
            self.relay.signed_in(upstream.relayed, principal, id, now=clock())
            self._flush()

        made = ServerDesk(desk, upstream.name, *upstream.sign_in, told, self.start)
        upstream.desk = upstream.relayed.desk = made
        desk.open(made)

    def begin(self, group: TaskGroup) -> None:
        """Begin to talk to the servers, in tasks of ``group``."""
        group.start_soon(self._supervise, group)
        for upstream in self.upstreams.values():
            group.start_soon(self._find, upstream)
            if upstream.replicas is not None:
                group.start_soon(self._probe, upstream, upstream.replicas)

    async def known(self) -> None:
        """Wait until each server that is started now has told its era, or cannot be reached."""
        for upstream in self.upstreams.values():
            while not (upstream.known or upstream.lazy):
                await upstream.changed.wait()

    def close(self, group: TaskGroup, seconds: float) -> None:
        """End the conversations with the servers within a time, in tasks of ``group``."""
        for upstream in self.upstreams.values():
            for conversation in list(upstream.conversations.values()):
                conversation.hurry(seconds)
                group.start_soon(conversation.close)

    # Machines

    def from_client(self, machine: ServerMachine, event: Event) -> None:
        """Hand an event of a machine of clients to the relay."""
        self.relay.from_client(machine, event, now=clock(), wall=time.time())
        self._flush(machine)

    def _correlate(self, call: PassedCall) -> None:
        """Let the traces of both sides of a call tell that it is one."""
        from mcpcore_transports.tracing.tracing import correlate  # late: few record a trace

        event, runtime = call.arrival.event, self.runtimes.get(call.arrival.machine)
        conversation = self.upstreams[call.link.target.name].conversations.get(call.link)
        received = getattr(runtime and runtime.link, "trace", None)
        sent = getattr(conversation and conversation.carrier, "trace", None)
        if received is not None and sent is not None:
            correlate(received, event.route, event.id, sent, call.request)

    def _from_server(self, conversation: Conversation, event: Event) -> None:
        target = conversation.link.target
        told = target.unclear
        self.relay.from_server(conversation.link, event, now=clock(), wall=time.time())
        if target.unclear and not told:
            logger.warning(
                "%s: a question is refused, the first of its kind: %s", target.name, UNCLEAR
            )
        if self.relay.names.conflicts:
            self._tell_conflicts()
        if conversation.link.ended:
            self.start(conversation.close)
        self._flush(None, conversation.link)

    def _tell_conflicts(self) -> None:
        names = self.relay.names
        found, names.conflicts = names.conflicts, []
        for each in found:
            if each not in self._hidden:
                if len(self._hidden) >= self._fleet.settings.relay.names:
                    self._hidden.clear()
                self._hidden.add(each)
                logger.warning("%s", each)

    def _flush(
        self, machine: "ServerMachine | None" = None, link: UpstreamLink | None = None
    ) -> None:
        """Flush the machines that the relay has used, but for the one whose event it was."""
        used, called = self.relay.used, self.relay.called
        while used or called:
            while called:
                front = called.pop()
                runtime = self.runtimes.get(front)
                if front is not machine and runtime is not None:
                    runtime.flush()
            while used:
                each = used.pop()
                conversation = self.upstreams[each.target.name].conversations.get(each)
                if conversation is None:
                    continue
                if each.ended:
                    self.start(conversation.close)
                elif each is not link:
                    conversation.flush()
        deadline = self.relay.deadline()
        if deadline is not None and deadline < self._alarm:
            self._alarm = deadline
            if self._sleep is not None:
                self._sleep.deadline = self._ahead + deadline

    # Tasks

    def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run ``work`` in a task, also from a callback of the event loop, which has none."""
        self._to_start.append(work)
        self._wake.set()

    async def _supervise(self, group: TaskGroup) -> None:
        """Start tasks, and keep the deadline of the relay."""
        while True:
            self._ahead = anyio.current_time() - clock()
            self._alarm = self.relay.deadline() or math.inf
            with anyio.CancelScope(deadline=self._ahead + self._alarm) as self._sleep:
                await self._wake.wait()
            self._wake = anyio.Event()
            while self._to_start:
                group.start_soon(self._to_start.pop(0))
            now = clock()
            due = self.relay.deadline()
            if due is not None and due <= now:
                try:
                    self.relay.handle_timeout(now)
                except Exception:
                    logger.exception("what was due at the gateway has failed")  # and no more
                self._flush()

    async def _find(self, upstream: ServerBehind) -> None:
        """Open a conversation with a server, again and again, while its era is not known."""
        if upstream.sign_in is not None:
            return  # each conversation is of a client that has signed in
        if upstream.lazy:
            await upstream.changed.wait()  # a request has begun the first one
        while True:
            full = all(map(upstream.full, upstream.addresses.values()))
            if not (upstream.relayed.known or upstream.asked or full):
                await anyio.sleep(max(0.0, upstream.ready_at - clock()))
                self.relay.open(upstream.relayed, now=clock())
                self._flush()
            await upstream.changed.wait()

    async def _probe(self, upstream: ServerBehind, replicas: BalancedReplicas) -> None:
        """Ask replicas for a sign of life when their health says so."""
        while True:
            await anyio.sleep(max(0.0, replicas.deadline(clock()) - clock()))
            for replica, method in replicas.due(clock()):
                self.relay.probe(upstream.relayed, replica, method, now=clock())
            self._flush()


class GatewayRuntime(Answering):
    """App of one machine of the clients of a route; it limits their rates."""

    def __init__(
        self, route: "GatewayRoute", machine: ServerMachine, settings: RuntimeSettings
    ) -> None:
        self.link: Link | None = None
        self.settings = settings
        self.machine = machine
        self.failures = Failures(settings)
        self._route = route
        route.runtimes[machine] = self
        self._observed: RelayObserver | None = None
        if settings.observer is not None:
            self._observed = settings.observer.relayed(machine)
            route.relay.stand_ins[machine] = cast(Any, self._observed)
        self.replies: Any = self._observed or machine
        """Machine for answers, or what takes them in its place to observe them."""
        self.throttle: Throttle | None = None
        if settings.limiter is not None:
            from mcpcore_transports.server import rate_limits  # late: few limit rates

            self.throttle = rate_limits.Throttle(settings, machine, self.failures)
        self._labels, _ = without_labels(settings.middleware)
        self._handlers: Handlers
        """Requests about which the rate limiter has not decided, or that are in middleware."""
        self._violations = ClientViolations(settings.suspicion)

    async def run(self, link_run: Callable[[], Awaitable[object]]) -> None:
        """Run the link to its end."""
        try:
            async with anyio.create_task_group() as group:
                self._handlers = Handlers(group, self._release, current_loop())
                try:
                    await link_run()
                finally:
                    self._handlers.stop()
                    group.cancel_scope.cancel()
        finally:
            del self._route.runtimes[self.machine]
            self._route.relay.stand_ins.pop(self.machine, None)
            if self._observed is not None:
                self._observed.close()

    def handle(self, event: Event) -> None:
        """Take an event of the machine."""
        if self._labels and isinstance(event, RequestReceived):
            with labelled(event):
                self._handle(event)
        else:
            self._handle(event)

    def _handle(self, event: Event) -> None:
        if isinstance(event, Violation):
            self._violations.hear(event)
        elif self.throttle is not None and isinstance(event, RequestReceived):
            self._limit(self.throttle, event)
        else:
            self._pass(event)

    def _on_request(self, event: RequestReceived) -> None:
        self._pass(event)

    def _pass(self, event: Event) -> None:
        """Hand on an event; one that begins or cancels a request is observed."""
        if self._observed is not None:
            if isinstance(event, RequestReceived):
                event = self._observed.begin(event)
            elif isinstance(event, RequestCancelled):
                self._observed.end(event.key, cancelled=True)
        if isinstance(event, RequestCancelled) and event.key in self._handlers:
            self._handlers.cancel(event.key, event.reason)
        else:
            self.relay(event)

    def relay(self, event: Event) -> None:
        """Hand an event to the relay."""
        self._route.from_client(self.machine, event)

    async def _begin_later(self, event: RequestReceived, later: Awaitable[None]) -> None:
        try:
            await super()._begin_later(event, later)
        except Exception:  # the relay has answered; the requests of others go on
            logger.exception("a request could not be passed on")
            self.flush()

    def _release(self, key: Key) -> None:
        """Forget a cancelled request, whose handler has ended."""
        self.replies.release(key)
        self.flush()
