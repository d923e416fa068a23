"""Exceptions, one tree for the engine, its service and the drivers.

There are four kinds, which are never mixed up:

- :class:`McpError` is an error of the protocol, raised to be sent; :class:`PeerError` is one that
  the other side sent.
- :class:`HandlerError` is raised by a server's functions, and its message is shown to the client.
  Any other exception of theirs is masked.
- :class:`ToolFailed` is the result of a tool that reports an error.
- :class:`LocalError` happened on this side and is never sent: a mistake of the application
  (:class:`LocalProtocolError`), a call without an answer (:class:`CallFailed`), a connection that
  cannot be opened (:class:`LinkError`), a server that cannot start.

:class:`InputNeeded` is no error, but a signal that leaves a handler.  An exception that never
leaves the package that raises it is defined there.
"""

from typing import TYPE_CHECKING

from mcpcore.engine.events import Fault
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS
from mcpcore.spec.errors import CapabilityMissing as CapabilityMissing
from mcpcore.spec.errors import ErrorData as ErrorData
from mcpcore.spec.errors import Forbidden as Forbidden
from mcpcore.spec.errors import LocalError as LocalError
from mcpcore.spec.errors import LocalProtocolError as LocalProtocolError
from mcpcore.spec.errors import McpError as McpError
from mcpcore.spec.errors import ToolFailed as ToolFailed

if TYPE_CHECKING:  # late: few errors carry them
    from collections.abc import Mapping, Sequence

    from mcpcore.engine.input_rounds import InputRequest
    from mcpcore.engine.seal import SealRefusal
    from mcpcore.spec.types.client_features import ElicitUrlParams
    from mcpcore.spec.types.tasks import Task


class HandlerError(Exception):
    """Base of the exceptions whose message the client sees.

    ``code``: error code of the JSON-RPC error, which the failure becomes everywhere but in tools.
    """

    code: int = INTERNAL_ERROR


class ToolError(HandlerError):
    """Failure of a tool: the client gets a result with ``isError`` and this message.

    >>> raise ToolError("There is no city of that name.")
    Traceback (most recent call last):
    mcpcore.errors.ToolError: There is no city of that name.
    """


class ResourceError(HandlerError):
    """Failure to read an existing resource."""


class ResourceNotFound(ResourceError):
    """Missing resource; the code depends on the revision, ``data`` holds the URI."""

    def __init__(self, message: str = "Resource not found") -> None:
        super().__init__(message)


class PromptError(HandlerError):
    """Failure to fill in a prompt with the given arguments."""

    code = INVALID_PARAMS


class InvalidValue(LocalError, ValueError):
    """Value that does not fit its type or schema; the message names the field."""


class MaskedError(LocalError):
    """Failure of which the client sees only the ``rule``; the message is for the log alone."""

    def __init__(self, message: str, rule: str = "") -> None:
        super().__init__(message)
        self.rule = rule


class OutputMismatch(MaskedError):
    """Result of a handler that cannot be sent; ``rule`` names the broken rule."""


class HandlerExit(MaskedError):
    """Handler that ended with an exception that is no :class:`Exception`, such as SystemExit."""

    def __init__(self, cause: BaseException) -> None:
        rule = "the handler tried to end the program" if isinstance(cause, SystemExit) else ""
        super().__init__(f"it ended with {type(cause).__name__}", rule)
        self.__cause__ = cause


class LifespanError(LocalError):
    """Failure of a server's lifespan: at its start, while it was needed, or at its end."""


class ValidatorMissing(LocalError):
    """Use of a feature that needs a validator of JSON Schemas, without one."""

    def __init__(self, what: str, has: str = "has a JSON Schema written by hand") -> None:
        super().__init__(
            f"{what} {has}, which needs a validator: "
            "pip install 'mcpcore[schema]', then "
            "Server(..., validator=compile_schema) with `from mcpcore import compile_schema`"
        )


class PeerError(McpError):
    """The server answered ``method`` with an error, ``error``."""

    fault: Fault | None = None
    """Refusal of the transport that brought the answer, with its status (HTTP)."""

    def __init__(self, method: str, error: ErrorData) -> None:
        super().__init__(error.code, error.message, error.data)
        self.method = method


class UrlElicitationRequired(PeerError):
    """The server requires visits to URLs first, listed in ``elicitations`` (2025-11-25)."""

    def __init__(
        self, method: str, error: ErrorData, elicitations: "Sequence[ElicitUrlParams]"
    ) -> None:
        super().__init__(method, error)
        self.elicitations = tuple(elicitations)


class AuthorizationError(LocalError):
    """Authorization did not succeed; the message is one sentence for the user, without secrets."""


class CallFailed(LocalError):
    """A request ended without an answer of the server."""

    fault: Fault | None = None
    """Details of the failure, if the transport gives them (HTTP)."""

    def __init__(self, method: str, message: str) -> None:
        told = message.startswith(f"{method}:")
        super().__init__(message if told else f"{method}: {message}")
        self.method = method


class RequestTimeout(CallFailed, TimeoutError):
    """No answer arrived in time; the server was told that the request is cancelled."""


class ConnectionClosed(CallFailed, ConnectionError):
    """The connection ended before the answer, or had ended already."""


class RequestRefused(CallFailed):
    """The request was not carried out: negotiation failed, or the transport refused it.

    One exception: an HttpStatusError for a stream that could not be resumed, whose request was
    sent before.
    """


class CircuitOpen(RequestRefused):
    """The request was not sent, as the server or the tool keeps failing.

    ``wait``: seconds after which the circuit breaker lets another request through, at the latest.
    """

    def __init__(self, method: str, wait: float) -> None:
        super().__init__(
            method, f"the circuit breaker is open; try again in {round(wait, 4):g} seconds"
        )
        self.wait = wait


class RequestAborted(CallFailed):
    """The request was cancelled on this side, but not by its caller."""


class InvalidResponse(CallFailed):
    """The server's answer violates the protocol or does not have the promised type."""


class SkillRefused(InvalidResponse):
    """A skill breaks a rule, or a file of it is not as its entry says; it must not be used.

    What is cached of skills was dropped: get the entry again, and ask the user again.
    """


class InputFailed(CallFailed):
    """The server asked for input that this client cannot or may not give.

    The cause is the exception of the callback, if there was one.
    """


class HttpStatusError(RequestRefused):
    """The server answered with an HTTP error ``status`` and no JSON-RPC error.

    ``retry_after``: seconds that the server asked to wait, None if it did not.
    """

    status = 0
    retry_after: float | None = None


class CallUnauthorized(HttpStatusError, AuthorizationError):
    """The server wants authorization, which did not succeed: the message ends with the reason.

    ``status``: 401 or 403; 0 if the request was not sent for want of a token.
    """


class RedirectRefused(HttpStatusError):
    """The server redirected a message to ``location``; it was not sent there."""

    location: str | None = None


class HeadersFailed(RequestRefused):
    """The function that makes request headers failed, or made some that cannot be sent."""


class ResponseTooLarge(InvalidResponse):
    """A response, or an event in it, is over a limit, compressed or not."""


class ResponseUndecodable(InvalidResponse):
    """A response has an unsupported compression, or its compressed data is broken."""


class MalformedResponse(InvalidResponse):
    """The received data is no HTTP response."""


class ConnectFailed(ConnectionClosed):
    """No connection could be opened."""


class ServerUnavailable(ConnectFailed):
    """Error for ``server``, one of several, without a connection; the cause is its last failure.

    ``wait``: seconds until another is tried, None if that does not happen by itself.
    """

    def __init__(
        self, method: str, server: str, reason: str, wait: float | None, fault: Fault
    ) -> None:
        super().__init__(method, f"the server {server!r} is not available: {reason}")
        self.server = server
        self.wait = wait
        self.fault = fault


class ConnectTimeout(ConnectFailed, TimeoutError):
    """No connection was open in time."""


class TlsFailed(ConnectFailed):
    """The connection could not be secured, or one side does not trust the other."""


class ProxyFailed(ConnectFailed):
    """The proxy refused the connection; ``status`` is its answer, None if it gave none."""

    status: int | None = None


class ServerStalled(ConnectionClosed, TimeoutError):
    """The server stopped reading a request, or sending its response, for too long."""


class NegotiationError(LocalError):
    """Negotiation failed; ``error`` is the server's error, if it sent one.

    If the connection failed, the CallFailed with the details is the cause.
    """

    def __init__(self, message: str, error: ErrorData | None = None) -> None:
        super().__init__(message)
        self.error = error


class TaskCancelled(CallFailed):
    """Error for a task that was cancelled by another party; ``task`` is its last state."""

    def __init__(self, task: "Task") -> None:
        reason = "" if task.status_message is None else f": {task.status_message}"
        super().__init__("tools/call", f"the task {task.task_id} was cancelled{reason}")
        self.task = task


class LinkError(LocalError):
    """Failure to open a connection; the message is one sentence for the user.

    Over HTTP, :class:`NegotiationError` tells of it.
    ``fault`` is the kind of failure, where that is known.  ``final``: True if a retry would not
    help; by default this follows from the fault.
    """

    def __init__(
        self, message: str, fault: Fault | None = None, *, final: bool | None = None
    ) -> None:
        super().__init__(message)
        self.fault = fault
        if final is None:
            from mcpcore.engine.reconnection import fails_for_good  # late: few need it

            final = fails_for_good(fault)
        self.final = final


class LinkUnauthorized(LinkError, AuthorizationError):
    """A connection needs authorization, which did not succeed: the message ends with the reason."""


class BadTarget(LocalError, ValueError):
    """The target cannot be connected to or listened on; the message says why."""


class BadConfig(BadTarget):
    """A configuration file that cannot be used; the message gives the place and the reason."""


class RegistryError(LocalError):
    """A registry of servers cannot be used, or what it lists; the message names what and why."""


class BadTls(LocalError, ValueError):
    """Error for a certificate or key that cannot be used; the message names it and the reason."""


class BadProxy(LocalError, ValueError):
    """Error for an invalid proxy; the message gives the reason, without its password."""


class UrlRefused(AuthorizationError, ValueError):
    """A URL of OAuth that is not fetched, opened or sent to; ``what`` names its role."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} cannot be used: {reason}")
        self.what = what


class DocumentRefused(AuthorizationError, ValueError):
    """A document or response of OAuth that cannot be used; ``what`` names it."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} cannot be used: {reason}")
        self.what = what


class TableFull(LocalError):
    """No room for another task."""


class TooManyQuestions(LocalError):
    """Maximum number of requests for input reached by a task."""


class TemplateError(LocalError, ValueError):
    """Text that is not a supported URI template, or cannot be matched."""


class UnsafeValue(LocalError, ValueError):
    """Dangerous value of a variable in a URI that matches."""

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(f"variable {variable!r}: {reason}")
        self.variable = variable


class BadPattern(LocalError, ValueError):
    """Regular expression that is not valid or not supported; the message says why."""


class InputNeeded(BaseException):
    """Signal that leaves a handler of the modern era to ask the client first.

    It is no Exception, so that ``except Exception`` in a handler does not swallow it; let it pass.
    """

    def __init__(self, requests: "Mapping[str, InputRequest]") -> None:
        super().__init__(f"input needed: {', '.join(requests)}")
        self.requests = dict(requests)


class InputUnavailable(HandlerError):
    """Error: the client cannot be asked, refused to answer, or gave no usable answer."""


class Malformed(LocalError, ValueError):
    """Error for a message, or a part of one, of the wrong type; the text names the member."""


class Unsayable(HandlerError, ValueError):
    """Error for content that the negotiated revision cannot express; the text names it."""


class WorkersFailed(LocalError):
    """Failure to start the workers; ``said``: True if the message comes from one of them."""

    def __init__(self, message: str, *, said: bool = False) -> None:
        super().__init__(message)
        self.said = said


class SealBroken(LocalError):
    """Refusal of a state; the message is safe to show and says why, as ``reason`` does."""

    def __init__(self, reason: "SealRefusal") -> None:
        super().__init__(reason.value)
        self.reason = reason


class BadTrace(LocalError, ValueError):
    """Line of a trace that cannot be read."""


class StoreUnavailableError(LocalError):
    """The store cannot be reached, or refuses the operation."""


class StoreUrlError(BadTarget):
    """The URL names no known store, or has an option that the store does not know."""


class ExtraMissingError(LocalError, ImportError):
    """Extra of mcpcore that is needed and not installed; the message names it."""


__all__ = [name for name, value in vars().items() if isinstance(value, type)]
