"""Low-level server of the official Python SDK 2.x, also below its MCPServer and fastmcp.

The SDK's kernel runs one request at a time over a dispatch context, a protocol of the SDK, which
:class:`_Dispatch` implements with our contexts.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from contextvars import ContextVar
from functools import cache, cached_property, lru_cache
from importlib import import_module
from typing import Any

import anyio
import msgspec
from msgspec import Raw

from mcpcore.engine.input_rounds import InputRequest
from mcpcore.engine.mirror import Mirror, argument_mismatch
from mcpcore.errors import InputNeeded
from mcpcore.spec.errors import HEADER_MISMATCH, McpError
from mcpcore.spec.json_schema import header_params
from mcpcore.spec.methods import KNOWN_METHODS
from mcpcore_transports.adapters.server import (
    AnyContext,
    Notify,
    ask,
    changes,
    client_of,
    decoded,
    dumped,
    enter,
    error_data,
    invalid,
    protocol_error,
    running_for,
    tell,
)
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.notifications import NotificationContext

_STATE = "requestState"
_CLIENTS, _SCHEMAS = 64, 1024
"""Clients, and input schemas of tools, whose reading is kept."""
_PAGES = 100
"""Pages of ``tools/list`` that are read to find a tool."""
_stacks: ContextVar[list[AsyncExitStack]] = ContextVar("mcpcore.adapters.stacks")
"""Exit stack of the request whose handler runs, once that uses it."""


class Sdk2:
    """Low-level server of SDK 2.x as an :class:`~mcpcore_transports.adapters.server.Sdk`.

    ``prepare``: a function that is called before each handler, in its task.
    """

    def __init__(self, low: Any, prepare: Callable[[], object] | None = None) -> None:
        self._low = low
        self._prepare = prepare
        self._runner = import_module("mcp.server.runner")
        self._connection = _connection_class()
        errors = import_module("mcp.shared.exceptions")
        self._error, self._no_back_channel = errors.MCPError, errors.NoBackChannelError
        transport = import_module("mcp.shared.transport_context").TransportContext
        self.transports = {
            asks: transport(kind="mcpcore", can_send_request=asks) for asks in (False, True)
        }
        self._invalid = import_module("pydantic").ValidationError
        self.info = dumped(low.server_info)
        self.instructions: str | None = low.instructions
        self.header_params = _HeaderParams(low)
        # Modern clients name themselves in each request, mostly in the same way.
        self._facts = lru_cache(_CLIENTS)(self._read_client)

    @property
    def extension_methods(self) -> frozenset[str]:
        """Methods of extensions; the SDK has no public list of its handlers."""
        return frozenset(self._low._request_handlers) - KNOWN_METHODS

    def lifespan(self) -> AbstractAsyncContextManager[Any]:
        """Make the context manager of the lifespan."""
        made: AbstractAsyncContextManager[Any] = self._low.lifespan(self._low)
        return made

    def capabilities(self) -> dict[str, Any]:
        """Return the declared capabilities."""
        return dumped(self._low.create_initialization_options().capabilities)

    def handles(self, method: str) -> bool:
        """Return True if there is a handler for a request."""
        return self._low.get_request_handler(method) is not None

    def listens(self, method: str) -> bool:
        """Return True if there is a handler for a notification."""
        return self._low.get_notification_handler(method) is not None

    def watch(self, publish: Notify) -> Callable[[], None]:
        """Publish the events of the bus that the SDK's own ``subscriptions/listen`` reads."""
        entry = self._low.get_request_handler("subscriptions/listen")
        subscriptions = import_module("mcp.server.subscriptions")
        if entry is None or not isinstance(entry.handler, subscriptions.ListenHandler):
            return lambda: None
        to_notification = import_module("mcp.shared.subscriptions").event_to_notification

        def heard(event: Any) -> None:
            notification = dumped(to_notification(event, {}))
            publish(notification["method"], notification.get("params"))

        undo: Callable[[], None] = entry.handler._bus.subscribe(heard)
        return undo

    async def answer(self, context: Context, publish: Notify) -> dict[str, Any]:
        """Run the handler of a request."""
        params = decoded(context.params)
        params.pop(_STATE, None)  # it was sealed by our runtime, with the SDK's state in it
        if (state := context.state.kept.get(_STATE)) is not None:
            params[_STATE] = decoded(state)
        kept = context.session_state
        connection = kept.get("mcp.connection")
        if connection is None:
            connection = kept["mcp.connection"] = self._connect(context, publish)
        if self._prepare is not None:
            self._prepare()
        enter(context, connection.outbound)
        runner = self._runner.ServerRunner(self._low, connection, context.lifespan)
        dispatch = _Dispatch(self, context, connection.outbound.change)
        stacks = list[AsyncExitStack]()
        _stacks.set(stacks)
        try:
            result: dict[str, Any]
            mirror = context.event.mirror
            if mirror is not None and self.header_params.lacks(context.method, params):
                await self._compare(context, mirror, runner, dispatch, params)
            result = await runner.on_request(dispatch, context.method, params)
        except self._error as error:
            raise protocol_error(error.error) from None
        except self._invalid as error:
            raise invalid(error) from None
        finally:
            if stacks:
                await self._runner.aclose_shielded(connection)
        if result.get("resultType") == "input_required":
            raise self._needed(context, result)
        if context.method == "tools/list":
            self.header_params.note(result.get("tools", ()))
        return result

    async def hear(self, context: NotificationContext, publish: Notify) -> None:
        """Run the handler of a notification."""
        connection = context.session_state.get("mcp.connection")
        if connection is None:  # modern, or before the first request of the session
            name = None if context.revision is None else context.revision.name
            connection = self._connection.from_envelope(name or "2026-07-28", None, None)
        runner = self._runner.ServerRunner(self._low, connection, context.lifespan)
        dispatch = _Dispatch(self, context, publish)
        stacks = list[AsyncExitStack]()
        _stacks.set(stacks)
        try:
            await runner.on_notify(dispatch, context.method, decoded(context.params))
        finally:
            if stacks:
                await self._runner.aclose_shielded(connection)

    async def ask(
        self,
        context: AnyContext | None,
        method: str,
        params: Mapping[str, Any] | None,
        opts: Mapping[str, Any] | None,
    ) -> Any:
        """Ask the client.  Raises the SDK's errors."""
        if context is not None and not _asks(context):
            raise self._no_back_channel(method)
        given = opts or {}
        heard, limit = given.get("on_progress"), given.get("timeout")
        try:
            return await ask(context, method, params, heard, limit)
        except McpError as error:
            raise self._error(**error_data(error)) from None

    async def _compare(
        self, context: Context, mirror: Mirror, runner: Any, dispatch: "_Dispatch", call: Any
    ) -> None:
        """Compare the headers of a call of a tool that no list has told of, with a list for it.

        Raises McpError (-32020).  A list that fails tells nothing, as with the SDK.
        """
        asked = {"_meta": call.get("_meta")}
        for _ in range(_PAGES):
            try:
                page = await runner.on_request(dispatch, "tools/list", asked)
            except Exception:
                return
            self.header_params.note(page.get("tools", ()))
            asked["cursor"] = page.get("nextCursor")
            if not self.header_params.lacks(context.method, call) or asked["cursor"] is None:
                break
        wanted = self.header_params.get(call["name"])
        if wanted and (flaw := argument_mismatch(mirror, wanted, context.params)):
            raise McpError(HEADER_MISMATCH, f"header mismatch: {flaw}")

    def _read_client(self, client: bytes) -> tuple[Any, Any]:
        read = decoded(client)
        made = self._connection.from_envelope(
            read["protocolVersion"], read["clientInfo"], read["capabilities"]
        )
        return made.client_params, made.client_capabilities

    def _connect(self, context: Context, publish: Notify) -> Any:
        params, capabilities = self._facts(client_of(context))
        connection = self._connection(
            _SdkOutbound(self, changes(context, publish)),
            protocol_version=context.revision.name,
            session_id=context.session,
            client_params=params,
        )
        connection.client_capabilities = capabilities
        connection.initialized.set()
        return connection

    def _needed(self, context: Context, result: Mapping[str, Any]) -> InputNeeded:
        if (state := result.get(_STATE)) is not None:
            context.state.kept[_STATE] = Raw(msgspec.json.encode(state))
        wanted = result.get("inputRequests") or {}
        return InputNeeded(
            {key: InputRequest(each["method"], each.get("params")) for key, each in wanted.items()}
        )


@cache
def _connection_class() -> Any:
    """Return the SDK's class of connections, with an exit stack for each request that uses it."""

    class Connection(import_module("mcp.server.connection").Connection):  # type: ignore[misc]
        @property
        def exit_stack(self) -> AsyncExitStack:
            stacks = _stacks.get([])  # else nothing ends it
            if not stacks:
                stacks.append(AsyncExitStack())
            return stacks[0]

        @exit_stack.setter
        def exit_stack(self, stack: AsyncExitStack) -> None:
            """Take that of the base class, which nothing uses."""

    return Connection


def _asks(context: AnyContext) -> bool:
    """Return True if the server sends requests to the client in the revision of a message."""
    return context.revision is not None and context.revision.server_requests


class _SdkOutbound:
    """Side of a connection to its client, for messages that no request is named for."""

    def __init__(self, sdk: Sdk2, change: Notify) -> None:
        self._sdk = sdk
        self.change = change

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: Mapping[str, Any] | None = None
    ) -> Any:
        """Ask the client, on the stream of the request of it that is handled."""
        return await self._sdk.ask(running_for(self), method, params, opts)

    async def notify(
        self, method: str, params: Mapping[str, Any] | None, opts: object = None
    ) -> None:
        """Notify the client, on the stream of the request of it that is handled, if any is."""
        tell(running_for(self), method, params, self.change)


class _Dispatch:
    """Dispatch context of SDK 2.x for one message."""

    message_metadata = None

    def __init__(self, sdk: Sdk2, context: Context | NotificationContext, change: Notify) -> None:
        self._sdk = sdk
        self._context = context
        self._change = change
        self.can_send_request = _asks(context)
        self.transport = sdk.transports[self.can_send_request]
        self.request_id = context.request_id if isinstance(context, Context) else None

    @cached_property
    def cancel_requested(self) -> anyio.Event:
        """Event that is never set: a handler whose request is cancelled is cancelled itself."""
        return anyio.Event()

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: Mapping[str, Any] | None = None
    ) -> Any:
        """Ask the client, on the stream of the request."""
        return await self._sdk.ask(self._context, method, params, opts)

    async def notify(
        self, method: str, params: Mapping[str, Any] | None, opts: object = None
    ) -> None:
        """Notify the client."""
        tell(self._context, method, params, self._change)

    async def progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Report progress of the request."""
        if isinstance(self._context, Context):
            self._context.progress(progress, total, message)


class _HeaderParams(Mapping[str, Mapping[str, tuple[str, ...]]]):
    """Mirrored arguments by tool, read out of the input schemas that the SDK looks up.

    A server without such a look-up (fastmcp) tells them in its lists, as clients know them.
    """

    def __init__(self, low: Any) -> None:
        self._low = low
        self._listed: dict[str, Mapping[str, tuple[str, ...]]] = {}

    def lacks(self, method: str, params: Mapping[str, Any]) -> bool:
        """Return True for a call of a tool that no list has told of, without a look-up."""
        name = params.get("name")
        named = method == "tools/call" and isinstance(name, str)
        return named and self._low.get_tool_input_schema is None and name not in self._listed

    def note(self, tools: Iterable[Mapping[str, Any]]) -> None:
        """Keep what a page of ``tools/list`` tells; the oldest of too many are forgotten."""
        if self._low.get_tool_input_schema is not None:
            return
        for tool in tools:
            self._listed.pop(tool["name"], None)  # to be the newest
            self._listed[tool["name"]] = _header_params(msgspec.json.encode(tool["inputSchema"]))
        while len(self._listed) > _SCHEMAS:
            del self._listed[next(iter(self._listed))]

    def __getitem__(self, name: str) -> Mapping[str, tuple[str, ...]]:
        look_up = self._low.get_tool_input_schema
        if look_up is None:
            return self._listed[name]
        schema = look_up(name)
        found = schema and _header_params(msgspec.json.encode(schema))
        if not found:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@lru_cache(_SCHEMAS)
def _header_params(schema: bytes) -> Mapping[str, tuple[str, ...]]:
    try:
        return header_params(decoded(schema))
    except ValueError:  # clients leave out a tool whose annotations break a rule
        return {}
