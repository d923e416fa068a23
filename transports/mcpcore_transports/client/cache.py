"""Memory of clients about servers: results, eras, and tools with their schemas."""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import msgspec
from anyio.lowlevel import current_token
from msgspec import Raw, Struct

from mcpcore.engine.config import DEFAULT_TIMEOUT, HeaderParams, Negotiation
from mcpcore.engine.outbound import is_repeatable
from mcpcore.errors import (
    BadPattern,
    CallFailed,
    ConnectionClosed,
    HttpStatusError,
    InvalidResponse,
    PeerError,
    RequestTimeout,
)
from mcpcore.spec.errors import INVALID_PARAMS
from mcpcore.spec.json_schema import header_params
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.model import Maybe
from mcpcore.spec.types.tools import CallToolResult, Tool
from mcpcore.wire.jsontext import Body
from mcpcore_transports import targets
from mcpcore_transports.client.middleware import Outcome
from mcpcore_transports.link import clock

if TYPE_CHECKING:  # the module of connections imports this one
    from mcpcore_transports.client.core import ClientCore, RequestOptions

logger = logging.getLogger("mcpcore.client")

_MADE_STALE_BY: dict[str, tuple[str, ...]] = {
    "notifications/tools/list_changed": ("tools/list",),
    "notifications/prompts/list_changed": ("prompts/list",),
    "notifications/resources/list_changed": (
        *("resources/list", "resources/templates/list", "skills/list", "skills/get"),
    ),
    "notifications/resources/updated": ("resources/read",),
}

_PUBLIC = ""
STALE = "mcpcore/stale"
"""Member of ``_meta`` of what is not fresh, as the server gives nothing now: its age in seconds."""

_Key = tuple[str, str, str, bytes]
"""Key of a result: server, authorization context (empty: any), method, params."""
_Place = tuple[_Key, float | None, object]
"""Key of equal requests: that of their result, their timeout, the event loop they are in."""
_SHARED = (PeerError, RequestTimeout, ConnectionClosed, InvalidResponse, HttpStatusError)
"""Failures of a request for everybody who waits for it; others concern its first caller alone."""


class _Hints(Struct, rename="camel"):
    ttl_ms: Maybe[int | float] = None
    cache_scope: Maybe[str] = None


class Kept(Struct, frozen=True):
    """Result in the cache, with the time at which it becomes stale and the seconds until then."""

    stale_at: float
    ttl: float
    result: Raw

    def stale(self, now: float) -> Raw:
        """Return the result with its age as a stale one, in seconds, in its ``_meta``."""
        members = msgspec.json.decode(self.result, type=dict[str, Any])
        meta = members.get("_meta")
        age = {STALE: max(0.0, now - self.stale_at)}
        members["_meta"] = {**meta, **age} if isinstance(meta, dict) else age
        return Raw(msgspec.json.encode(members))


class ResultCache:
    """Cache of results that servers allow to be kept for a while (2026-07-28, "Caching").

    It may serve several connections.  ``public`` results are shared by all connections to the same
    server, ``private`` ones only within one authorization context: the same server, reached with
    the same headers, and nothing else that may tell who asks.

    It keeps at most ``limit`` results of ``size`` bytes in total; the least used go first.
    ``longest`` is the maximum number of seconds for which a result is fresh, whatever the server
    says.  A result that is asked for in the last part, ``refresh_ahead``, of its time is given at
    once, and fetched again beside that: 0.2 is the last fifth, 0 never.  ``one_flight``: True if
    equal requests at a time are one, on all connections that share private results, with one
    result or error; who is cancelled ends it for nobody else.  ``stale_if_error``: the
    seconds for which a stale result still takes the place of one that the server fails to give; it
    has its age in ``_meta``.  What was announced to have changed is never given.
    """

    def __init__(
        self,
        *,
        limit: int = 1024,
        size: int = 64 * 1024 * 1024,
        longest: float = 24 * 3600.0,
        one_flight: bool = False,
        refresh_ahead: float = 0.0,
        stale_if_error: float = 0.0,
    ) -> None:
        if limit < 1 or size < 1 or longest < 0 or stale_if_error < 0:
            raise ValueError("a cache needs room for one result at least, and no negative time")
        if not 0 <= refresh_ahead <= 1:
            raise ValueError("refresh_ahead is a part of the time, from 0 to 1")
        self.one_flight = one_flight
        self.refresh_ahead = refresh_ahead
        self.stale_if_error = stale_if_error
        self._limit = limit
        self._size = size
        self._longest = longest
        self._used = 0
        self._connections = 0
        self._results: OrderedDict[_Key, Kept] = OrderedDict()
        self._flights: dict[_Place, _SharedRequest] = {}
        """Requests under way, for others who ask for the same."""
        self._drops = 0
        self._changes: OrderedDict[tuple[str, str], int] = OrderedDict()
        """Number of the last drop by server and method, for at most ``limit`` of them."""
        self._older = 0
        """Number of the last drop that was forgotten; results under way before it are stale."""

    def __len__(self) -> int:
        return len(self._results)

    def connect(
        self,
        target: targets.Target,
        headers: Mapping[str, str],
        revision: Revision,
        meta: Mapping[str, Any] | None = None,
    ) -> "ServerCache":
        """Return the view of one connection; results of a server without a URL are not shared.

        ``meta``: members of the ``_meta`` of all its requests, which are other ones without them.
        """
        if isinstance(target, targets.HttpTarget | targets.WebSocketTarget):
            server = f"{revision.name} {target.url}"
            if meta:
                server += f" {_encode(meta).decode()}"
        else:
            self._connections += 1
            server = f"connection {self._connections}"
        sent = sorted((name.lower(), value) for name, value in headers.items())
        context = hashlib.sha256(msgspec.json.encode(sent)).hexdigest()
        return ServerCache(self, server, context)

    def find(self, key: _Key, now: float, *, stale: bool = False) -> Kept | None:
        """Return a result that is still fresh, or also a stale one that may be used; or None."""
        kept = self._results.get(key)
        if kept is None:
            return None
        if now >= kept.stale_at + self.stale_if_error:
            self._forget(key)
            return None
        if now >= kept.stale_at and not stale:
            return None
        self._results.move_to_end(key)
        return kept

    def keep(self, key: _Key, result: Raw, ttl_ms: float, now: float) -> None:
        """Keep a result for ``ttl_ms``, which may be any number."""
        if key in self._results:
            self._forget(key)
        copy = Raw(bytes(result))  # a slice would keep the whole receive buffer alive
        if ttl_ms <= 0 or len(copy) > self._size:
            return
        ttl = min(ttl_ms, self._longest * 1000) / 1000
        self._results[key] = Kept(now + ttl, ttl, copy)
        self._used += len(copy)
        while len(self._results) > self._limit or self._used > self._size:
            self._forget(next(iter(self._results)))

    def drop(self, server: str, method: str) -> None:
        """Drop all results of a method, in every authorization context."""
        self._drops += 1
        self._changes[server, method] = self._drops
        self._changes.move_to_end((server, method))
        if len(self._changes) > self._limit:
            _, self._older = self._changes.popitem(last=False)
        for key in [key for key in self._results if (key[0], key[2]) == (server, method)]:
            self._forget(key)

    def _forget(self, key: _Key) -> None:
        self._used -= len(self._results.pop(key).result)


class _SharedRequest:
    """Request that is under way for all who ask for the same."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self.result: Raw | None = None
        self.error: Exception | None = None
        self.shared = False
        """True if the error concerns everybody who waits."""
        self._waiting = 0

    async def wait(self) -> None:
        """Wait for the end; who is the last to leave before that cancels the request."""
        self._waiting += 1
        try:
            await self.ended.wait()
        finally:
            self._waiting -= 1
            if not self._waiting and not self.ended.is_set():
                self.scope.cancel()


class ServerCache:
    """Results of one connection in the cache."""

    def __init__(self, cache: ResultCache, server: str, context: str) -> None:
        self._cache = cache
        self._server = server
        self._context = context
        self.token: Callable[[], int] = int
        """Function that returns the number of the token that requests have: private results are
        kept for one token."""
        self._unkept: set[str] = set()
        """Methods whose last result could not be kept: nobody waits for the request of another."""

    async def result(
        self,
        method: str,
        params: Body,
        send: Callable[[], Awaitable[Outcome]],
        options: "RequestOptions",
        core: "ClientCore",
    ) -> Raw:
        """Return a result that is kept, or fetch it with ``send``; ``options`` are its own.

        What is fetched for others, too, or ahead is so in a task of ``core``.  Raises PeerError and
        CallFailed.
        """
        own = bool(options.get("meta"))  # its result is one for no other request
        kept = None if own else self.get(method, params, now=clock())
        if kept is not None:
            if self._ages(kept, clock()):  # for whoever comes: without the options of this one
                self._flight(method, params, partial(core.request, method, params), core)
            return kept.result
        try:
            result = None
            if self._cache.one_flight and _plain(options) and method not in self._unkept:
                result = await self._shared(method, params, send, core)
            if result is None:
                result = await self._fetch(method, params, send, keep=not own)
            return result
        except (PeerError, CallFailed) as error:
            from mcpcore_transports.client.policies import blames_server  # late: few have any

            kept = self.get(method, params, now=clock(), stale=True)
            if kept is None or own or not blames_server(error):
                raise
            return kept.stale(clock())

    async def _shared(
        self, method: str, params: Body, send: Callable[[], Awaitable[Outcome]], core: "ClientCore"
    ) -> Raw | None:
        """Return the result of one request for all who ask at a time; None if each sends its own.

        Each gets the error of it, too; if its connection ended, another one sends it.
        """
        while True:
            flight, begun = self._flight(method, params, send, core)
            await flight.wait()
            if begun:
                if flight.error is not None:
                    raise flight.error
                return flight.result
            if flight.result is not None:
                kept = self.get(method, params, now=clock())
                return None if kept is None else kept.result
            if flight.error is not None and flight.shared:
                raise _twin(flight.error) from flight.error.__cause__

    def _flight(
        self, method: str, params: Body, send: Callable[[], Awaitable[Outcome]], core: "ClientCore"
    ) -> tuple[_SharedRequest, bool]:
        """Return the request that is under way for all, and True if it has begun just now."""
        key = self._server, self._own, method, _encode(params)
        place = key, core.settings.limits.request_timeout, current_token()
        flights = self._cache._flights
        if place in flights:
            return flights[place], False
        flight = _SharedRequest()

        async def fly() -> None:
            try:
                with flight.scope:
                    flight.result = await self._fetch(method, params, send)
            except Exception as error:  # middleware may raise anything
                flight.error = error
                flight.shared = isinstance(error, _SHARED) and core.closed is None
            finally:
                del flights[place]
                flight.ended.set()

        core.group.start_soon(fly)
        flights[place] = flight
        return flight, True

    async def _fetch(
        self,
        method: str,
        params: Body,
        send: Callable[[], Awaitable[Outcome]],
        *,
        keep: bool = True,
    ) -> Raw:
        """Send a request; ``keep`` its result if the server allows that."""
        mark, own = self.mark(method), self._own
        try:
            outcome = await send()
        except PeerError as error:
            if error.code == INVALID_PARAMS:
                self.drop(method)  # a refused cursor makes all pages doubtful
            raise
        if keep and not outcome.with_input:
            self.put(method, params, outcome.result, mark, now=clock(), own=own)
        return outcome.result

    @property
    def _own(self) -> str:
        """Authorization context of a request about to be sent."""
        return f"{self._context} {self.token()}"

    def get(self, method: str, params: Body, *, now: float, stale: bool = False) -> Kept | None:
        """See :meth:`ResultCache.find`."""
        encoded = _encode(params)
        for context in (self._own, _PUBLIC):
            found = self._cache.find((self._server, context, method, encoded), now, stale=stale)
            if found is not None:
                return found
        return None

    def _ages(self, kept: Kept, now: float) -> bool:
        """Return True if a fresh result is to be fetched again."""
        ahead = self._cache.refresh_ahead
        return ahead > 0 and now >= kept.stale_at - kept.ttl * ahead

    def mark(self, method: str) -> int:
        """Return a mark for :meth:`put`, to be taken when the request leaves."""
        return self._cache._changes.get((self._server, method), self._cache._older)

    def put(
        self,
        method: str,
        params: Body,
        result: Raw,
        mark: int,
        *,
        now: float,
        own: str | None = None,
    ) -> None:
        """Keep a result for the TTL in it, unless it became stale since ``mark`` was taken.

        ``own``: authorization context at that time.  If it is another one now, nobody knows which
        token a private result was got by.
        """
        if mark != self.mark(method):
            return
        try:
            hints = msgspec.json.decode(result, type=_Hints)
        except msgspec.ValidationError:
            return
        (self._unkept.discard if (hints.ttl_ms or 0) > 0 else self._unkept.add)(method)
        context = _PUBLIC if hints.cache_scope == "public" else self._own
        if own is not None and context not in (_PUBLIC, own):
            return
        key = self._server, context, method, _encode(params)
        self._cache.keep(key, result, hints.ttl_ms or 0, now)

    def notified(self, method: str) -> None:
        """Drop the results that a change notification makes stale."""
        for stale in _MADE_STALE_BY.get(method, ()):
            self.drop(stale)

    def drop(self, method: str) -> None:
        """Drop all results of ``method``, for instance when one of its cursors was refused."""
        self._cache.drop(self._server, method)


def _plain(options: "RequestOptions") -> bool:
    """Return True if there are no options but the default timeout."""
    return all(name == "timeout" and it is DEFAULT_TIMEOUT for name, it in options.items())


def _twin(error: Exception) -> Exception:
    """Return an equal exception, for another one to raise: callers may add to the message."""
    twin = type(error).__new__(type(error), *error.args)
    vars(twin).update(vars(error))
    return twin


def _encode(params: Body) -> bytes:
    return msgspec.json.encode(params, order="sorted")


class EraCache:
    """Cache of the eras of at most ``limit`` servers, each kept for ``ttl`` seconds.

    A server that is known as legacy is not probed; one that is known as modern is, but may take its
    time.  The cache is a hint: a refused handshake is followed by the probe.  Source: versioning
    page of 2026-07-28, "Backward Compatibility with Initialization-Based Versions".
    """

    def __init__(self, *, limit: int = 1024, ttl: float = 3600.0) -> None:
        self._limit = limit
        self._ttl = ttl
        self._eras: OrderedDict[Hashable, tuple[float, Negotiation, bool]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._eras)

    def get(self, key: Hashable, *, now: float) -> Negotiation:
        """Return MODERN, LEGACY, or AUTO for an unknown server."""
        expiry, era, _ = self._eras.get(key, (now, Negotiation.AUTO, False))
        return era if now < expiry else Negotiation.AUTO

    def uses_sse(self, key: Hashable, *, now: float) -> bool:
        """Return True if a server is known to use HTTP+SSE, the transport of 2024-11-05."""
        expiry, _, sse = self._eras.get(key, (now, Negotiation.AUTO, False))
        return sse and now < expiry

    def learn(self, key: Hashable, era: Negotiation, *, now: float, sse: bool = False) -> None:
        """Remember the era of a server, and whether it uses HTTP+SSE."""
        self._eras.pop(key, None)
        self._eras[key] = now + self._ttl, era, sse
        if len(self._eras) > self._limit:
            self._eras.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """Forget a server, after a connection failed with the remembered era."""
        self._eras.pop(key, None)


ERAS = EraCache()
"""Default cache, shared by the connections of this process."""


def place_of(target: targets.Target) -> Hashable:
    """Return the cache key of a server: its address, or how it is started; None in memory."""
    if isinstance(target, targets.HttpTarget | targets.WebSocketTarget):
        parts = urlsplit(target.url)
        return parts.scheme, parts.hostname, parts.port, parts.path
    if isinstance(target, targets.TcpTarget | targets.UnixTarget):
        return target.url
    if isinstance(target, targets.CustomTarget):
        return type(target), target.name
    if isinstance(target, targets.StdioTarget):
        return tuple(target.command), str(target.cwd), frozenset((target.env or {}).items())
    return None


Check = Callable[[Any], list[str]]
"""Function that lists the problems of a value."""


class _Known(Struct):
    """Facts about a tool."""

    tasks: str | None = None
    """Declared support for tasks (2025-11-25)."""
    listed: bool = False
    """True if it was listed since the last change of the list."""
    output: Mapping[str, Any] | None = None
    check: Check | None = None


class ToolBook:
    """Record of the tools on every page of ``tools/list``.

    ``headers`` is the live table of mirrored arguments, ``repeatable`` the live set of tools that
    declare that they may be called twice; both are used by the machine.  ``strict``: leave out
    tools with broken ``x-mcp-header`` annotations, as a client of Streamable HTTP must.
    ``compile_schema`` turns an output schema into a check; it raises BadPattern for a schema that
    it does not support, ValueError for an invalid one.  None: results are not checked.
    ``look_up``: list the tools for the output schema of a tool that was never listed.
    At most ``limit`` tools are remembered, the oldest are forgotten.
    """

    def __init__(
        self,
        headers: dict[str, HeaderParams],
        *,
        strict: bool,
        compile_schema: Callable[[Mapping[str, Any]], Check] | None,
        look_up: bool = True,
        repeatable: set[str] | None = None,
        limit: int = 10_000,
    ) -> None:
        self._headers = headers
        self._strict = strict
        self._compile = compile_schema
        self._limit = limit
        self._wanted = self._look_up = look_up
        self._tools: dict[str, _Known] = {}
        self._repeatable = set() if repeatable is None else repeatable

    def unknown(self, name: str, result: CallToolResult) -> bool:
        """Return True if the tools have to be listed first; at most once until the list changes."""
        if not self._look_up or self._compile is None or self._tools.get(name, _Known()).listed:
            return False
        if result.is_error or not result.is_structured:
            return False
        self._look_up = False
        return True

    def outdated(self, method: str) -> None:
        """Forget the tools if the notification says that their list has changed."""
        if method == "notifications/tools/list_changed":
            for name, known in self._tools.items():
                self._tools[name] = _Known(known.tasks)
            self._repeatable.clear()
            self._look_up = self._wanted

    def task_support(self, name: str) -> str | None:
        """Return a tool's declared support for tasks (2025-11-25), None without one."""
        return self._tools.get(name, _Known()).tasks

    def learn(self, tools: list[Tool]) -> list[Tool]:
        """Remember ``tools``; return the usable ones."""
        return [tool for tool in tools if self._learn(tool)]

    def check(self, name: str, result: CallToolResult) -> bool:
        """Check a result against the tool's output schema; return False if it is :meth:`unknown`.

        Raises InvalidResponse, also for an unusable schema, which permits nothing.
        """
        if self.unknown(name, result):
            return False
        known = self._tools.get(name)
        if known is None or known.output is None or self._compile is None or result.is_error:
            return True
        problem = ""
        if not result.is_structured:
            problem = f"the tool {name!r} promised structured content and gave none"
        else:
            try:
                known.check = known.check or self._compile(known.output)
                if problems := known.check(result.structured_content):
                    problem = f"the result of the tool {name!r} breaks its schema: "
                    problem += "; ".join(problems)
            except BadPattern as error:
                logger.warning("results of the tool %r are not checked: %s", name, error)
                known.output = None
            except ValueError as error:
                problem = f"the output schema of the tool {name!r} is unusable: {error}"
        if problem:
            raise InvalidResponse("tools/call", problem)
        return True

    def _learn(self, tool: Tool) -> bool:
        name = tool.name
        if self._strict:
            try:
                mirrored = header_params(tool.input_schema)
            except ValueError as error:
                logger.warning("the tool %r is left out: %s", name, error)
                self._headers.pop(name, None)
                return False
            self._headers[name] = mirrored
        before = self._tools.pop(name, _Known())
        tasks = None if tool.execution is None else tool.execution.task_support
        same = tool.output_schema == before.output
        known = _Known(tasks, True, tool.output_schema, before.check if same else None)
        self._tools[name] = known
        self._repeatable.discard(name)
        if is_repeatable(tool):
            self._repeatable.add(name)
        if len(self._tools) > self._limit:
            oldest = next(iter(self._tools))
            del self._tools[oldest]
            self._headers.pop(oldest, None)
            self._repeatable.discard(oldest)
        return True
