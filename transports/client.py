"""The client: connect to a server, call it, listen to it.

::

    async with connect("http://127.0.0.1:8000/mcp") as client:
        result = await client.call_tool("add", {"a": 1, "b": 2})

The same code works over every transport and in both eras.
"""

import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mcpcore.engine.events import Ready
from mcpcore.engine.peer import DEFAULT_TIMEOUT
from mcpcore.spec.errors import HEADER_MISMATCH, METHOD_NOT_FOUND, LocalProtocolError
from mcpcore.spec.members import known_members, unknown_members
from mcpcore.spec.methods import lookup
from mcpcore.spec.types.base import LoggingLevel
from mcpcore.spec.types.completion import (
    CompleteParams,
    CompleteResult,
    PromptReference,
    ResourceTemplateReference,
)
from mcpcore.spec.types.lifecycle import DiscoverResult
from mcpcore.spec.types.prompts import GetPromptResult, ListPromptsResult, Prompt
from mcpcore.spec.types.resources import (
    ListResourcesResult,
    ListResourceTemplatesResult,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
)
from mcpcore.spec.types.subscriptions import SubscriptionFilter
from mcpcore.spec.types.tools import CallToolResult, ListToolsResult, Tool
from mcpcore.wire.message import Body
from transports.callbacks import Callbacks, ProgressCallback, Roots, checked_roots
from transports.client_cache import ServerCache
from transports.client_core import ClientCore
from transports.client_errors import CallFailed, PeerError
from transports.client_icons import drop_unsafe_icons
from transports.client_listen import Listening
from transports.client_middleware import ClientMiddleware
from transports.client_open import ClientSettings, Opening
from transports.client_requests import ClientRequests, page_params
from transports.client_tools import ToolBook
from transports.targets import (
    BadTarget,
    HttpTarget,
    MemoryTarget,
    SseTarget,
    Target,
    named,
    parse_target,
)
from transports.tasks_client import ClientTasks

if TYPE_CHECKING:
    from transports.http_adapter import HttpClientLike
    from transports.http_carrier import RequestHeaders
    from transports.tracing import TraceTo

logger = logging.getLogger("mcpcore.client")


class Client(ClientRequests):
    """An open conversation with a server. Made by :func:`connect`.

    Every method that sends a request raises :class:`PeerError` for an error of the server, and a
    subclass of :class:`CallFailed` (timeout, closed connection, invalid response) for what
    happened on this side.  ``timeout`` is in seconds; None waits for ever; by default it is that
    of the settings.  Cancelling the caller cancels the request.
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
        super().__init__(core, ready, cache, max_pages)
        self._tools = tools

    # Tools

    async def list_tools(
        self, cursor: str | None = None, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> ListToolsResult:
        """Return one page of tools; :meth:`tools` returns all of them."""
        result = await self.request(
            "tools/list", page_params(cursor), ListToolsResult, timeout=timeout
        )
        result.tools = self._tools.learn(result.tools)
        drop_unsafe_icons(result.tools)
        return result

    async def tools(self) -> list[Tool]:
        """Return all tools."""
        return await self._all(self.list_tools, lambda page: page.tools)

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
        repeat: bool | None = None,
    ) -> CallToolResult:
        """Call a tool; a failure of the tool is a result with ``is_error``.

        Answers what the server asks meanwhile through the callbacks, and follows the task that the
        call may become to its end; ``timeout`` bounds that too if it is given.  A result that
        breaks the tool's output schema raises InvalidResponse, if it can be checked; the tools are
        listed for that if they were not (``ClientSettings.look_up_tools``).

        ``repeat``: whether the call may be sent again if the connection breaks before its answer;
        by default if the tool was listed as read-only or idempotent.
        """
        params: dict[str, Any] = {"name": name}
        if arguments is not None:
            params["arguments"] = arguments

        async def call() -> CallToolResult:
            support = self._tools.task_support(name)
            return await self.tasks.call(
                params,
                support=support,
                timeout=timeout,
                progress=progress,
                meta=meta,
                repeat=repeat,
            )

        try:
            result = await call()
        except PeerError as error:
            as_task = error.code == METHOD_NOT_FOUND and self.tasks.experimental
            if error.code != HEADER_MISMATCH and not as_task:
                raise
            # Our picture of the tool, its mirrored arguments or its tasks, is missing or outdated.
            if self._cache is not None:
                self._cache.drop("tools/list")
            try:
                await self.tools()
            except (PeerError, CallFailed) as problem:
                raise error from problem
            result = await call()
        if self._tools.unknown(name, result):
            try:
                await self.tools()
            except (PeerError, CallFailed) as problem:
                logger.warning(
                    "the result of %r is not checked: no list of tools: %s", name, problem
                )
        self._tools.check(name, result)
        drop_unsafe_icons(result.content)
        return result

    @property
    def tasks(self) -> ClientTasks:
        """Calls that go on by themselves: to start them, and to come back to them."""
        return self._core.tasks

    # Resources

    async def list_resources(
        self, cursor: str | None = None, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> ListResourcesResult:
        """Return one page of resources."""
        result = await self.request(
            "resources/list", page_params(cursor), ListResourcesResult, timeout=timeout
        )
        drop_unsafe_icons(result.resources)
        return result

    async def resources(self) -> list[Resource]:
        """Return all resources."""
        return await self._all(self.list_resources, lambda page: page.resources)

    async def list_resource_templates(
        self, cursor: str | None = None, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> ListResourceTemplatesResult:
        """Return one page of resource templates."""
        result = await self.request(
            "resources/templates/list",
            page_params(cursor),
            ListResourceTemplatesResult,
            timeout=timeout,
        )
        drop_unsafe_icons(result.resource_templates)
        return result

    async def resource_templates(self) -> list[ResourceTemplate]:
        """Return all resource templates."""
        return await self._all(self.list_resource_templates, lambda page: page.resource_templates)

    async def read_resource(
        self,
        uri: str,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> ReadResourceResult:
        """Return a resource's contents."""
        return await self.request(
            "resources/read",
            {"uri": uri},
            ReadResourceResult,
            timeout=timeout,
            progress=progress,
            meta=meta,
        )

    async def subscribe(self, uri: str) -> None:
        """Legacy: have changes of a resource reported to the callbacks; see :meth:`listen`."""
        await self.request("resources/subscribe", {"uri": uri})

    async def unsubscribe(self, uri: str) -> None:
        """Legacy: end that."""
        await self.request("resources/unsubscribe", {"uri": uri})

    # Prompts and completion

    async def list_prompts(
        self, cursor: str | None = None, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> ListPromptsResult:
        """Return one page of prompts."""
        result = await self.request(
            "prompts/list", page_params(cursor), ListPromptsResult, timeout=timeout
        )
        drop_unsafe_icons(result.prompts)
        return result

    async def prompts(self) -> list[Prompt]:
        """Return all prompts."""
        return await self._all(self.list_prompts, lambda page: page.prompts)

    async def get_prompt(
        self,
        name: str,
        arguments: Mapping[str, str] | None = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> GetPromptResult:
        """Return a prompt, filled in."""
        params: dict[str, Any] = {"name": name}
        if arguments is not None:
            params["arguments"] = arguments
        result = await self.request(
            "prompts/get", params, GetPromptResult, timeout=timeout, progress=progress, meta=meta
        )
        drop_unsafe_icons(message.content for message in result.messages)
        return result

    async def complete(
        self,
        ref: PromptReference | ResourceTemplateReference,
        argument: str,
        value: str,
        *,
        known: Mapping[str, str] | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        meta: Mapping[str, Any] | None = None,
    ) -> CompleteResult:
        """Propose values for an ``argument`` of which ``value`` has been typed.

        ``known``: the values of other arguments, where the revision can tell them.
        """
        ref = known_members(ref, self.revision)
        params: dict[str, Any] = {"ref": ref, "argument": {"name": argument, "value": value}}
        if known is not None and "context" not in unknown_members(CompleteParams, self.revision):
            params["context"] = {"arguments": known}
        return await self.request(
            "completion/complete", params, CompleteResult, timeout=timeout, meta=meta
        )

    # The conversation

    async def discover(self, *, timeout: float | None = DEFAULT_TIMEOUT) -> DiscoverResult:
        """Modern: ask what the server speaks and offers."""
        return await self.request("server/discover", None, DiscoverResult, timeout=timeout)

    async def ping(self, *, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """Make sure that the server answers (where the era has no ``ping``, by discovery)."""
        legacy = lookup("ping", "client", self.revision) is not None
        await self._core.request("ping" if legacy else "server/discover", timeout=timeout)

    async def set_log_level(self, level: LoggingLevel) -> None:
        """Have log messages from this level on sent to the ``log`` callback."""
        self._core.log_level = level
        if not self.revision.per_request_log_level:
            await self.request("logging/setLevel", {"level": level})

    def set_roots(self, roots: Roots) -> None:
        """Change what the server is told when it asks for our roots, and say so where one can.

        Raises ValueError for a root that is no file URI, LocalProtocolError if the client was made
        without roots: it has declared that it has none.
        """
        if self._core.callbacks.roots is None:
            raise LocalProtocolError("no roots were declared: connect with Callbacks(roots=[...])")
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
        """Open a stream of changes: of the lists named, and of the resources and tasks given.

        ``async with client.listen(tools=True) as changes: async for change in changes: ...``
        """
        wanted = SubscriptionFilter(
            tools_list_changed=tools,
            prompts_list_changed=prompts,
            resources_list_changed=resources,
            resource_subscriptions=list(uris),
            task_ids=list(task_ids),
        )
        return Listening(self._core, wanted)

    def notify(self, method: str, params: Body = None) -> bool:
        """Send any notification of the revision or of an extension.

        False if it was not sent: the revision has none such, or a capability is not declared.
        """
        return self._core.notify(method, params)


class connect:  # noqa: N801 - used like a function, as anyio's and httpx's context managers are
    """Connect to ``target`` for the time of an ``async with`` block; yields a :class:`Client`.

    ``target``: a URL (http, https, ws, wss, sse+http, sse+https, tcp, tls, unix); a command as a
    list of strings; a ``Server`` of this process; or a Target, such as one that
    :func:`transports.config_file.load_targets` has read from an ``mcp.json``.  ``callbacks`` say
    what the client does for the server.  ``revision`` names the only revision to speak,
    ``revisions`` several; the newest common one is found.  ``headers`` go with HTTP requests and
    the WebSocket handshake; over HTTP a function may make them anew for each request.
    ``http_client``, an ``httpx.AsyncClient`` or the like, carries the HTTP requests in the place
    of our own; it is not closed.  ``middleware`` is run around every request that is sent, the
    first outermost.  ``trace`` is where everything is recorded that goes over the connection: the
    name of a file, or a :class:`~transports.tracing.Trace`.  ``raise_exceptions``, for the tests of
    a server of this process: what a handler raises and the client would not be shown is raised by
    the call, as it is; what no call waits for at the end of the block.  Raises BadTarget, BadProxy,
    LinkError, NegotiationError, OSError for a trace that cannot be written, and ValueError for an
    unknown revision.
    """

    def __init__(
        self,
        target: Any,
        *,
        callbacks: Callbacks | None = None,
        revision: str | None = None,
        revisions: Sequence[str] | None = None,
        headers: "Mapping[str, str] | RequestHeaders | None" = None,
        http_client: "HttpClientLike | None" = None,
        settings: ClientSettings | None = None,
        middleware: Sequence[ClientMiddleware] = (),
        trace: "TraceTo | None" = None,
        raise_exceptions: bool = False,
    ) -> None:
        self.target: Target = parse_target(target, headers=headers)
        if http_client is not None and not isinstance(self.target, HttpTarget | SseTarget):
            raise BadTarget("an HTTP client was given, but the target is no http or https URL")
        if raise_exceptions and not isinstance(self.target, MemoryTarget):
            raise BadTarget(
                "raise_exceptions is for a Server of this process, "
                f"and the target is {named(self.target)}"
            )
        self._opening = Opening(
            self.target,
            callbacks or Callbacks(),
            settings or ClientSettings(),
            revisions if revision is None else [revision],
            middleware,
            http_client,
            trace,
            raises=raise_exceptions,
        )

    async def __aenter__(self) -> Client:
        opening = self._opening
        core, ready = await opening.open()
        return Client(
            core,
            ready,
            opening.tool_book(core, ready.revision),
            opening.server_cache(core, ready.revision),
            max_pages=opening.settings.max_pages,
        )

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._opening.close(exc_type, exc, traceback)
