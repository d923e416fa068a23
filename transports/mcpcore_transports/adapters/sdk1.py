"""Low-level server of the official Python SDK 1.x: handlers by type of request.

Its handlers take the request, and find session and context in a context variable.  The session is
the SDK's class without its streams: :func:`_session_class`.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import cache
from importlib import import_module
from typing import Any, get_args

from mcpcore.spec.errors import McpError
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


class Sdk1:
    """Low-level server of SDK 1.x as an :class:`~mcpcore_transports.adapters.server.Sdk`."""

    extension_methods: frozenset[str] = frozenset()
    header_params: Mapping[str, Mapping[str, tuple[str, ...]]] = {}

    def __init__(self, low: Any) -> None:
        self._low = low
        types = import_module("mcp.types")
        self._requests = _by_method(get_args(types.ClientRequestType))
        self._notifications = _by_method(get_args(types.ClientNotificationType))
        self._lowlevel = import_module("mcp.server.lowlevel.server")
        self._make_context = import_module("mcp.shared.context").RequestContext
        self._experimental = import_module("mcp.server.experimental.request_context").Experimental
        declared = low.create_initialization_options()
        self.info = dumped(
            types.Implementation(
                name=declared.server_name,
                version=declared.server_version,
                websiteUrl=declared.website_url,
                icons=declared.icons,
            )
        )
        self.instructions: str | None = declared.instructions

    def lifespan(self) -> AbstractAsyncContextManager[Any]:
        """Make the context manager of the lifespan."""
        made: AbstractAsyncContextManager[Any] = self._low.lifespan(self._low)
        return made

    def capabilities(self) -> dict[str, Any]:
        """Return the declared capabilities."""
        return dumped(self._low.create_initialization_options().capabilities)

    def handles(self, method: str) -> bool:
        """Return True if there is a handler for a request."""
        return self._requests.get(method) in self._low.request_handlers

    def listens(self, method: str) -> bool:
        """Return True if there is a handler for a notification."""
        return self._notifications.get(method) in self._low.notification_handlers

    def watch(self, publish: Notify) -> Callable[[], None]:
        """Do nothing: sessions alone tell changes."""
        return lambda: None

    async def answer(self, context: Context, publish: Notify) -> dict[str, Any]:
        """Run the handler of a request."""
        request = _read(self._requests[context.method], context)
        state = context.session_state
        session = state.get("mcp.session")
        if session is None:
            session = state["mcp.session"] = _session_class()(context, publish)
        enter(context, session)
        meta = None if request.params is None else request.params.meta
        capabilities = session.client_params.capabilities
        experimental = self._experimental(_client_capabilities=capabilities, _session=session)
        self._lowlevel.request_ctx.set(
            self._make_context(context.request_id, meta, session, context.lifespan, experimental)
        )
        try:
            given = await self._low.request_handlers[type(request)](request)
        except import_module("mcp.shared.exceptions").McpError as error:
            raise protocol_error(error.error) from None
        return dumped(given)

    async def hear(self, context: NotificationContext, publish: Notify) -> None:
        """Run the handler of a notification."""
        notification = _read(self._notifications[context.method], context)
        await self._low.notification_handlers[type(notification)](notification)


def _read(kind: Any, context: AnyContext) -> Any:
    try:
        return kind.model_validate({"method": context.method, "params": decoded(context.params)})
    except import_module("pydantic").ValidationError as error:
        raise invalid(error) from None


def _by_method(kinds: Iterable[Any]) -> dict[str, Any]:
    return {kind.model_fields["method"].default: kind for kind in kinds}


@cache
def _session_class() -> Any:
    """Return a class of sessions whose messages go through our contexts, not through streams."""
    types = import_module("mcp.types")
    sdk_error = import_module("mcp.shared.exceptions").McpError

    class DirectSession(import_module("mcp.server.session").ServerSession):  # type: ignore[misc]
        def __init__(self, context: Context, publish: Notify) -> None:
            # Nothing of the base class, whose state is that of its streams.
            # Nor the context: it would keep the first request as long as the session lasts.
            self._client_params = types.InitializeRequestParams.model_validate(
                decoded(client_of(context))
            )
            self._change = changes(context, publish)

        async def send_request(
            self,
            request: Any,
            result_type: Any,
            request_read_timeout_seconds: timedelta | None = None,
            metadata: Any = None,
            progress_callback: Any = None,
        ) -> Any:
            asked = dumped(request)
            limit = request_read_timeout_seconds
            try:
                answer = await ask(
                    running_for(self),
                    asked["method"],
                    asked.get("params"),
                    progress_callback,
                    None if limit is None else limit.total_seconds(),
                )
            except McpError as error:
                raise sdk_error(types.ErrorData(**error_data(error))) from None
            return result_type.model_validate(answer)

        async def send_notification(
            self, notification: Any, related_request_id: Any = None
        ) -> None:
            told = dumped(notification)
            tell(running_for(self), told["method"], told.get("params"), self._change)

    return DirectSession
