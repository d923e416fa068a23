"""Exceptions of server functions that the client in the same process raises itself.

A test that connects with ``raise_exceptions=True`` gets the original exception, with its traceback,
in place of the masked error, whose id identifies it.
"""

from msgspec import Raw

from mcpcore.errors import HandlerExit
from mcpcore.spec.errors import ErrorData

_KEPT = 1000
"""Maximum number of exceptions kept; beyond that the oldest is dropped."""


class Raised:
    """Exceptions that have not been raised yet, by the ids of their errors."""

    def __init__(self) -> None:
        self._kept: dict[str, BaseException] = {}

    def keep(self, error_id: str, error: Exception) -> None:
        """Keep the exception of a server function."""
        cause = error.__cause__ if isinstance(error, HandlerExit) else None
        self._kept[error_id] = cause or error
        if len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]

    def meet(self, outcome: object) -> None:
        """Raise the exception that the outcome of a request, or the state of a task, refers to."""
        error, result = getattr(outcome, "error", None), getattr(outcome, "result", None)
        said = error.message.encode() if isinstance(error, ErrorData) else b""
        if isinstance(result, Raw):
            said = bytes(result)
        for error_id in self._kept:
            if error_id.encode() in said:
                raise self._kept.pop(error_id)

    def rest(self) -> None:
        """Raise the remaining exceptions, mostly of functions whose calls are not awaited."""
        left = list(self._kept.values())
        self._kept.clear()
        if len(left) > 1:
            raise BaseExceptionGroup("functions of the server failed", left)
        if left:
            raise left[0]
