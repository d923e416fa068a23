"""Client: connect to a server, call it, listen to it, over every transport and in both eras.

::

    async with connect("http://127.0.0.1:8000/mcp") as client:
        result = await client.call_tool("add", {"a": 1, "b": 2})
"""

import logging
import math
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Unpack, cast, overload

import anyio
from msgspec import Raw, structs

from mcpcore import errors
from mcpcore.engine.config import DEFAULT_TIMEOUT, Config, HeaderParams, Negotiation, Role
from mcpcore.engine.events import Ready
from mcpcore.engine.outbound import check_log_level
from mcpcore.engine.peer import Peer
from mcpcore.http.client.client import HttpClient
from mcpcore.spec import types
from mcpcore.spec.errors import HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND
from mcpcore.spec.members import known_members, unknown_members
from mcpcore.spec.methods import lookup, probe_method
from mcpcore.spec.revisions import REVISIONS, Revision, parse_revisions
from mcpcore.wire.jsontext import Body
from mcpcore_transports.client.cache import ERAS, ResultCache, ServerCache, ToolBook, place_of
from mcpcore_transports.client.callbacks import Callbacks, Roots, checked_roots
from mcpcore_transports.client.core import ClientCore, ClientSettings, RequestOptions
from mcpcore_transports.client.errors import promised
from mcpcore_transports.client.links import (
    authorizer_for,
    fixed_headers,
    http_link,
    http_machine,
    stream_link,
)
from mcpcore_transports.client.listen import Listening
from mcpcore_transports.client.middleware import ClientMiddleware
from mcpcore_transports.client.reconnect import ReconnectingLink, ReconnectingStream
from mcpcore_transports.client.tasks import CALL, ClientTasks
from mcpcore_transports.link import Link, clock
from mcpcore_transports.running.functions import (
    DetachedGroup,
    current_loop,
    first_of,
    guard_tasks,
)
from mcpcore_transports.server.failures import RaisedExceptions
from mcpcore_transports.stream.settings import ProcessSettings
from mcpcore_transports.targets import (
    HttpTarget,
    MemoryTarget,
    SseTarget,
    StdioTarget,
    Target,
    WebSocketTarget,
    named,
    parse_target,
)

if TYPE_CHECKING:  # each is imported with the transport or feature that needs it
    from mcpcore_transports.auth.exchange import UpstreamTokens
    from mcpcore_transports.client.skills import LoadedSkill
    from mcpcore_transports.http.client.adapter import HttpClientLike
    from mcpcore_transports.http.client.authorization import Auth
    from mcpcore_transports.http.client.client import HttpClientLink, RequestHeaders
    from mcpcore_transports.tracing.tracing import TraceTo

logger = logging.getLogger("mcpcore.client")

T = TypeVar("T")

P = TypeVar("P", bound="Page")


class Page(Protocol):
    """A page of a list."""

    next_cursor: str | None


class Client:
    """An open conversation with a server, made by :func:`connect`.

    Every method that sends a request raises :class:`PeerError` for an error of the server, and a
    subclass of :class:`CallFailed` (timeout, closed connection, invalid response) for a failure on
    this side.  What the revision does not have, or the server has not declared, is not sent:
    LocalProtocolError, :class:`CapabilityMissing`.  ``timeout`` and other options are described in
    :class:`~mcpcore_transports.client.core.RequestOptions`.  Cancelling the caller cancels the
    request.
    """

    def __init__(
        self,
        core: ClientCore,
        ready: Ready,
        tools: ToolBook,
        cache: ServerCache | None,
        *,
        max_pages: int,
    ) -> None:
        self._core = core
        self._first = ready
        self._cache = cache
        self._max_pages = max_pages
        if ready.info is not None:
            _drop_unsafe_icons([ready.info])
        self._tools = tools

    @property
    def _ready(self) -> Ready:
        """Outcome of the latest negotiation."""
        return self._core.ready or self._first

    @property
    def revision(self) -> Revision:
        """The negotiated revision; a later connection may bring another one."""
        return self._ready.revision

    @property
    def server_info(self) -> types.Implementation | None:
        """The server's name and version according to itself."""
        return self._ready.info

    @property
    def capabilities(self) -> types.ServerCapabilities:
        """Capabilities that the server has declared."""
        return self._core.capabilities

    @property
    def instructions(self) -> str | None:
        """The server's instructions for its users, as far as middleware passes them on."""
        return self._core.introduced(self._ready.instructions)

    @property
    def supported(self) -> tuple[str, ...]:
        """The revisions that the server named (modern), or the negotiated one."""
        return self._ready.supported or (self._ready.revision.name,)

    @property
    def closed(self) -> str | None:
        """Reason for the end of the connection, None while it is open."""
        return self._core.closed

    # Requests

    @overload
    async def request(
        self, method: str, params: Body = None, **options: Unpack[RequestOptions]
    ) -> Raw: ...

    @overload
    async def request(
        self, method: str, params: Body, expected: type[T], **options: Unpack[RequestOptions]
    ) -> T: ...

    async def request(
        self,
        method: str,
        params: Body = None,
        expected: Any = Raw,
        **options: Unpack[RequestOptions],
    ) -> Any:
        """Send any request; return its result as ``expected``, raw by default.

        A result that the server allowed to be cached is returned while it is fresh, except for a
        request with ``meta`` of its own, whose result is not kept either.
        """
        if self._core.closed is not None:
            raise errors.ConnectionClosed(method, self._core.closed)
        row = lookup(method, "client", self.revision)
        cache = self._cache if row is not None and row.cacheable else None
        if cache is None:
            outcome = await self._core.request(method, params, **options)
            return promised(outcome.result, expected, method)
        if unknown := options.keys() - RequestOptions.__annotations__.keys():
            raise TypeError(f"request() has no option {min(unknown)!r}")
        send = partial(self._core.request, method, params, **options)
        result = await cache.result(method, params, send, options, self._core)
        return promised(result, expected, method)

    async def _page(
        self, method: str, cursor: str | None, expected: type[T], timeout: float | None
    ) -> T:
        params = None if cursor is None else {"cursor": cursor}  # an empty cursor is valid
        page = await self.request(method, params, expected, timeout=timeout)
        for member in ("tools", "prompts", "resources", "resource_templates"):
            _drop_unsafe_icons(getattr(page, member, ()))
        return page

    async def _all(
        self,
        fetch: Callable[..., Awaitable[P]],
        items: Callable[[P], list[T]],
        *,
        again: bool = True,
    ) -> list[T]:
        """Return all pages of a list; start again, once, if a cursor is refused."""
        found: list[T] = []
        cursors: set[str | None] = {None}
        cursor: str | None = None
        endless = f"the limit is {self._max_pages}"
        for _ in range(self._max_pages):
            try:
                page = await fetch(cursor)
            except errors.PeerError as error:
                if error.code == INVALID_PARAMS and cursor is not None and again:
                    return await self._all(fetch, items, again=False)
                raise
            found += items(page)
            cursor = page.next_cursor
            if cursor is None:
                return found
            if cursor in cursors:
                endless = f"they lead back to the cursor {cursor!r}"
                break
            cursors.add(cursor)
        raise errors.InvalidResponse("pagination", f"the server's pages do not end ({endless})")

    # Tools

    async def list_tools(
        self, cursor: str | None = None, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> types.ListToolsResult:
        """Return one page of tools; :meth:`tools` returns all of them."""
        result = await self._page("tools/list", cursor, types.ListToolsResult, timeout)
        result.tools = self._tools.learn(result.tools)
        return result

    async def tools(self) -> list[types.Tool]:
        """Return all tools."""
        return await self._all(self.list_tools, lambda page: page.tools)

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        **options: Unpack[RequestOptions],
    ) -> types.CallToolResult:
        """Call a tool; a failure of the tool is a result with ``is_error``.

        Questions of the server during the call are answered through the callbacks.  If the call
        becomes a task, the task is followed to its end; an explicit ``timeout`` bounds that too.  A
        result that violates the tool's output schema raises InvalidResponse, if it can be checked;
        for that the tools are listed if they were not (``ClientSettings.look_up_tools``).

        By default ``repeat`` is True for tools that were listed as read-only or idempotent.
        """
        if unknown := options.keys() - RequestOptions.__annotations__.keys():
            text = f"call_tool() has no option {min(unknown)!r}"
            raise TypeError(f"{text}; the arguments of a tool are one mapping")
        core, tasks = self._core, self._core.tasks
        params: dict[str, Any] = {"name": name}
        if arguments is not None:
            params["arguments"] = arguments
        listed = False
        while True:
            if tasks.options is not None:
                tasks.add_terms(params, self._tools.task_support(name))
            try:
                outcome = await core.request(CALL, params, **options)
                break
            except errors.PeerError as error:
                as_task = error.code == METHOD_NOT_FOUND and tasks.experimental
                if listed or (error.code != HEADER_MISMATCH and not as_task):
                    raise
                # What is known of the tool, its mirrored arguments or its tasks is outdated.
                if self._cache is not None:
                    self._cache.drop("tools/list")
                try:
                    await self.tools()
                except (errors.PeerError, errors.CallFailed) as problem:
                    raise error from problem
                listed = True
        raw = outcome.result
        if tasks.options is not None:
            raw = await tasks.result_of(outcome, options)
        result = promised(raw, types.CallToolResult, CALL)
        if not self._tools.check(name, result):
            try:
                await self.tools()
            except (errors.PeerError, errors.CallFailed) as problem:
                text = "the result of %r is not checked: no list of tools: %s"
                logger.warning(text, name, problem)
            self._tools.check(name, result)
        _drop_unsafe_icons(result.content)
        return result

    @property
    def tasks(self) -> ClientTasks:
        """Calls that run as tasks: to start them, and to return to them later."""
        return self._core.tasks

    # Resources

    async def list_resources(
        self, cursor: str | None = None, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> types.ListResourcesResult:
        """Return one page of resources."""
        return await self._page("resources/list", cursor, types.ListResourcesResult, timeout)

    async def resources(self) -> list[types.Resource]:
        """Return all resources."""
        return await self._all(self.list_resources, lambda page: page.resources)

    async def list_resource_templates(
        self, cursor: str | None = None, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> types.ListResourceTemplatesResult:
        """Return one page of resource templates."""
        method = "resources/templates/list"
        return await self._page(method, cursor, types.ListResourceTemplatesResult, timeout)

    async def resource_templates(self) -> list[types.ResourceTemplate]:
        """Return all resource templates."""
        return await self._all(self.list_resource_templates, lambda page: page.resource_templates)

    async def read_resource(
        self, uri: str, **options: Unpack[RequestOptions]
    ) -> types.ReadResourceResult:
        """Return a resource's contents."""
        params, kind = {"uri": uri}, types.ReadResourceResult
        return await self.request("resources/read", params, kind, **options)

    async def subscribe(self, uri: str) -> None:
        """Subscribe to changes of a resource, for the callbacks (legacy); see :meth:`listen`."""
        await self.request("resources/subscribe", {"uri": uri})

    async def unsubscribe(self, uri: str) -> None:
        """End a subscription of :meth:`subscribe` (legacy)."""
        await self.request("resources/unsubscribe", {"uri": uri})

    async def read_directory(
        self, uri: str, cursor: str | None = None, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> types.ReadDirectoryResult:
        """Return one page of what a directory of the server holds (modern, skills extension)."""
        params = {"uri": uri} if cursor is None else {"uri": uri, "cursor": cursor}
        method = "resources/directory/read"
        page = await self.request(method, params, types.ReadDirectoryResult, timeout=timeout)
        _drop_unsafe_icons(page.resources)
        return page

    # Skills

    async def list_skills(
        self, cursor: str | None = None, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> types.ListSkillsResult:
        """Return one page of the skills that the server lists (modern); it may serve others."""
        return await self._page("skills/list", cursor, types.ListSkillsResult, timeout)

    async def skills(self) -> list[types.Skill]:
        """Return all skills that the server lists."""
        return await self._all(self.list_skills, lambda page: page.skills)

    async def get_skill(self, uri: str, **options: Unpack[RequestOptions]) -> types.GetSkillResult:
        """Return the entry of a skill by the URI of its ``SKILL.md``, listed or not."""
        return await self.request("skills/get", {"uri": uri}, types.GetSkillResult, **options)

    async def load_skill(self, skill: types.Skill | str, *, dynamic: bool = False) -> "LoadedSkill":
        """Read the ``SKILL.md`` of a skill, and check it; ``skill`` is its entry, or its URI.

        Other files are read when they are needed, with :meth:`LoadedSkill.read`.  ``dynamic``: True
        to load also what has no digests.  Raises SkillRefused.
        """
        from mcpcore_transports.client.skills import load  # late: few load skills

        return await load(self, skill, dynamic=dynamic)

    def forget_skills(self) -> None:
        """Drop what is cached of skills and of the contents of resources."""
        if self._cache is not None:
            for method in ("skills/list", "skills/get", "resources/read"):
                self._cache.drop(method)

    # Prompts and completion

    async def list_prompts(
        self, cursor: str | None = None, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> types.ListPromptsResult:
        """Return one page of prompts."""
        return await self._page("prompts/list", cursor, types.ListPromptsResult, timeout)

    async def prompts(self) -> list[types.Prompt]:
        """Return all prompts."""
        return await self._all(self.list_prompts, lambda page: page.prompts)

    async def get_prompt(
        self,
        name: str,
        arguments: Mapping[str, str] | None = None,
        **options: Unpack[RequestOptions],
    ) -> types.GetPromptResult:
        """Return a prompt with its arguments filled in."""
        params: dict[str, Any] = {"name": name}
        if arguments is not None:
            params["arguments"] = arguments
        result = await self.request("prompts/get", params, types.GetPromptResult, **options)
        _drop_unsafe_icons(message.content for message in result.messages)
        return result

    async def complete(
        self,
        ref: types.PromptReference | types.ResourceTemplateReference,
        argument: str,
        value: str,
        *,
        known: Mapping[str, str] | None = None,
        **options: Unpack[RequestOptions],
    ) -> types.CompleteResult:
        """Return completions of an ``argument``'s ``value``; ``known`` are the values of others."""
        ref = known_members(ref, self.revision)
        params: dict[str, Any] = {"ref": ref, "argument": {"name": argument, "value": value}}
        unknown = unknown_members(types.CompleteParams, self.revision)
        if known is not None and "context" not in unknown:
            params["context"] = {"arguments": known}
        return await self.request("completion/complete", params, types.CompleteResult, **options)

    # The conversation

    async def discover(self, *, timeout: float | None = DEFAULT_TIMEOUT) -> types.DiscoverResult:
        """Return the revisions and capabilities of the server (modern)."""
        return await self.request("server/discover", None, types.DiscoverResult, timeout=timeout)

    async def ping(self, *, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """Check that the server answers, by ``ping`` or, where the era has none, by discovery."""
        await self._core.request(probe_method(self.revision), timeout=timeout)

    async def set_log_level(self, level: types.LoggingLevel) -> None:
        """Request log messages of this level and above for the ``log`` callback.

        Raises LocalProtocolError for a level that does not exist.
        """
        check_log_level(level)
        self._core.log_level = level
        if not self.revision.per_request_log_level:
            await self.request("logging/setLevel", {"level": level})

    def set_roots(self, roots: Roots) -> None:
        """Replace the roots, and notify the server if the revision allows it.

        Raises ValueError for a root that is no file URI, LocalProtocolError if the client was made
        without roots, as it has declared that it has none.
        """
        if self._core.callbacks.roots is None:
            raise errors.LocalProtocolError(
                "no roots were declared: connect with Callbacks(roots=[...])"
            )
        self._core.callbacks.roots = checked_roots(roots)
        self._core.notify("notifications/roots/list_changed")

    def listen(
        self,
        *,
        tools: bool = False,
        prompts: bool = False,
        resources: bool = False,
        uris: "list[str] | tuple[str, ...]" = (),
        task_ids: "list[str] | tuple[str, ...]" = (),
    ) -> Listening:
        """Open a stream of changes of the lists that are True, and of resources and tasks."""
        wanted = types.SubscriptionFilter(
            tools_list_changed=tools,
            prompts_list_changed=prompts,
            resources_list_changed=resources,
            resource_subscriptions=list(uris),
            task_ids=list(task_ids),
        )
        return Listening(self._core, wanted)

    def notify(self, method: str, params: Body = None) -> bool:
        """Send a notification; return False if the revision or our capabilities do not have it."""
        return self._core.notify(method, params)


def _drop_unsafe_icons(items: Iterable[Any]) -> None:
    """Remove icons that must not be shown (base protocol page, "Icons") from things with names."""
    for item in items:
        icons = getattr(item, "icons", None)
        if icons and not all(icon.is_safe for icon in icons):
            logger.warning("icons of %r are left out: their URIs are not https or data", item.name)
            item.icons = [icon for icon in icons if icon.is_safe]


def _schema_compiler() -> Any:
    """Return the compiler of output schemas, None without the extra `schema`."""
    try:
        from mcpcore_transports.schema import compile_schema  # late: an extra
    except ImportError:
        return None
    return compile_schema


class connect:  # noqa: N801 - used like a function, as anyio's and httpx's context managers are
    """Connect to ``target`` for the time of an ``async with`` block; yields a :class:`Client`.

    On asyncio the block may begin and end in different tasks, as in a notebook or a fixture.

    ``target`` is a URL (http, https, ws, wss, sse+http, sse+https, tcp, tls, unix); a command as a
    list of strings; a ``Server`` of this process; or a Target, such as one that
    :func:`mcpcore_transports.client.config.load_targets` has read from an ``mcp.json``.

    ``callbacks`` answer the server and take its news.  ``revision`` is the only revision to speak,
    ``revisions`` are several, of which the newest common one is used.  ``headers`` go with HTTP
    requests and the WebSocket handshake; they may be a function (or coroutine function) that makes
    them for each.  ``auth`` authorizes them: the
    :class:`~mcpcore.auth.settings.AuthorizationSettings` of a client that gets its tokens by
    itself, a :class:`~mcpcore_transports.http.client.authorization.BearerToken`, or a function (or
    coroutine function) that returns a token; the default is that of the target.  ``http_client``,
    an ``httpx.AsyncClient`` or the like, sends the HTTP requests instead of the built-in client; it
    is not closed.  ``middleware`` runs around every request that is sent, the first outermost.
    ``trace`` records the whole traffic of the connection: the name of a file, or a
    :class:`~mcpcore_transports.tracing.tracing.Trace`.

    ``raise_exceptions`` is for tests of a server in this process: an exception of a handler whose
    text is hidden from the client is raised as it is, by the call, or at the end of the block if no
    call waits for it.

    At the call, raises BadTarget for a target that cannot be understood, ValueError for an unknown
    revision and if both ``revision`` and ``revisions`` are given, and UrlRefused for a server to
    which no token may be sent.  At the beginning of the block, raises

    - LocalProtocolError if the block is open already: each open connection has a call of its own;
    - LinkError if a process, socket or WebSocket cannot be opened, or ends before negotiation;
    - NegotiationError if there is no agreement, and for every failure over HTTP, whose CallFailed
      is its cause;
    - AuthorizationError with ``auth``, if the server wants authorization and it does not succeed
      (it is a CallUnauthorized, or a LinkUnauthorized over WebSocket);
    - LifespanError for a server of this process, at the end of the block as well;
    - BadTarget for a URL with credentials or a path that is not percent-encoded, for a header that
      is the engine's, and for HTTP+SSE without a legacy revision; BadProxy;
    - ValueError for ``settings`` or ``revisions`` that nothing can be spoken with;
    - OSError for a trace that cannot be written, and what ``make_link`` of a
      :class:`CustomTarget` raises.

    With ``raise_exceptions`` the end of the block raises what handlers have raised, several as an
    ExceptionGroup.
    """

    def __init__(
        self,
        target: Any,
        *,
        callbacks: Callbacks | None = None,
        revision: str | None = None,
        revisions: Sequence[str] | None = None,
        headers: "Mapping[str, str] | RequestHeaders | None" = None,
        auth: "Auth | None" = None,
        http_client: "HttpClientLike | None" = None,
        settings: ClientSettings | None = None,
        middleware: Sequence[ClientMiddleware] = (),
        trace: "TraceTo | None" = None,
        raise_exceptions: bool = False,
    ) -> None:
        self.target: Target = parse_target(target, headers=headers)
        if http_client is not None and not isinstance(self.target, HttpTarget | SseTarget):
            raise errors.BadTarget(
                "an HTTP client was given, but the target is no http or https URL"
            )
        if raise_exceptions and not isinstance(self.target, MemoryTarget):
            raise errors.BadTarget(
                "raise_exceptions is for a Server of this process, "
                f"and the target is {named(self.target)}"
            )
        self._callbacks = callbacks or Callbacks()
        self._settings = settings or ClientSettings()
        self._authorizer = None
        chosen: Auth | UpstreamTokens | None = auth
        if auth is None and isinstance(self.target, HttpTarget | SseTarget | WebSocketTarget):
            chosen = self.target.auth
        if chosen is not None:
            flowing = self._authorizing
            self._authorizer = authorizer_for(self.target, chosen, self._settings, flowing)
        if revision is not None:
            if revisions is not None:
                raise ValueError("revision and revisions are given: one of them is enough")
            revisions = [revision]
        self._revisions = REVISIONS if revisions is None else parse_revisions(revisions)
        self._http_client = http_client
        self._middleware = middleware
        self._trace = trace
        self._raised = RaisedExceptions() if raise_exceptions else None
        self._recording = ExitStack()
        self._open = False
        """True while a block is entered, open or left."""
        self._eras = ERAS if self._settings.eras is None else self._settings.eras
        self._place = place_of(self.target)
        self._headers: dict[str, HeaderParams] = {}
        self._repeatable: set[str] = set()
        self._tasks: DetachedGroup
        self._link: Link | ReconnectingLink | None = None
        self._core: ClientCore | None = None

    async def __aenter__(self) -> Client:
        if self._open:
            raise errors.LocalProtocolError("this connection is open: call connect() for another")
        settings = self._settings
        if self._trace is not None:
            from mcpcore_transports.tracing.tracing import tracing  # late: few record a trace

            trace = self._recording.enter_context(tracing(self._trace))
            self._settings = structs.replace(settings, trace=trace)
        if self._settings.trace is not None:
            self._settings.trace.begin("client", target=named(self.target))
        guard_tasks(current_loop())
        self._open = True
        try:
            core, ready = await self._agree()
        except BaseException as error:
            self._open = False
            self._recording.close()
            expected = errors.LinkError, errors.NegotiationError, errors.AuthorizationError
            if isinstance(error, expected):
                self._eras.forget(self._place)
            raise
        modern = any(revision.modern for revision in self._revisions)
        open_era = modern and any(revision.handshake for revision in self._revisions)
        sse = isinstance(core.machine, HttpClient) and core.machine.uses_sse
        probed = open_era and settings.negotiation is Negotiation.AUTO
        if self._place is not None and (sse or probed):
            era = Negotiation.MODERN if ready.revision.modern else Negotiation.LEGACY
            self._eras.learn(self._place, era, now=clock(), sse=sse)
        attached = 0
        try:
            for middleware in self._middleware:
                if (attach := getattr(middleware, "attach", None)) is not None:
                    await attach(core, ready.instructions)
                attached += 1
        except BaseException as error:
            try:
                await self._leave(error)
            finally:
                self._detach(self._middleware[:attached])
            raise
        return Client(
            core,
            ready,
            self._tool_book(core, ready.revision),
            self._server_cache(core, ready.revision),
            max_pages=settings.max_pages,
        )

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        try:
            swallowed = await self._leave(exc)
        finally:
            self._detach(self._middleware)
        if exc is None and self._raised is not None:
            self._raised.raise_rest()
        return swallowed

    def _detach(self, told: Sequence[ClientMiddleware]) -> None:
        for middleware in told:
            if (detach := getattr(middleware, "detach", None)) is not None:
                detach(self._core)

    async def _leave(self, exc: BaseException | None) -> bool | None:
        try:
            with self._recording:
                return await self._close(exc)
        finally:
            self._open = False

    def _authorizing(self) -> AbstractContextManager[None]:
        """Return the context of a flow of authorization: attempts to reconnect wait for it."""
        reconnector = None if self._core is None else self._core.reconnector
        return nullcontext() if reconnector is None else reconnector.standing_still()

    async def _agree(self) -> tuple[ClientCore, Ready]:
        """Open a connection; if the probe upsets the server, another with the handshake first."""
        began = clock()
        try:
            return await self._attempt()
        except (errors.LinkError, errors.NegotiationError) as error:
            first, link, patience = error, self._link, math.inf
            if not isinstance(link, ReconnectingLink) or link.link.unprovoked:
                raise
            upset = link.link.peer.upset  # the server's failure on the probe
            if isinstance(self.target, StdioTarget):  # one limit covers both starts
                limit = (self._settings.process or ProcessSettings()).startup_timeout
                if limit is not None:
                    patience = limit - (clock() - began)
            if upset is None or patience <= 0:
                raise
        logger.warning(
            "%s %s after it was asked server/discover, as some legacy servers do: it is %s once "
            "more, with the handshake first, and remembered as one of them if it answers that",
            named(self.target),
            upset.value,
            "started" if isinstance(self.target, StdioTarget) else "connected to",
        )
        self._settings = structs.replace(self._settings, negotiation=Negotiation.LEGACY)
        try:
            return await self._attempt(patience)
        except (errors.LinkError, errors.NegotiationError) as error:
            text = f"{error}\n(with the handshake first; before, after server/discover: {first})"
            if str(first) == str(error):
                where = "after server/discover, and with the handshake first"
                text = f"{error}\n(so it was twice: {where})"
            error.args = (text, *error.args[1:])
            raise

    async def _attempt(self, patience: float = math.inf) -> tuple[ClientCore, Ready]:
        """Open one connection and negotiate; a failed connection is closed when this raises."""
        self._tasks = DetachedGroup()
        await self._tasks.begin()
        try:
            core = await self._start()
            with anyio.move_on_after(patience):
                ready = await core.opened()
                machine = core.machine
                if isinstance(machine, HttpClient) and machine.uses_sse:
                    link, settings = cast("HttpClientLink", self._link), self._settings.reconnect
                    core.reconnector = ReconnectingStream(core, machine, link, settings)
                    core.reconnector.opened(ready)
                return core, ready
            raise errors.LinkError("no agreement within startup_timeout, which is for both starts")
        except BaseException as error:
            await self._close(error)
            raise

    async def _close(self, exc: BaseException | None) -> bool | None:
        cancelled = exc is not None and isinstance(exc, anyio.get_cancelled_exc_class())
        interrupted: BaseException | None = exc if cancelled else None
        failure: BaseException | None = None
        if self._core is not None:
            self._core.closing = True
        if not cancelled and self._link is not None:
            try:
                await self._link.aclose()
            except anyio.get_cancelled_exc_class() as error:
                interrupted = error
            except BaseException as error:  # such as a second Ctrl-C: end all tasks even then
                failure = error
        if self._core is not None:
            self._core.closed = self._core.closed or "closed by this side"
        self._tasks.group.cancel_scope.cancel()
        try:
            # The caller's own exception must not come out wrapped in a group, so that only a
            # cancellation, which may belong to the group's scope, is passed to it.
            swallowed = await self._tasks.end(interrupted)
        except BaseExceptionGroup as group:
            if group.split(errors.LifespanError)[1] is None:  # of a server in memory
                failure = failure or first_of(group)
            elif group.split(KeyboardInterrupt)[1] is not None:
                raise
            failure = failure or KeyboardInterrupt()  # trio raises it in any of the tasks
        if failure is not None:
            raise failure from failure.__cause__
        if interrupted is None or cancelled:
            return swallowed if cancelled else None
        if not swallowed:
            raise interrupted
        return None

    async def _start(self) -> ClientCore:
        settings, target = self._settings, self.target
        capabilities = self._callbacks.capabilities()
        if settings.tasks is not None:
            capabilities = settings.tasks.declare(capabilities)
        config = Config(
            info=settings.info,
            capabilities=capabilities,
            revisions=self._revisions,
            negotiation=settings.negotiation,
            assumed=self._eras.get(self._place, now=clock()),
            limits=settings.limits,
            header_params=self._headers,
            repeatable_tools=self._repeatable,
        )
        link: Any  # of a kind that runs in the group
        make_core = partial(
            ClientCore,
            callbacks=self._callbacks,
            group=self._tasks.group,
            settings=settings,
            middleware=self._middleware,
            raised=self._raised,
            repeatable_tools=self._repeatable,
            authorizer=self._authorizer,
        )
        if self._authorizer is not None:
            await self._authorizer.prepare()
        if isinstance(target, HttpTarget | SseTarget):
            sse = self._eras.uses_sse(self._place, now=clock())
            http = http_machine(
                settings,
                config,
                target,
                assume_sse=sse,
                authorizes=self._authorizer is not None,
                reports_downloads=self._callbacks.download is not None,
            )
            self._core = core = make_core(http)
            core.link = link = http_link(http, core, target, self._http_client, self._authorizer)
        else:
            peer = Peer(Role.CLIENT, config)
            self._core = core = make_core(peer)
            if isinstance(target, MemoryTarget):
                from mcpcore_transports.serve import assembling  # late: for this alone

                server, rules, wire = target.server, target.settings, target.wire
                joined = await assembling.join_in_memory(
                    peer, core, server, self._tasks.group, rules, wire=wire, raised=self._raised
                )
                if settings.trace is not None:
                    joined.trace = settings.trace.connection("client")
                core.link = link = joined
            else:
                again = settings.reconnect
                make = partial(stream_link, core, target, self._authorizer)
                attempts = again.attempts
                if isinstance(target, StdioTarget):
                    attempts = again.max_restarts
                core.reconnector = link = ReconnectingLink(core, peer, make, again, attempts)
        if settings.tasks is not None and capabilities.tasks is not None:
            core.run_tasks(capabilities, settings.tasks.own)
        self._link = link
        await self._tasks.group.start(link.run)
        return core

    def _tool_book(self, core: ClientCore, revision: Revision) -> ToolBook:
        book = ToolBook(
            self._headers,
            strict=revision.mirror_headers and isinstance(self.target, HttpTarget),
            compile_schema=_schema_compiler() if self._settings.check_output else None,
            look_up=self._settings.look_up_tools,
            repeatable=self._repeatable,
        )
        core.watch(book.outdated)
        return book

    def _server_cache(self, core: ClientCore, revision: Revision) -> ServerCache | None:
        settings, target = self._settings, self.target
        if settings.cache is False:
            return None
        cache = ResultCache() if settings.cache is True else settings.cache
        headers = dict(settings.http.headers) if settings.http is not None else {}
        if isinstance(target, HttpTarget | SseTarget | WebSocketTarget):
            headers.update(fixed_headers(target))
        own = (self._http_client, self._authorizer, settings.ssl_context)  # which may identify it
        if any(each is not None for each in own) or callable(getattr(target, "headers", None)):
            # The identity towards the server is unknown here, so no private result is shared.
            headers[""] = secrets.token_hex(16)
        kept = cache.connect(target, headers, revision, settings.meta)
        if (authorizer := self._authorizer) is not None:
            kept.token = lambda: authorizer.generation
        core.watch(kept.notified)
        return kept
