"""Facts of a request, for its handler."""

from typing import TYPE_CHECKING, Any

from msgspec import Raw

from mcpcore.engine.events import RequestReceived
from mcpcore.errors import InputUnavailable
from mcpcore.http.principals import Principal
from mcpcore.spec.capabilities import declares, requirement
from mcpcore.spec.errors import MISSING_CLIENT_CAPABILITY, McpError
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Implementation, RequestMeta
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.wire.message import RequestId
from mcpcore_transports.running.pending import Run
from mcpcore_transports.running.threads import in_loop
from mcpcore_transports.server.elicitation import RoundState

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # its defaults are in typing from Python 3.13 on

    from mcpcore_transports.server.runtime import ServerRuntime
    from mcpcore_transports.server.tasks.calls import TaskCall

    L = TypeVar("L", default=Any)
else:
    from typing import TypeVar

    L = TypeVar("L")
"""Type of the value that the lifespan of a server yields; anything by default."""


class RequestFacts:
    """Facts of a request, and of the task that the request may have become.

    This class holds all the state of a :class:`~mcpcore_transports.server.context.Context`; its
    subclasses add methods only, so that they can be combined.
    """

    __slots__ = (
        "_counts",
        "_request",
        "_result_meta",
        "_runtime",
        "_state",
        "call",
        "cancel_reason",
        "scope",
        "thread",
    )

    def __init__(
        self,
        request: RequestReceived,
        runtime: "ServerRuntime",
        state: RoundState | None,
        call: "TaskCall | None" = None,
    ) -> None:
        self._request = request
        self._runtime = runtime
        self.thread = runtime.thread
        """Identifier of the event loop's thread."""
        self._state = state
        self._counts: dict[str, int] | None = None
        self._result_meta: dict[str, Any] | None = None
        self.scope: Run | None = None
        """Scope that is cancelled with the request; None for a plain function."""
        self.call = call
        """The tool call that is a task or may become one; None for all other requests."""
        self.cancel_reason: str | None = None
        """Reason for the client's cancellation or another end of the request, if it is known."""

    @property
    def request_id(self) -> RequestId:
        """The client's id of the request."""
        return self._request.id

    @property
    def method(self) -> str:
        """The method, for instance ``tools/call``."""
        return self._request.method

    @property
    def params(self) -> Raw:
        """The request's params object, as sent."""
        return self._request.params

    @property
    def meta(self) -> RequestMeta:
        """The request's ``_meta``: progress token, ``traceparent`` and so on."""
        return self._request.meta

    @property
    def result_meta(self) -> dict[str, Any]:
        """Members for the ``_meta`` of the result, whatever the handler returns; to be filled.

        Members that a result has itself take precedence, and members reserved for the engine are
        left out.  Errors of the protocol have no ``_meta``.
        """
        if self._result_meta is None:
            self._result_meta = {}
        return self._result_meta

    def take_result_meta(self, own: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return the rest of :attr:`result_meta` that was not taken yet, overridden by ``own``.

        ``own`` is the ``_meta`` of the result itself.  For the runtime and its middleware.
        """
        added, self._result_meta = self._result_meta, None
        return {**added, **(own or {})} if added else own

    @property
    def client_info(self) -> Implementation | None:
        """The client's name and version according to itself."""
        return self._request.client_info

    @property
    def client_capabilities(self) -> ClientCapabilities:
        """Capabilities that the client has declared."""
        return self._request.client_capabilities

    @property
    def revision(self) -> Revision:
        """Revision of the request."""
        return self._request.revision

    @property
    def session(self) -> str | None:
        """The session's id (legacy HTTP)."""
        return self._request.session

    @property
    def principal(self) -> Principal | None:
        """The authenticated user, or None: a string, with ``scopes`` and ``claims``."""
        principal = self._request.principal
        if principal is None or isinstance(principal, Principal):
            return principal
        return Principal(principal)

    @property
    def cancelled(self) -> bool:
        """True if the client wants no answer any more; in ``async def`` every ``await`` raises."""
        return self._is_cancelled()

    @in_loop
    def _is_cancelled(self) -> bool:
        return self.scope is not None and self.scope.cancel_called

    def supports(self, capability: str) -> bool:
        """Return True if the client declared ``capability``, for instance ``elicitation.url``."""
        return declares(self._request.client_capabilities, capability)

    def require(self, capability: str) -> None:
        """Refuse the request unless the client declared ``capability``.

        Raises McpError -32021 (modern) or InputUnavailable (legacy).
        """
        if self.supports(capability):
            return
        message = f"the client does not support {capability}"
        if self.revision.input_rounds:
            data = {"requiredCapabilities": requirement(capability)}
            raise McpError(MISSING_CLIENT_CAPABILITY, message, data)
        raise InputUnavailable(message)

    # The task of a tool call

    @property
    def task_id(self) -> str | None:
        """Id of the task that the call has become, None if it is none (yet)."""
        task = self._task
        return None if task is None or task.record is None else task.record.id

    @in_loop
    def start_task(self) -> bool:
        """Continue as a task: the client gets the task's handle and asks for the result later.

        Earlier questions belong to the request, whose input rounds end here (modern); later
        questions belong to the task.  Returns False if the client cannot follow tasks, the tool
        does not declare them, or there are too many; the call then continues as it is.
        """
        return self.call is not None and self.call.begin_if_possible()

    @property
    def _task(self) -> "TaskCall | None":
        call = self.call
        return None if call is None or call.record is None else call

    # State of earlier rounds

    @property
    def state(self) -> RoundState:
        """State for a further input round."""
        if self._state is None:
            self._state = RoundState()
        return self._state
