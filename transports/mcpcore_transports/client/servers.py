"""Several servers in one program: merged lists, calls to the server that offers the thing.

::

    targets = {"files": ["files-server"], "web": "https://example.com/mcp"}
    async with connect_all(targets) as servers:
        for tool in (await servers.tools()).items:
            print(tool.name)
        result = await servers.call_tool("files__read", {"path": "notes.txt"})
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack

import anyio
from msgspec import Raw, Struct, field, structs

from mcpcore import errors
from mcpcore.engine.config import DEFAULT_TIMEOUT
from mcpcore.engine.events import Event, Fault, FaultKind
from mcpcore.engine.outbound import is_repeatable, may_repeat
from mcpcore.policy.failover import Failover, may_go_elsewhere
from mcpcore.policy.retrying import RetriedCall, Retrying
from mcpcore.relay.names import NameConflict, NameKind, Names, Naming
from mcpcore.spec import types
from mcpcore.spec.bounds import check_numbers
from mcpcore.spec.capabilities import declares
from mcpcore.spec.methods import METHODS
from mcpcore.wire.jsontext import to_json
from mcpcore_transports.client.cache import STALE
from mcpcore_transports.client.client import Client
from mcpcore_transports.client.core import RequestOptions
from mcpcore_transports.client.errors import promised
from mcpcore_transports.client.managed import (
    Availability,
    ManagedConnection,
    ServerOptions,
    TargetHealth,
)
from mcpcore_transports.client.policies import blames_server, request_failure
from mcpcore_transports.client.tasks import CALL
from mcpcore_transports.link import clock
from mcpcore_transports.running.functions import DetachedGroup
from mcpcore_transports.targets import Replicas

if TYPE_CHECKING:  # few load skills
    from mcpcore_transports.client.skills import LoadedSkill

logger = logging.getLogger("mcpcore.client")

T = TypeVar("T")
R = TypeVar("R", bound=Struct)

_READ = "resources/read"


class ServersSettings(Struct, frozen=True, kw_only=True):
    """Settings for several servers.  Raises ValueError."""

    naming: Naming | None = None
    """Naming of tools, prompts and resources; None: ALWAYS for several servers, else NEVER."""
    max_servers: int = 64
    """Maximum servers in one block."""
    max_starts: int = 4
    """Maximum connections that begin at a time; one that takes over a second no longer counts."""
    max_names: int = 100_000
    """Maximum names that are remembered where they do not tell their server."""
    max_kept: int = 10_000
    """Maximum items of a list that is kept for the time when its server is away."""

    def __post_init__(self) -> None:
        check_numbers(self)


class ServerEvent(Event, frozen=True, kw_only=True, gc=False):
    """Event of a policy or of a connection, with the server that it concerns."""

    server: str
    target: str | None
    """Name of the target, None if it concerns the whole server."""
    event: Event


class MergedList(Struct, Generic[T], frozen=True):
    """Items of all servers, in the order of the servers, and what is missing among them."""

    items: list[T]
    failures: Mapping[str, Exception]
    """Failure of each server that gave no list."""
    stale: Mapping[str, float]
    """Age, in seconds, of the list of each failed server whose last list was used."""
    conflicts: Sequence[NameConflict]

    @property
    def complete(self) -> bool:
        """True if nothing is missing or stale."""
        return not self.failures and not self.conflicts


class _LastList(Struct):
    since: float
    items: list[Any]


class _MergedServer(Struct, eq=False):
    name: str
    options: ServerOptions
    connections: dict[str, ManagedConnection]
    failover: Failover
    retrying: Retrying
    in_flight: int = 0
    repeatable: frozenset[str] = frozenset()
    """Names of the tools that were listed as read-only or idempotent."""
    lists: dict[str, _LastList] = field(default_factory=dict)
    """The last list of each method."""

    @property
    def sticky(self) -> bool:
        """True if it may be of the legacy era, in which a session is known to one target."""
        clients = (each.client for each in self.connections.values())
        legacy = [client.revision.handshake for client in clients if client is not None]
        return not legacy or any(legacy)


class _ListMethod(Struct, frozen=True):
    """List of one method: function of the client, type of its result and the member there."""

    fetch: Callable[[Client], Awaitable[list[Any]]]
    page: type[Any]
    member: str


_LISTINGS: Mapping[str, _ListMethod] = {
    "tools/list": _ListMethod(Client.tools, types.ListToolsResult, "tools"),
    "prompts/list": _ListMethod(Client.prompts, types.ListPromptsResult, "prompts"),
    "resources/list": _ListMethod(Client.resources, types.ListResourcesResult, "resources"),
    "resources/templates/list": _ListMethod(
        Client.resource_templates, types.ListResourceTemplatesResult, "resource_templates"
    ),
    "skills/list": _ListMethod(Client.skills, types.ListSkillsResult, "skills"),
}
_CAPABILITIES = {row.name: row.capability for row in METHODS if row.name in _LISTINGS}
_LISTS_OF: Mapping[NameKind, tuple[str, ...]] = {
    NameKind.TOOL: ("tools/list",),
    NameKind.PROMPT: ("prompts/list",),
    NameKind.URI: ("resources/list", "resources/templates/list", "skills/list"),
}


def log_server_event(event: ServerEvent) -> None:
    """Log an event of a server."""
    where = event.server if event.target is None else f"{event.server} ({event.target})"
    logger.info("%s: %s", where, event.event)


class Servers:
    """Several servers as one, made by :func:`connect_all`.

    Names of tools and prompts, and URIs, are those of :class:`~mcpcore.relay.names.Names`, such as
    ``server__tool`` and ``server+file:///path``.  A request goes to the server that offers the
    thing, with the retries, the circuit breaker and the balancing of its
    :class:`ServerOptions`; it raises what a :class:`~mcpcore.Client` raises, ServerUnavailable if
    there is no connection, and RequestRefused for a name that no server has.
    """

    def __init__(
        self,
        servers: Mapping[str, ServerOptions],
        settings: ServersSettings,
        report: Callable[[ServerEvent], object],
    ) -> None:
        self.settings = settings
        self._names = Names(tuple(servers), settings.naming, settings.max_names)
        self._options = servers
        self._report = report
        self._servers: dict[str, _MergedServer] = {}
        self._tasks: DetachedGroup
        self._open = False

    async def __aenter__(self) -> "Servers":
        if self._open:
            raise errors.LocalProtocolError("these are open: call connect_all() for others")
        self._open = True
        self._tasks = DetachedGroup()
        try:
            await self._tasks.begin()
        except BaseException:
            self._open = False
            raise
        starts = anyio.Semaphore(self.settings.max_starts)
        for name, options in self._options.items():
            self._servers[name] = self._make(name, options, starts)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        for server in self._servers.values():
            for connection in server.connections.values():
                connection.close()
        # An exception of the caller must not come out wrapped in a group.
        cancelled = isinstance(exc, anyio.get_cancelled_exc_class())
        try:
            swallowed = await self._tasks.end(exc if cancelled else None)
        finally:
            self._open = False
        return swallowed if cancelled else None

    def _make(self, name: str, options: ServerOptions, starts: anyio.Semaphore) -> _MergedServer:
        failover = Failover(options.groups(), options.balance, seed=secrets.token_bytes(16))
        connections = {
            key: ManagedConnection(
                name,
                key,
                target,
                options,
                self._tasks.group,
                starts,
                partial(self._tell, name, key),
                partial(failover.mark, key),
            )
            for key, target in options.by_name().items()
        }
        retrying = Retrying(options.retry, seed=secrets.token_bytes(16))
        return _MergedServer(name, options, connections, failover, retrying)

    def _tell(self, server: str, target: str | None, event: Event) -> None:
        try:
            self._report(ServerEvent(server=server, target=target, event=event))
        except Exception:
            logger.exception("the report of an event failed")

    # Lists

    async def tools(self) -> MergedList[types.Tool]:
        """Return the tools of all servers."""
        return await self._merged("tools/list")

    async def prompts(self) -> MergedList[types.Prompt]:
        """Return the prompts of all servers."""
        return await self._merged("prompts/list")

    async def resources(self) -> MergedList[types.Resource]:
        """Return the resources of all servers."""
        return await self._merged("resources/list")

    async def resource_templates(self) -> MergedList[types.ResourceTemplate]:
        """Return the resource templates of all servers."""
        return await self._merged("resources/templates/list")

    async def skills(self) -> MergedList[types.Skill]:
        """Return the skills of all servers; their URIs, with those of their files, say whose."""
        return await self._merged("skills/list")

    async def _merged(self, method: str) -> MergedList[Any]:
        found: dict[str, list[Any]] = {}
        failures: dict[str, Exception] = {}
        stale: dict[str, float] = {}

        async def collect(server: _MergedServer) -> None:
            try:
                with anyio.fail_after(server.options.list_timeout) as limit:
                    found[server.name] = await self._list(server, method, limit)
            except Exception as error:  # a middleware may raise anything
                failures[server.name] = _timed_out(method, server, error)
                kept = server.lists.get(method)
                age = 0.0 if kept is None else clock() - kept.since
                if kept is not None and age <= server.options.stale:
                    stale[server.name] = age
                    found[server.name] = [_marked(item, age) for item in kept.items]

        async with anyio.create_task_group() as group:
            for server in self._servers.values():
                group.start_soon(collect, server)
        listing = _LISTINGS[method]
        self._names.conflicts = []  # of names in results
        items: list[Any] = []
        for name in self._servers:
            page = listing.page(**{listing.member: found.get(name, [])})
            items += getattr(self._outward(method, name, page), listing.member)
            if name in found:
                self._names.read.add((name, method))
        return MergedList(items, failures, stale, self._conflicts())

    async def _list(
        self, server: _MergedServer, method: str, limit: anyio.CancelScope
    ) -> list[Any]:
        """Return the list of one server, with its own names."""
        listing = _LISTINGS[method]

        async def fetch(client: Client, _: float | None) -> list[Any]:
            if not declares(client.capabilities, _CAPABILITIES[method] or ""):
                return []
            connection = next(it for it in server.connections.values() if it.client is client)
            with connection.still.within(limit):  # else a sign-in would be broken off
                return await listing.fetch(client)

        items = await self._routed(server, method, fetch, repeatable=True, patient=False)
        if method == "tools/list":
            server.repeatable = frozenset(tool.name for tool in items if is_repeatable(tool))
        server.lists.pop(method, None)
        if server.options.stale and len(items) <= self.settings.max_kept:
            server.lists[method] = _LastList(clock(), items)
        return items

    def _conflicts(self) -> list[NameConflict]:
        """Return, and log, the conflicts of names that were found since the last list."""
        found = [each for each in self._names.conflicts if isinstance(each, NameConflict)]
        self._names.conflicts = []
        for each in found:
            logger.warning("%s", each)
        return found

    # Requests

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        **options: Unpack[RequestOptions],
    ) -> types.CallToolResult:
        """Call a tool, as :meth:`~mcpcore.Client.call_tool` does.

        It is retried, or sent to another target, only if that cannot carry it out twice, or if it
        may be: by ``repeat``, or for a tool that was listed as read-only or idempotent.
        """
        server, own = await self._owner(NameKind.TOOL, name, CALL)
        repeatable = may_repeat(
            CALL, to_json({"name": own}), options.get("repeat"), server.repeatable
        )

        async def send(client: Client, left: float | None) -> types.CallToolResult:
            return await client.call_tool(own, arguments, **_within(options, left))

        result = await self._routed(server, CALL, send, repeatable=repeatable, options=options)
        return self._outward(CALL, server.name, result)

    async def read_resource(
        self, uri: str, **options: Unpack[RequestOptions]
    ) -> types.ReadResourceResult:
        """Return a resource's contents."""
        server, own = await self._owner(NameKind.URI, uri, _READ)

        async def send(client: Client, left: float | None) -> types.ReadResourceResult:
            return await client.read_resource(own, **_within(options, left))

        try:
            result = await self._routed(server, _READ, send, repeatable=True, options=options)
        except errors.PeerError as error:
            data = error.error.data
            if data is None:
                raise
            outer = self._names.outward_in(f"{_READ} error", server.name, data)
            raise errors.PeerError(_READ, structs.replace(error.error, data=outer)) from error
        return self._outward(_READ, server.name, result)

    async def get_skill(self, uri: str, **options: Unpack[RequestOptions]) -> types.GetSkillResult:
        """Return the entry of a skill, listed or not, by the URI of its ``SKILL.md``."""
        method = "skills/get"
        server, own = await self._owner(NameKind.URI, uri, method)

        async def send(client: Client, left: float | None) -> types.GetSkillResult:
            return await client.get_skill(own, **_within(options, left))

        result = await self._routed(server, method, send, repeatable=True, options=options)
        return self._outward(method, server.name, result)

    async def load_skill(self, skill: types.Skill | str, *, dynamic: bool = False) -> "LoadedSkill":
        """Read the ``SKILL.md`` of a skill, and check it, as :meth:`~mcpcore.Client.load_skill`."""
        from mcpcore_transports.client.skills import load  # late: few load skills

        return await load(self, skill, dynamic=dynamic)

    def forget_skills(self) -> None:
        """Drop what the open conversations have cached of skills and of contents."""
        for server in self._servers.values():
            for connection in server.connections.values():
                if connection.client is not None:
                    connection.client.forget_skills()

    async def get_prompt(
        self,
        name: str,
        arguments: Mapping[str, str] | None = None,
        **options: Unpack[RequestOptions],
    ) -> types.GetPromptResult:
        """Return a prompt with its arguments filled in."""
        method = "prompts/get"
        server, own = await self._owner(NameKind.PROMPT, name, method)

        async def send(client: Client, left: float | None) -> types.GetPromptResult:
            return await client.get_prompt(own, arguments, **_within(options, left))

        result = await self._routed(server, method, send, repeatable=True, options=options)
        return self._outward(method, server.name, result)

    async def complete(
        self,
        ref: types.PromptReference | types.ResourceTemplateReference,
        argument: str,
        value: str,
        *,
        known: Mapping[str, str] | None = None,
        **options: Unpack[RequestOptions],
    ) -> types.CompleteResult:
        """Return completions, as :meth:`~mcpcore.Client.complete` does."""
        method = "completion/complete"
        own: types.PromptReference | types.ResourceTemplateReference
        if isinstance(ref, types.PromptReference):
            server, name = await self._owner(NameKind.PROMPT, ref.name, method)
            own = structs.replace(ref, name=name)
        else:
            server, uri = await self._owner(NameKind.URI, ref.uri, method)
            own = structs.replace(ref, uri=uri)

        async def send(client: Client, left: float | None) -> types.CompleteResult:
            return await client.complete(
                own, argument, value, known=known, **_within(options, left)
            )

        return await self._routed(server, method, send, repeatable=True, options=options)

    async def client(self, server: str) -> Client:
        """Return the open conversation with a server, for all that is not in this class.

        Its names are the server's own, and no policy but the circuit breaker is around its
        requests.  It may be closed when the connection is lost.  Raises KeyError for an unknown
        server, ServerUnavailable.
        """
        known = self._servers[server]
        connection = next(
            (each for each in known.connections.values() if each.state is Availability.OPEN),
            next(iter(known.connections.values())),
        )
        return await connection.opened("client", patient=True)

    def health(self) -> dict[str, list[TargetHealth]]:
        """Return the health of every server's targets, those of ``fallback`` last."""
        return {
            name: [connection.health() for connection in server.connections.values()]
            for name, server in self._servers.items()
        }

    # Routes

    async def _owner(self, kind: NameKind, name: str, method: str) -> tuple[_MergedServer, str]:
        """Return the server of a name, and the name there; list, once, if only lists tell."""
        found = self._find(kind, name)
        missing: set[str] = set()
        if found is None and self._names.listed:
            for listed in _LISTS_OF[kind]:
                missing.update((await self._merged(listed)).failures)
            found = self._find(kind, name)
        if found is None:
            hint = f"; no list was had from {', '.join(sorted(missing))}" if missing else ""
            raise errors.RequestRefused(method, f"no server has a {kind.value} {name!r}{hint}")
        server, own = found
        return self._servers[server], own

    def _find(self, kind: NameKind, name: str) -> tuple[str, str] | None:
        if self._names.plain:
            return next(iter(self._servers)), name
        found = self._names.inward(kind, name)
        if found is None and kind is NameKind.URI and self._names.listed:
            found = self._names.owner_of_uri(name)
        return found

    def _outward(self, method: str, server: str, result: R) -> R:
        """Return a result with the names for the program."""
        raw = Raw(to_json(result))
        outer = self._names.outward_in(method, server, raw)
        return result if outer is raw else promised(outer, type(result), method)

    async def _routed(
        self,
        server: _MergedServer,
        method: str,
        send: Callable[[Client, float | None], Awaitable[T]],
        *,
        repeatable: bool,
        options: RequestOptions | None = None,
        patient: bool = True,
    ) -> T:
        """Send a request to a server, again if that is allowed; ``send`` gets the time left."""
        if server.in_flight >= server.options.in_flight:
            text = f"the server {server.name!r} has {server.in_flight} requests already"
            raise errors.RequestRefused(method, text)
        timeout: float | None = (options or {}).get("timeout", DEFAULT_TIMEOUT)
        if timeout is DEFAULT_TIMEOUT:
            timeout = server.options.settings.limits.request_timeout
        call = server.retrying.begin(now=clock(), timeout=timeout)
        server.in_flight += 1
        try:
            while True:
                try:
                    return await self._attempt(server, method, send, call, repeatable, patient)
                except (errors.PeerError, errors.CallFailed) as error:
                    if not patient and isinstance(error, errors.ServerUnavailable):
                        raise
                    failure = request_failure(error)
                    delay = server.retrying.failed(
                        call, failure, repeatable=repeatable, now=clock()
                    )
                    if delay is None:
                        raise
                finally:
                    self._drain(server)
                await anyio.sleep(delay)
        except errors.CallFailed as error:
            if not isinstance(error, errors.ServerUnavailable):
                error.args = (f"server {server.name!r}: {error}", *error.args[1:])
            raise
        finally:
            server.in_flight -= 1

    async def _attempt(
        self,
        server: _MergedServer,
        method: str,
        send: Callable[[Client, float | None], Awaitable[T]],
        call: RetriedCall,
        repeatable: bool,
        patient: bool,
    ) -> T:
        """Send a request to one target after the other, while each has certainly failed."""
        tried: set[str] = set()
        problem: errors.PeerError | errors.CallFailed = errors.RequestRefused(
            method, "no target is usable"
        )
        while True:
            chosen = server.failover.choose(now=clock(), sticky=server.sticky, without=tried)
            if chosen is None:
                raise problem
            failed = None
            waits = patient and len(tried) + 1 == len(server.connections)
            connection = server.connections[chosen]
            try:
                client = None
                with anyio.move_on_after(_left(call)) as limit, connection.still.within(limit):
                    client = await connection.opened(method, patient=waits)
                if call.deadline is not None:
                    call.deadline = clock() + limit.deadline - anyio.current_time()
                if client is None:
                    fault = Fault(FaultKind.CONNECT_TIMEOUT)
                    text = "there was no connection in time"
                    raise errors.ServerUnavailable(method, server.name, text, None, fault)
                result = await send(client, _left(call))
                failed = False
                return result
            except (errors.PeerError, errors.CallFailed) as error:
                failed, problem = blames_server(error), error
                if not may_go_elsewhere(request_failure(error), repeatable):
                    raise
                tried.add(chosen)
            finally:
                server.failover.record(chosen, failed=failed, now=clock())

    def _drain(self, server: _MergedServer) -> None:
        """Report the events of a server's policies."""
        for policy in (server.failover, server.retrying):
            while (event := policy.next_event()) is not None:
                self._tell(server.name, None, event)


def connect_all(
    servers: Mapping[str, Any],
    *,
    settings: ServersSettings | None = None,
    report: Callable[[ServerEvent], object] = log_server_event,
) -> Servers:
    """Connect to several servers for the time of an ``async with`` block; yields :class:`Servers`.

    ``servers``: by name, anything that :func:`~mcpcore.connect` takes, or :class:`ServerOptions`;
    also what :func:`~mcpcore.load_targets` returns for an ``mcp.json``.  A name is a letter, then
    up to 31 letters, digits, hyphens, and single dots or underscores between them.  Each server is
    connected to when it is first needed, beside all others.  ``report`` takes every event; what it
    raises is logged.

    Raises ValueError for a name that cannot be used and for too many servers, BadTarget.
    """
    settings = settings or ServersSettings()
    if not 1 <= len(servers) <= settings.max_servers:
        raise ValueError(f"expected 1 to {settings.max_servers} servers, not {len(servers)}")
    options = {name: _options(name, given) for name, given in servers.items()}
    return Servers(options, settings, report)


def _options(server: str, given: Any) -> ServerOptions:
    if isinstance(given, ServerOptions):
        return given
    if isinstance(given, Replicas):
        return ServerOptions(**structs.asdict(given))
    try:
        return ServerOptions(targets=(given,))
    except errors.BadTarget as error:
        raise errors.BadTarget(f"server {server!r}: {error}") from None


def _within(options: RequestOptions, left: float | None) -> RequestOptions:
    """Return the options of one attempt: a timeout that the caller gave is for all of them."""
    return {**options, "timeout": left} if "timeout" in options else options


def _left(call: RetriedCall) -> float | None:
    return None if call.deadline is None else max(0.0, call.deadline - clock())


def _timed_out(method: str, server: _MergedServer, error: Exception) -> Exception:
    if type(error) is not TimeoutError:
        return error
    text = f"server {server.name!r}: no list within {server.options.list_timeout:g} s"
    return errors.RequestTimeout(method, text)


def _marked(item: Any, age: float) -> Any:
    """Return an item with its age in ``_meta``, if it has one; skills have none."""
    if not hasattr(item, "meta"):
        return item
    return structs.replace(item, meta={**(item.meta or {}), STALE: age})
