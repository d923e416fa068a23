"""Exceptions of handlers: reduced to one, named, logged, and masked for the client."""

import logging
from typing import Any

import msgspec
from msgspec import Raw, Struct

from mcpcore.engine.input_rounds import InputRequest
from mcpcore.errors import HandlerExit, InputNeeded
from mcpcore.service.handlers import is_masked, shown
from mcpcore.spec.errors import ErrorData, Forbidden
from mcpcore.spec.methods import KNOWN_METHODS, SUBJECTS
from mcpcore_transports.running.functions import failure_of, settled
from mcpcore_transports.server.settings import RuntimeSettings

logger = logging.getLogger("mcpcore.server")

REVEALING = (
    "reveal_errors is on: clients see what handlers raise, secrets included; turn it off where "
    "anybody else can reach the server"
)

_KEPT = 1000
"""Maximum number of exceptions kept; beyond that the oldest is dropped."""


class _Params(Struct):
    name: Any = None
    uri: Any = None
    ref: Any = None


def subject(method: str, params: Raw | bytes) -> str | None:
    """Return the subject of a request: the name of a tool or prompt, or a URI; None without one."""
    try:
        said = msgspec.json.decode(params, type=_Params)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    member = SUBJECTS.get(method)  # alone, as a client may add others
    if member is not None:
        found = [getattr(said, member, None)]  # no task, whose id may be a secret
    elif method in KNOWN_METHODS:
        ref = said.ref if method == "completion/complete" and isinstance(said.ref, dict) else {}
        found = [ref.get("name" if ref.get("type") == "ref/prompt" else "uri")]
    else:
        found = [said.name, said.uri]
    return next((each for each in found if isinstance(each, str)), None)


def operation(method: str, params: Raw | bytes) -> str:
    """Return the method and the subject of a request, for logs."""
    name = subject(method, params)
    return method if name is None else f"{method} {name!r}"


def about(method: str, params: Raw | bytes) -> str:
    """Return a name for the handler of a request, for messages."""
    return f"the handler of {operation(method, params)}"


def warn_if_revealing(settings: RuntimeSettings) -> None:
    """Warn, once per server, that clients are shown errors that are normally hidden."""
    if settings.reveal_errors:
        logger.warning(REVEALING)


class RaisedExceptions:
    """Exceptions of server functions for a client in the same process to raise, by error id."""

    def __init__(self) -> None:
        self._kept: dict[str, BaseException] = {}

    def keep(self, error_id: str, error: Exception) -> None:
        """Keep the exception of a server function."""
        cause = error.__cause__ if isinstance(error, HandlerExit) else None
        self._kept[error_id] = cause or error
        if len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]

    def raise_for(self, outcome: object) -> None:
        """Raise the exception that the outcome of a request, or the state of a task, refers to."""
        error, result = getattr(outcome, "error", None), getattr(outcome, "result", None)
        said = error.message.encode() if isinstance(error, ErrorData) else b""
        if isinstance(result, Raw):
            said = bytes(result)
        for error_id in self._kept:
            if error_id.encode() in said:
                raise self._kept.pop(error_id)

    def raise_rest(self) -> None:
        """Raise the remaining exceptions, mostly of functions whose calls are not awaited."""
        left = list(self._kept.values())
        self._kept.clear()
        if len(left) > 1:
            raise BaseExceptionGroup("functions of the server failed", left)
        if left:
            raise left[0]


class Failures:
    """Logging of exceptions of a server's functions, and their texts for the client."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self._new_id = settings.error_ids
        self._reveal = settings.reveal_errors
        self.raised: RaisedExceptions | None = None
        """Store of masked exceptions, for a client in the same process that wants to raise them."""

    def told(self, what: str, error: Exception) -> str:
        """Return the text of an exception for the client; log a masked one under an error id."""
        if not is_masked(error):
            return shown(error)
        made = self._new_id()
        extra = {"mcp_error_id": made}
        logger.error("%s failed (error id %s)", what, made, exc_info=error, extra=extra)
        if self.raised is not None:
            self.raised.keep(made, error)
        return shown(error, made, reveal=self._reveal)


def simplified(error: BaseException) -> Exception | InputNeeded:
    """Reduce the exceptions of a handler with task groups to one, so that a ToolError stays one.

    If tasks of the handler asked the client, all of their questions are joined; so are the scopes
    that they need.  Raises exceptions that are no failure: see
    :mod:`mcpcore_transports.running.functions`.
    """
    if isinstance(error, InputNeeded):
        return error
    if isinstance(error, BaseExceptionGroup):
        asked, rest = error.split(InputNeeded)
        if asked is not None:
            if rest is None:
                return InputNeeded(_requests(asked))
            error = rest
        refused, rest = error.split(Forbidden)
        if refused is not None and rest is None:
            return _joined(refused)
    return failure_of(settled(error))


def _joined(error: Forbidden | BaseExceptionGroup[Forbidden]) -> Forbidden:
    """Return the refusal that names the scopes of all: a client asks for them once."""
    if isinstance(error, Forbidden):
        return error
    found = [_joined(each) for each in error.exceptions]
    if len(found) == 1:
        return found[0]
    scopes = frozenset[str]().union(*(each.scopes for each in found))
    return Forbidden(scopes, role=any(each.role for each in found))


def _requests(error: InputNeeded | BaseExceptionGroup[InputNeeded]) -> dict[str, InputRequest]:
    if isinstance(error, InputNeeded):
        return error.requests
    return {key: each for inner in error.exceptions for key, each in _requests(inner).items()}
