"""Service made of a server object of another SDK, and the messages of its handlers to clients.

The SDK keeps its tables, its checks and its results.  Sessions, subscriptions, levels of logging,
limits and authorization are those of the engine and the drivers.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import Any, Protocol, TypeVar

import anyio
import msgspec
from msgspec import Raw, Struct

from mcpcore.errors import InputUnavailable
from mcpcore.service import Prepared
from mcpcore.service.declarations import MAX_URI
from mcpcore.service.handlers import HealthCheck, Lifespan
from mcpcore.service.interface import Watcher
from mcpcore.service.reading import shorten
from mcpcore.service.tools import MethodEntry
from mcpcore.spec.capabilities import TASKS_EXTENSION
from mcpcore.spec.errors import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, McpError
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Implementation, Skim
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.spec.types.resources import ResourceUpdatedParams
from mcpcore.wire.jsontext import to_json
from mcpcore_transports.running.pending import ProgressCallback
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.elicitation import Input
from mcpcore_transports.server.notifications import NotificationContext

T = TypeVar("T")

_CACHEABLE = frozenset(
    {
        *("tools/list", "resources/list", "resources/templates/list", "prompts/list"),
        "resources/read",
    }
)
"""Methods whose results carry caching hints in revisions that have them (caching page)."""

_OVERHEARD = frozenset({"resources/subscribe", "resources/unsubscribe"})
_QUESTIONS = frozenset({"elicitation/create", "roots/list", "sampling/createMessage"})
_CHANGES = frozenset(
    {
        *("notifications/tools/list_changed", "notifications/prompts/list_changed"),
        *("notifications/resources/list_changed", "notifications/resources/updated"),
    }
)


_TIMED_OUT = -32001
"""Code of a timeout, to which both lines of the official SDK give this name."""

AnyContext = Context | NotificationContext
running: ContextVar[Context | None] = ContextVar("mcpcore.adapters", default=None)
"""Context of the request whose handler runs, also in the tasks that it has started."""
_side: ContextVar[object] = ContextVar("mcpcore.adapters.side", default=None)
"""The SDK's object for the client of that request."""
Notify = Callable[[str, Mapping[str, Any] | None], object]
"""Function that sends a notification; takes its method and its params."""

decoded = msgspec.json.Decoder().decode
_module = cache(import_module)


class Sdk(Protocol):
    """Server object of another SDK.  Params and results are decoded JSON."""

    info: dict[str, Any]
    """``serverInfo``, as on the wire."""
    instructions: str | None

    @property
    def header_params(self) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        """Mirrored arguments (header part to property path) by tool name."""

    @property
    def extension_methods(self) -> frozenset[str]:
        """Methods of extensions that it handles."""

    def lifespan(self) -> AbstractAsyncContextManager[Any]:
        """Make the context manager of its lifespan."""

    def capabilities(self) -> dict[str, Any]:
        """Return the capabilities that it declares, as on the wire."""

    def handles(self, method: str) -> bool:
        """Return True if it has a handler for a request."""

    def listens(self, method: str) -> bool:
        """Return True if it has a handler for a notification of clients."""

    async def answer(self, context: Context, publish: Notify) -> dict[str, Any]:
        """Run the handler of a request.  Raises McpError, InputNeeded, or what the handler does."""

    async def hear(self, context: NotificationContext, publish: Notify) -> None:
        """Run the handler of a notification."""

    def watch(self, publish: Notify) -> Callable[[], None]:
        """Call ``publish`` for changes that are told outside of requests; return its undoing."""


class AdaptedServer:
    """Server object of another SDK as a :class:`~mcpcore.service.Service`.

    Raises ValueError for an object that declares what cannot be served.
    """

    max_uri = MAX_URI
    guards_reading = False
    mounted = ()
    health_checks: Mapping[str, HealthCheck] = {}

    def __init__(self, found: object, sdk: Sdk) -> None:
        self._found = found  # its handlers may know it by a weak reference
        self._sdk = sdk
        self.info = _converted(sdk.info, Implementation).without_unsafe_icons()
        self.instructions = sdk.instructions
        self.header_params = sdk.header_params
        self.lifespan = Lifespan(sdk.lifespan)
        self._watchers: dict[Watcher, None] = {}
        self._unwatch: Callable[[], None] | None = None

    @property
    def extension_methods(self) -> frozenset[str]:
        """Methods beyond the specification that the object handles."""
        return self._sdk.extension_methods

    @property
    def overheard(self) -> frozenset[str]:
        """Subscriptions, if the object has handlers for them: it may keep a list of its own."""
        return frozenset(filter(self._sdk.handles, _OVERHEARD))

    def capabilities(self) -> ServerCapabilities:
        """Return the declared capabilities, with those that the engine provides.

        Logging, subscriptions and changes of lists are the engine's, whatever the object says;
        tasks are left out.
        """
        made = _converted(self._sdk.capabilities(), ServerCapabilities)
        made.logging, made.tasks = {}, None
        for listed in (made.tools, made.resources, made.prompts):
            if listed:
                listed.list_changed = True
        if made.resources:
            made.resources.subscribe = True
        if made.extensions:
            made.extensions.pop(TASKS_EXTENSION, None)
        return made

    def listener(self, method: str) -> MethodEntry | None:
        """Return the handler of a notification, if the object has one."""
        if not self._sdk.listens(method):
            return None

        async def hear(context: NotificationContext) -> None:
            await self._sdk.hear(context, self._publish)

        return MethodEntry(hear, thread=False, validator=None)

    def watch(self, watcher: Watcher) -> None:
        """Call ``watcher(method, params)`` for each change."""
        self._watchers[watcher] = None
        if self._unwatch is None:
            self._unwatch = self._sdk.watch(self._publish)

    def unwatch(self, watcher: Watcher) -> None:
        """Undo :meth:`watch`; does nothing if there is no such watcher."""
        self._watchers.pop(watcher, None)
        if not self._watchers and self._unwatch is not None:
            self._unwatch()
            self._unwatch = None

    def prepare(
        self,
        method: str,
        params: Raw | bytes,
        revision: Revision,
        principal: str | None = None,
        skim: Skim | None = None,
        client: ClientCapabilities | None = None,
    ) -> Prepared:
        """Return the call of the object's handler.  Raises McpError (-32601) if it has none."""
        if not self._sdk.handles(method):
            raise McpError(METHOD_NOT_FOUND, f"Method not found: {shorten(method)}")
        return _AdaptedCall(self._sdk, method, revision, self._publish)

    def demand_reading(self, uris: Iterable[str], principal: str | None) -> None:
        """Do nothing: the object's resources declare no scopes."""

    def has_tool(self, name: str, principal: str | None) -> bool:
        """Return True: the object hides no tools."""
        return True

    def may_read(self, uri: str, principal: str | None) -> bool:
        """Return True, for the same reason."""
        return True

    def _publish(self, method: str, params: Mapping[str, Any] | None) -> None:
        if method not in _CHANGES:
            return
        body: Struct | None = None
        if params and method == "notifications/resources/updated":
            body = ResourceUpdatedParams(uri=str(params["uri"]))
        for watcher in tuple(self._watchers):
            watcher(method, body)


class _AdaptedCall(Prepared):
    """Request that is answered by the handler of a server object."""

    bare = True

    def __init__(self, sdk: Sdk, method: str, revision: Revision, publish: Notify) -> None:
        super().__init__(revision, is_async=True)
        self._sdk = sdk
        self._cacheable = method in _CACHEABLE and revision.cache_hints
        self._publish = publish

    def call(self, context: Context) -> Any:
        """Run the handler."""
        return self._sdk.answer(context, self._publish)

    def finish(self, value: dict[str, Any]) -> Raw:
        """Encode the result, without the members that are the engine's."""
        self.meta = value.pop("_meta", None)
        value.pop("resultType", None)
        self.failed = value.get("isError") is True
        if self._cacheable:
            value.setdefault("ttlMs", 0)
            value.setdefault("cacheScope", "private")
        return Raw(to_json(value))


class _SdkQuestion(Input[Raw]):
    """Request to the client that an SDK has made; so is the reading of its answer."""

    def __init__(self, method: str, params: Mapping[str, Any], *, rounds: bool) -> None:
        self.method = method
        # Members that the era does not have, and that would be others in each round.
        left_out = ("_meta", "elicitationId") if rounds else ("_meta",)
        self._params = {name: value for name, value in params.items() if name not in left_out}

    def params(self) -> dict[str, Any]:
        """Return the params of the SDK."""
        return self._params

    def parse(self, answer: Raw) -> Raw:
        """Return the answer as it is."""
        return answer


async def ask(
    context: AnyContext | None,
    method: str,
    params: Mapping[str, Any] | None,
    progress: ProgressCallback | None = None,
    timeout: float | None = None,
) -> Any:
    """Send a question of a handler to the client; return the result, decoded.

    ``timeout``: seconds to wait, beside the time limit of the runtime.  Raises McpError: that of
    the client, -32601 for a method that is no question, -32001 at the timeout, -32600 if the client
    cannot be asked or does not answer.  Raises InputNeeded in the modern era.
    """
    if context is None:
        raise McpError(INVALID_REQUEST, "a client is asked while a request of it is handled")
    try:
        with anyio.fail_after(timeout):
            if method == "ping":
                await context.ping()
                return {}
            if method not in _QUESTIONS:
                raise McpError(METHOD_NOT_FOUND, f"clients are not asked for {shorten(method)}")
            rounds = context.revision is not None and context.revision.input_rounds
            question = _SdkQuestion(method, params or {}, rounds=rounds)
            answer = await context.ask(question, progress=progress)
    except TimeoutError:
        raise McpError(_TIMED_OUT, f"no answer to {method} in {timeout} seconds") from None
    except InputUnavailable as error:
        if isinstance(error.__cause__, McpError):
            raise error.__cause__ from None
        raise McpError(INVALID_REQUEST, str(error)) from None
    return decoded(answer)


def tell(
    context: AnyContext | None, method: str, params: Mapping[str, Any] | None, change: Notify
) -> None:
    """Send a notification of a handler on the stream of its request; a change by ``change``.

    Without a context, reports are dropped.
    """
    if method in _REPORTS:
        if isinstance(context, Context) and params:
            _REPORTS[method](context, params)
    elif context is None or method in _CHANGES:
        change(method, params)
    else:
        context.notify(method, params)


_REPORTS: dict[str, Callable[[Context, Mapping[str, Any]], object]] = {
    "notifications/progress": lambda context, params: context.progress(
        params["progress"], params.get("total"), params.get("message")
    ),
    "notifications/message": lambda context, params: context.log(
        params["level"], params.get("data"), params.get("logger")
    ),
}


def changes(context: Context, publish: Notify) -> Notify:
    """Return the function that tells changes: this session (legacy), or all who listen."""
    return context.teller() if context.revision.handshake else publish


def client_of(context: Context) -> bytes:
    """Return the facts of the client as the params of an ``initialize``."""
    info = context.client_info or Implementation(name="", version="")
    return to_json(
        {
            "protocolVersion": context.revision.name,
            "capabilities": context.client_capabilities,
            "clientInfo": info,
        }
    )


def running_for(side: object) -> Context | None:
    """Return the context of the request whose handler runs, None if it is of another client.

    A handler may have kept the SDK's object for another client: what is for that one, this one
    must not get.
    """
    return running.get() if _side.get() is side else None


def enter(context: Context, side: object) -> None:
    """Make a request the one that this task handles, and its principal the SDK's access token.

    ``side``: the SDK's object for messages to the client, as in :func:`running_for`.
    The name of the principal is the client's id in it; the token itself is left out.
    """
    running.set(context)
    _side.set(side)
    user_of = _module("mcp.server.auth.middleware.auth_context").auth_context_var
    if (principal := context.principal) is None:
        user_of.set(None)
        return
    token = _module("mcp.server.auth.provider").AccessToken(
        token="", client_id=principal.name, scopes=sorted(principal.scopes)
    )
    user = _module("mcp.server.auth.middleware.bearer_auth").AuthenticatedUser
    user_of.set(user(token))


def dumped(model: Any) -> dict[str, Any]:
    """Return a model of pydantic as it is on the wire, decoded."""
    made: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return made


def invalid(error: Any) -> McpError:
    """Return the protocol's error for the first problem of a ValidationError of pydantic."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])) or "params"
    return McpError(
        INVALID_PARAMS, shorten(f"Invalid request parameters: {where}: {first['type']}")
    )


def protocol_error(data: Any) -> McpError:
    """Return the error that an SDK's ErrorData holds."""
    return McpError(data.code, data.message, data.data)


def error_data(error: McpError) -> dict[str, Any]:
    """Return code, message and data, decoded, for an SDK's error."""
    return dict(decoded(to_json(error.error)))


def _converted(wire: dict[str, Any], type: type[T]) -> T:
    try:
        return msgspec.convert(wire, type)
    except msgspec.ValidationError as error:
        raise ValueError(f"it declares what this engine cannot: {error}") from None
